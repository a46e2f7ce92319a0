"""The semantic head: what a position of a picture is about, from what the analysis already knows.

    log energies of 36 texture bands, colour of the low band     own inputs, 39
    their means over the position, 3 x 3 and 9 x 9 positions     117 inputs
    -> linear path + one hidden layer -> unit length             embedding

Positions that look and mean alike lie close. The head is a few matrix products over 1/256 of the
pixels, so it runs beside the analysis of every picture; how it is taught is in
`codec.training.fit_head`. Only the encoder uses it: nothing that a stream's symbols depend on is
computed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numba import njit

from underpaint.codec.palette.classes import TEXTURE_BANDS
from underpaint.codec.transform.subbands import COMPONENTS
from underpaint.codec.transform.wavelet import BLOCK

ENERGY_FLOOR = np.float32(0.35)
"""Energies below this many finest steps count as this: there every coefficient rounds to zero."""

NEIGHBOURHOODS = (1, 3, 9)
"""Sides, in positions, of the squares over which inputs are averaged."""

OWN_INPUTS = TEXTURE_BANDS + COMPONENTS
HEAD_INPUTS = len(NEIGHBOURHOODS) * OWN_INPUTS

_COLOUR_UNIT = 64.0
"""Opponent colours are given to the head in units of so many grey levels."""


@dataclass(frozen=True)
class SemanticHead:
    """A small projection: `skip` and `bias` are its linear path, the others its hidden layer.

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

        `own` as `own_inputs` gives it.
        """
        inputs = head_inputs(own)
        return self.embed_inputs(inputs.reshape(-1, HEAD_INPUTS)).reshape(*own.shape[:2], -1)

    @cached_property
    def _first(self) -> tuple[np.ndarray, np.ndarray]:
        """What inputs are multiplied with for the hidden and the linear path, and their biases."""
        both = np.concatenate([self.widen, self.skip])
        return np.ascontiguousarray(both[:, :-1].T), both[:, -1].copy()

    def embed_inputs(self, inputs: np.ndarray) -> np.ndarray:
        """Embed single positions, float32 [n, HEAD_INPUTS] to [n, E], unit norm."""
        both, bias = self._first
        total = inputs @ both
        _add_and_bend(total, bias, len(self.widen))
        embedded = total[:, : len(self.widen)] @ self.narrow.T
        _add_and_normalise(embedded, total, len(self.widen))
        return embedded


@njit(nogil=True, cache=True)
def _add_and_bend(total, bias, hidden):
    """Add a bias to each row, and cut the first `hidden` columns off below zero."""
    for row in range(len(total)):
        bent, straight = total[row, :hidden], total[row, hidden:]
        for i in range(len(bent)):
            bent[i] = max(bent[i] + bias[i], np.float32(0))
        bias_of_straight = bias[hidden:]
        for i in range(len(straight)):
            straight[i] += bias_of_straight[i]


@njit(nogil=True, cache=True)
def _add_and_normalise(embedded, total, hidden):
    """Add the columns from `hidden` on to each row, and scale it to length 1."""
    for row in range(len(embedded)):
        vector, straight = embedded[row], total[row, hidden:]
        power = np.float32(0)
        for i in range(len(vector)):
            vector[i] += straight[i]
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

    `low` as `latent.bands_and_low` gives it.
    """
    return low / BLOCK


def own_inputs(energies: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Return what the head sees of each position itself, float32 [h, w, OWN_INPUTS].

    `energies` float32 [h, w, 36] in finest steps as `classes.texture_energies` gives them, last
    axis last; `colours` float32 [h, w, 3] as `low_colours` does.
    """
    logs = np.log(np.maximum(energies, ENERGY_FLOOR))
    return np.concatenate([logs, colours / np.float32(_COLOUR_UNIT)], -1)


def head_inputs(own: np.ndarray) -> np.ndarray:
    """Return what the head sees of each position, float32 [h, w, HEAD_INPUTS].

    `own` and its means over squares of `NEIGHBOURHOODS` positions, edges repeated. A square of 9
    is 3 x 3 squares of 3, three positions apart.
    """
    inputs = np.empty((*own.shape[:2], HEAD_INPUTS), np.float32)
    inputs[..., :OWN_INPUTS] = own
    column, apart = 0, 1
    for _ in NEIGHBOURHOODS[1:]:
        _average(inputs, column, column + OWN_INPUTS, apart)
        column, apart = column + OWN_INPUTS, 3 * apart
    return inputs


@njit(nogil=True, cache=True)
def _average(inputs, source, target, apart):
    """Write means over 3 x 3 positions, `apart` from each other, of columns from `source` on."""
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
