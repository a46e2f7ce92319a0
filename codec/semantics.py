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

import numpy as np
import torch

from codec.bands import COMPONENTS
from codec.classes import TEXTURE_BANDS
from codec.latent import band_group
from codec.wavelet import BLOCK, DYADIC_LEVELS, synthesise

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
        fields = [field.reshape(-1, OWN_INPUTS) for field in neighbourhood_means(own)]
        return self._embedded(fields).reshape(*own.shape[:2], -1)

    def embed_inputs(self, inputs: np.ndarray) -> np.ndarray:
        """Embed single positions, float32 [n, HEAD_INPUTS] to [n, E], unit norm."""
        return self._embedded(np.split(inputs, len(NEIGHBOURHOODS), 1))

    def _embedded(self, fields: list[np.ndarray]) -> np.ndarray:
        both = np.concatenate([self.widen, self.skip])
        total = np.broadcast_to(both[:, -1], (len(fields[0]), len(both))).copy()
        for place, field in enumerate(fields):
            total += field @ both[:, place * OWN_INPUTS : (place + 1) * OWN_INPUTS].T
        hidden = len(self.widen)
        return unit_length(np.maximum(total[:, :hidden], 0) @ self.narrow.T + total[:, hidden:])


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """Scale the vectors along the last axis to length 1; a zero vector stays zero."""
    lengths = np.sqrt(np.square(vectors).sum(-1, keepdims=True))
    return vectors / np.maximum(lengths, np.float32(1e-12))


def low_colours(bands: list[torch.Tensor]) -> torch.Tensor:
    """Return the mean opponent colour around each position, float32 [N, 3, h, w], in grey levels.

    `bands` as `wavelet.analyse` gives them: the two coarsest levels are joined again.
    """
    low = synthesise(bands[band_group(DYADIC_LEVELS).stop :])
    return low / BLOCK


def own_inputs(energies: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Return what the head sees of each position itself, float32 [h, w, OWN_INPUTS].

    `energies` float32 [h, w, 36] in finest steps as `classes.texture_energies` gives them, last
    axis last; `colours` float32 [h, w, 3] as `low_colours` does.
    """
    logs = np.log(np.maximum(energies, ENERGY_FLOOR))
    return np.concatenate([logs, colours / np.float32(_COLOUR_UNIT)], -1)


def neighbourhood_means(own: np.ndarray) -> list[np.ndarray]:
    """Average over squares of `NEIGHBOURHOODS` positions, edges repeated; arrays like `own`.

    A square of 9 is a mean of 3 x 3 squares of 3, three positions apart, so each costs six sums.
    """
    fields, apart = [own], 1
    for _ in NEIGHBOURHOODS[1:]:
        mean = fields[-1]
        for axis in (0, 1):
            mean = _mean_of_three(mean, apart, axis)
        fields.append(mean)
        apart *= 3
    return fields


def _mean_of_three(values: np.ndarray, apart: int, axis: int) -> np.ndarray:
    """Average each value with those `apart` before and after it along an axis."""
    margin = [(apart, apart) if place == axis else (0, 0) for place in range(values.ndim)]
    padded = np.pad(values, margin, "edge")
    length = values.shape[axis]
    parts = [
        padded[(slice(None),) * axis + (slice(start, start + length),)]
        for start in (0, apart, 2 * apart)
    ]
    return (parts[0] + parts[1] + parts[2]) * np.float32(1 / 3)
