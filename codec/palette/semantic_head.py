"""The semantic head: embeds each position of a picture, from features of the wavelet analysis.

    log energies of 36 texture bands, colour of the low band     own inputs, 39
    their means over the position, 3 x 3 and 9 x 9 positions     117 inputs
    -> linear path + one hidden layer -> unit length             embedding

Positions of similar look and meaning have similar embeddings. The head is a few matrix products
over 1/256 of the pixels, so every picture is embedded; `codec.training.fit_head` trains it. Only
the encoder uses it: decoding never depends on its floating-point arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from underpaint.codec.palette.classes import TEXTURE_BANDS
from underpaint.codec.runtime.jit import compiled
from underpaint.codec.transform.subbands import BLOCK, COMPONENTS

if TYPE_CHECKING:
    import torch

ENERGY_FLOOR = np.float32(0.35)
"""Lower bound of energies, in finest steps: below it every coefficient rounds to zero."""

NEIGHBOURHOODS = (1, 3, 9)
"""Sides, in positions, of the squares over which inputs are averaged."""

OWN_INPUTS = TEXTURE_BANDS + COMPONENTS
HEAD_INPUTS = len(NEIGHBOURHOODS) * OWN_INPUTS

_COLOUR_UNIT = 64.0
"""Unit of the opponent colours that the head receives, in grey levels."""


@dataclass(frozen=True)
class SemanticHead:
    """A small projection: a linear path plus one hidden layer of H units.

    widen   float32 [H, HEAD_INPUTS + 1], to the hidden units; the last column is their bias
    narrow  float32 [E, H], from the hidden units
    skip    float32 [E, HEAD_INPUTS + 1], the linear path; the last column is the bias
    """

    widen: np.ndarray
    narrow: np.ndarray
    skip: np.ndarray

    @property
    def size(self) -> int:
        """Length of an embedding, E."""
        return len(self.skip)

    def embed(self, own: np.ndarray) -> np.ndarray:
        """Embed each position of one picture: float32 [h, w, OWN_INPUTS] to [h, w, E], unit norm.

        `own` comes from `own_inputs`.
        """
        inputs = head_inputs(own)
        return self.embed_inputs(inputs.reshape(-1, HEAD_INPUTS)).reshape(*own.shape[:2], -1)

    def in_steps(self, ratio: np.ndarray) -> SemanticHead:
        """Return the same head for energies in other finest steps.

        `ratio` float32 [36], new steps over old ones, by texture band. Embeddings stay the same
        but where an energy is, or becomes, less than `ENERGY_FLOOR`.
        """
        own = np.concatenate([np.log(ratio), np.zeros(COMPONENTS, np.float32)])
        shift = np.tile(own, len(NEIGHBOURHOODS)).astype(np.float32)
        widen, skip = self.widen.copy(), self.skip.copy()
        for matrix in (widen, skip):
            matrix[:, -1] += matrix[:, :-1] @ shift
        return replace(self, widen=widen, skip=skip)

    @cached_property
    def _first(self) -> tuple[np.ndarray, np.ndarray]:
        """The matrices of both paths, side by side and transposed, and their biases."""
        both = np.concatenate([self.widen, self.skip])
        return np.ascontiguousarray(both[:, :-1].T), both[:, -1].copy()

    def embed_inputs(self, inputs: np.ndarray) -> np.ndarray:
        """Embed single positions: float32 [n, HEAD_INPUTS] to [n, E], unit norm."""
        both, bias = self._first
        total = inputs @ both
        _add_and_rectify(total, bias, len(self.widen))
        embedded = total[:, : len(self.widen)] @ self.narrow.T
        _add_and_normalise(embedded, total, len(self.widen))
        return embedded


@compiled()
def _add_and_rectify(total, bias, hidden):
    """Add a bias to each row and rectify its first `hidden` columns."""
    for row in range(len(total)):
        rectified, linear = total[row, :hidden], total[row, hidden:]
        for i in range(len(rectified)):
            rectified[i] = max(rectified[i] + bias[i], np.float32(0))
        bias_of_linear = bias[hidden:]
        for i in range(len(linear)):
            linear[i] += bias_of_linear[i]


@compiled()
def _add_and_normalise(embedded, total, hidden):
    """Add the linear path, the columns from `hidden` on, to each row and scale it to length 1."""
    for row in range(len(embedded)):
        vector, linear = embedded[row], total[row, hidden:]
        power = np.float32(0)
        for i in range(len(vector)):
            vector[i] += linear[i]
            power += vector[i] * vector[i]
        scale = np.float32(1) / max(np.sqrt(power), np.float32(1e-12))
        for i in range(len(vector)):
            vector[i] *= scale


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """Scale the vectors along the last axis to length 1; a zero vector stays zero."""
    lengths = np.sqrt(np.square(vectors).sum(-1, keepdims=True))
    return vectors / np.maximum(lengths, np.float32(1e-12))


def low_colours(low: torch.Tensor) -> torch.Tensor:
    """Return the mean opponent colour around each position, float32 [N, 3, h, w], in grey levels.

    `low` comes from `quantizer.bands_and_low`.
    """
    return low / BLOCK


def own_inputs(energies: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Return the inputs of the head that describe each position itself, float32 [h, w, OWN_INPUTS].

    `energies` float32 [h, w, 36] in finest steps, from `classes.texture_energies`; `colours`
    float32 [h, w, 3], from `low_colours`.
    """
    logs = np.log(np.maximum(energies, ENERGY_FLOOR))
    return np.concatenate([logs, colours / np.float32(_COLOUR_UNIT)], -1)


def head_inputs(own: np.ndarray) -> np.ndarray:
    """Return all inputs of the head, float32 [h, w, HEAD_INPUTS].

    They are `own` and its means over squares of `NEIGHBOURHOODS` positions, with edges repeated.
    The mean over 9 x 9 positions is that over 3 x 3 means, three positions apart.
    """
    inputs = np.empty((*own.shape[:2], HEAD_INPUTS), np.float32)
    inputs[..., :OWN_INPUTS] = own
    column, apart = 0, 1
    for _ in NEIGHBOURHOODS[1:]:
        _average(inputs, column, column + OWN_INPUTS, apart)
        column, apart = column + OWN_INPUTS, 3 * apart
    return inputs


@compiled()
def _average(inputs, source, target, apart):
    """Write means of columns `source` on, over 3 x 3 positions that are `apart` from each other."""
    height, width, _ = inputs.shape
    third = np.float32(1 / 3)
    down = np.empty((width, OWN_INPUTS), np.float32)
    for y in range(height):
        above, below = max(y - apart, 0), min(y + apart, height - 1)
        for x in range(width):
            first = inputs[above, x, source : source + OWN_INPUTS]
            middle = inputs[y, x, source : source + OWN_INPUTS]
            last = inputs[below, x, source : source + OWN_INPUTS]
            mean = down[x]
            for i in range(OWN_INPUTS):
                mean[i] = (first[i] + last[i] + middle[i]) * third
        for x in range(width):
            first, middle, last = down[max(x - apart, 0)], down[x], down[min(x + apart, width - 1)]
            mean = inputs[y, x, target : target + OWN_INPUTS]
            for i in range(OWN_INPUTS):
                mean[i] = (first[i] + last[i] + middle[i]) * third
