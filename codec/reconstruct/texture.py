"""Fine texture for the eye: draws from the distribution that a coarse state leaves open.

The mean of all possible coefficients is smooth. Where a state says only that a coefficient lies in
the zero cell, a draw from the Laplace distribution of the position's class, limited to that cell,
gives texture of the right strength in place of a blur. It is no better an estimate (its squared
error is greater than that of the mean), so measurements and training should not use it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from underpaint.codec.palette.classes import MAGNITUDE_UNIT
from underpaint.codec.quantize.reconstruction_points import Dequantised
from underpaint.codec.transform.band_lists import band_group, flat_index
from underpaint.codec.transform.subbands import DYADIC_LEVELS

DRAWN_LEVELS = 2
"""Texture is drawn in the finest levels: coarser ones would draw shapes that are not there."""

STRENGTH = 0.6
"""Share of the expected magnitude that is drawn: part of it is in the estimate already."""


def add_texture(
    bands: list[torch.Tensor], decoded: Dequantised, expected: np.ndarray, seed: int
) -> None:
    """Add draws to the lightness of the zero cells of `bands`, in place, in pixel units.

    bands     float32 [N, 3, ...], as the backward network returns them
    decoded   the state that they are estimated from; both begin at the same level
    expected  int32 [N, h, w, BANDS], expected magnitudes of each position's class, in units of
              1 / MAGNITUDE_UNIT finest steps

    The draws of a picture depend on `seed` and its sides only, not on the batch.
    """
    edge = float(decoded.compander.expand(np.array(decoded.state.zero + 0.5)))
    for level in range(decoded.finest, DRAWN_LEVELS + 1):
        for offset, index in enumerate(flat_index(level)):
            number = band_group(level).start + offset
            place = decoded.group(level).start + offset
            band = bands[place]
            side = 1 << (DYADIC_LEVELS - level)
            mean = torch.from_numpy(expected[..., index[0]].astype(np.float32) / MAGNITUDE_UNIT)
            mean = mean.clamp_(min=1e-3).repeat_interleave(side, -1).repeat_interleave(side, -2)
            mean = mean.to(band.device)
            draws = _draws(band.shape[-2:], (seed, number), len(band)).to(band.device)
            inside = 1 - torch.exp(-edge / mean)
            drawn = -mean * torch.log1p(-draws.abs() * inside) * draws.sign()
            empty = decoded.cells[place][:, 0] == 0
            band[:, 0] += torch.where(empty, STRENGTH * drawn * decoded.steps[place][:, 0], 0)


def _draws(sides: Sequence[int], seed: tuple[int, int], count: int) -> torch.Tensor:
    """Return the same numbers in -1..1 for each of `count` images, float32 [count, h, w]."""
    generator = torch.Generator().manual_seed(seed[0] * 1000 + seed[1])
    draw = torch.rand(tuple(sides), generator=generator) * 2 - 1
    return draw.expand(count, *sides)
