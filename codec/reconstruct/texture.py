"""Texture for the eye: what a coarse state cannot know, drawn from the laws of its classes.

The mean of everything that could have been there is smooth. Where a state says only that a
coefficient lies in the zero cell, a draw from the Laplace law of the position's class, kept within
that cell, gives a texture of the right strength in place of a blur. It is no better an estimate
(its squared error is greater than the mean's), so nothing that measures or learns should ask for
it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from underpaint.codec.palette.classes import MAGNITUDE_UNIT
from underpaint.codec.quantize.cells import Cells
from underpaint.codec.quantize.quantizer import Compander, band_group, flat_index
from underpaint.codec.transform.wavelet import DYADIC_LEVELS

DRAWN_LEVELS = 2
"""Texture is drawn in the finest levels: coarser ones make shapes, and shapes would be false."""

STRENGTH = 0.6
"""Share of the law's magnitude that is drawn: part of it is in the estimate already."""


def add_texture(
    bands: list[torch.Tensor],
    cells: list[torch.Tensor],
    steps: list[torch.Tensor],
    class_maps: np.ndarray,
    expected_magnitude: np.ndarray,
    state: Cells,
    compander: Compander,
    seed: int,
) -> None:
    """Add draws to the lightness of the zero cells of `bands`, in place, in pixel units.

    `bands` from level 1 on, float32 [N, 3, ...], as the backward network gives them; `cells` and
    `steps` as in `expected_places`; `class_maps` int [N, h, w]; `expected_magnitude` int32
    [K, BANDS] as in `TextureClasses`. The draws of an image depend on `seed` and its sides only,
    not on the other images of the batch.
    """
    edge = compander.expand(torch.tensor(state.zero + 0.5)).item()
    for level in range(1, DRAWN_LEVELS + 1):
        start = band_group(level).start
        for place, index in enumerate(flat_index(level), start):
            band = bands[place]
            side = 1 << (DYADIC_LEVELS - level)
            mean = expected_magnitude[class_maps, index[0]].astype(np.float32) / MAGNITUDE_UNIT
            mean = torch.from_numpy(mean)
            mean = mean.clamp_(min=1e-3).repeat_interleave(side, -1).repeat_interleave(side, -2)
            mean = mean.to(band.device)
            draws = _draws(band.shape[-2:], (seed, place), len(band)).to(band.device)
            inside = 1 - torch.exp(-edge / mean)
            drawn = -mean * torch.log1p(-draws.abs() * inside) * draws.sign()
            empty = cells[place][:, 0] == 0
            band[:, 0] += torch.where(empty, STRENGTH * drawn * steps[place][:, 0], 0)


def _draws(sides: Sequence[int], seed: tuple[int, int], count: int) -> torch.Tensor:
    """Return the same numbers in -1..1 for each of `count` images, float32 [count, h, w]."""
    generator = torch.Generator().manual_seed(seed[0] * 1000 + seed[1])
    draw = torch.rand(tuple(sides), generator=generator) * 2 - 1
    return draw.expand(count, *sides)
