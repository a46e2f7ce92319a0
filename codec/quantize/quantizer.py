"""Between pictures and finest indices: pad, transform, quantise, and back to bands.

Bands travel in two forms: as the list that `wavelet.analyse` gives, float [N, 3, ...] on any
device, and as one flat int16 array an image that the entropy coder walks (see `bands`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from underpaint.codec.quantize.cells import Cells
from underpaint.codec.transform.colour_rotation import Turn, turned
from underpaint.codec.transform.subbands import BANDS, Geometry, band_index, view
from underpaint.codec.transform.wavelet import (
    BLOCK,
    DYADIC_LEVELS,
    LEVELS,
    ORIENTATIONS,
    analyse,
    synthesise,
    to_opponent,
    to_rgb,
)

CENTROID_KINDS = 4
"""Cells that have an expected place of their own: zero, the first, the second, all others."""


MAX_PINNED_BYTES = 1 << 26
"""Largest batch that goes to a GPU through pinned memory: torch keeps what it once took."""


def pad_to_blocks(images: Sequence[np.ndarray], device: torch.device) -> torch.Tensor:
    """Stack uint8 [H, W, 3] images of one padded size to float32 [N, 3, ...], edges repeated."""
    height, width = (-(-side // BLOCK) * BLOCK for side in images[0].shape[:2])
    shape = (len(images), height, width, 3)
    pinned = device.type == "cuda" and math.prod(shape) <= MAX_PINNED_BYTES
    stack = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
    for target, image in zip(stack.numpy(), images, strict=True):
        h, w = image.shape[:2]
        target[:h, :w] = image
        target[:h, w:] = image[:, -1:]
        target[h:] = target[h - 1]
    return stack.to(device, non_blocking=pinned).permute(0, 3, 1, 2).float()


def picture_bands(pixels: torch.Tensor) -> list[torch.Tensor]:
    """Transform float RGB [N, 3, H, W] in 0..255 into wavelet bands of opponent colours."""
    return bands_and_low(pixels)[0]


def bands_and_low(pixels: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Return `picture_bands` and what the two coarsest levels are of: one sample a position."""
    *fine, low = analyse(to_opponent(pixels), DYADIC_LEVELS)
    return [*fine, *analyse(low, LEVELS - DYADIC_LEVELS)], low


def bands_picture(bands: list[torch.Tensor], turns: Sequence[Turn] = ()) -> torch.Tensor:
    """Invert `picture_bands`, of bands whose colours have turned where `turns` are given."""
    return to_rgb(synthesise(turned(bands, turns, back=True)))


def band_group(level: int) -> slice:
    """Return where the bands of a level (0 the low band) stand in a list of bands."""
    if level == 0:
        return slice(ORIENTATIONS * LEVELS, ORIENTATIONS * LEVELS + 1)
    return slice(ORIENTATIONS * (level - 1), ORIENTATIONS * level)


def levels_from(finest: int) -> list[int]:
    """Return the levels of a list of bands that begins at level `finest`; 0 is the low band."""
    return [*range(finest, LEVELS + 1), 0]


def flat_index(level: int) -> list[list[int]]:
    """Return the walking-order indices [band of the level][component] of a level."""
    ways = ORIENTATIONS if level else 1
    return [[band_index(level, component, way) for component in range(3)] for way in range(ways)]


def step_bands(steps: np.ndarray, masks: torch.Tensor, finest: int = 1) -> list[torch.Tensor]:
    """Return the quantisation step of each coefficient, broadcastable to the bands.

    `steps` float32 [BANDS]; `masks` float32 [N, 1, h, w], the factor at each position, which
    holds for the levels that lie within a position.
    """
    out: list[torch.Tensor] = []
    for level in levels_from(finest):
        mask = None
        if 0 < level <= DYADIC_LEVELS:
            repeat = 1 << (DYADIC_LEVELS - level)
            mask = masks.repeat_interleave(repeat, -1).repeat_interleave(repeat, -2)
        for index in flat_index(level):
            step = torch.as_tensor(steps[index]).to(masks)[None, :, None, None]
            out.append(step if mask is None else step * mask)
    return out


@dataclass(frozen=True)
class Compander:
    """A law by which steps grow with the magnitude they quantise: large coefficients hide errors.

    A magnitude of v finest steps becomes knee * ((1 + v / knee) ** power - 1) / power: one step
    wide at zero, wider beyond the knee. A power of 1 is plain uniform quantisation. Source: the
    self-contrast masking of JPEG 2000 part 2, with a knee.
    """

    knee: float
    power: float

    def compress(self, value: torch.Tensor) -> torch.Tensor:
        """Map values in finest steps to the scale on which cells are uniform."""
        if self.power == 1:
            return value
        grown = torch.expm1(torch.log1p(value.abs() / self.knee) * self.power)
        return grown * (self.knee / self.power) * value.sign()

    def expand(self, value: torch.Tensor) -> torch.Tensor:
        """Invert `compress`."""
        if self.power == 1:
            return value
        shrunk = (1 + value.abs() * (self.power / self.knee)) ** (1 / self.power) - 1
        return shrunk * self.knee * value.sign()


def quantise(
    bands: list[torch.Tensor], steps: list[torch.Tensor], compander: Compander, limit: int
) -> list[torch.Tensor]:
    """Round bands to finest indices within +-limit, int16."""
    return [
        compander.compress(band / step).round_().clamp_(-limit, limit).to(torch.int16)
        for band, step in zip(bands, steps, strict=True)
    ]


def flatten(bands: list[torch.Tensor], image: int, layout: Geometry) -> np.ndarray:
    """Lay the int16 bands of one image of a batch into a flat array."""
    flat = np.zeros(layout.size, np.int16)
    for level in range(LEVELS + 1):
        for band, index in zip(bands[band_group(level)], flat_index(level), strict=True):
            values = band[image].cpu().numpy()
            for component in range(3):
                view(flat, layout, index[component])[:] = values[component]
    return flat


def unflatten(flats: Sequence[np.ndarray], layout: Geometry, finest: int = 1) -> list[torch.Tensor]:
    """Gather the flat int16 arrays of images of one padded size into bands, int16 [N, 3, ...].

    `finest` is the first level of the list, here and below: a coarse state has no need of more.
    """
    bands = []
    for level in levels_from(finest):
        for index in flat_index(level):
            values = [[view(flat, layout, i) for i in index] for flat in flats]
            bands.append(torch.from_numpy(np.array(values)))
    return bands


def expected_places(
    cells: list[torch.Tensor],
    state: Cells,
    compander: Compander,
    centroids: np.ndarray,
    finest: int = 1,
) -> list[torch.Tensor]:
    """Put each coefficient at the mean of its cell, float32, in finest steps.

    `cells` signed cell indices; `centroids` float32 [7 levels, 2, 4], the mean distance from the
    inner edge of a cell in units of its width, by level, lightness or chroma, and kind of cell.
    """
    places = []
    for level in levels_from(finest):
        first = band_group(level).start - band_group(finest).start
        group = cells[first : first + len(flat_index(level))]
        reach = max(_reach(band) for band in group)
        tables = place_table(reach, state, compander, centroids[level], group[0].device)
        for band in group:
            light, chroma = (
                _looked_up(table, part)
                for table, part in zip(tables, (band[:, :1], band[:, 1:]), strict=True)
            )
            places.append(torch.cat([light, chroma], 1))
    return places


def place_table(
    reach: int, state: Cells, compander: Compander, centroids: np.ndarray, device: torch.device
) -> torch.Tensor:
    """Return the places of the cells from -reach to reach, float32 [2, 2 * reach + 1].

    `centroids` float32 [2, 4] of one level; row 0 is for lightness, row 1 for chroma. Reckoned in
    float64, so that a place does not hang on how long the table is.
    """
    index = torch.arange(-reach, reach + 1)
    within = torch.as_tensor(centroids).double()
    kind = index.abs().clamp(max=CENTROID_KINDS - 1)
    inner = state.zero + 0.5 + (index.abs() - 1) * state.width
    places = compander.expand((inner + within[:, kind] * state.width) * index.sign())
    return places.float().to(device)


def cell_bounds(
    band: torch.Tensor, state: Cells, compander: Compander
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the lower and upper edge of the cell of each coefficient, float32, in finest steps."""
    low, high = bound_tables(_reach(band), state, compander).to(band.device)
    return _looked_up(low, band), _looked_up(high, band)


def bound_tables(reach: int, state: Cells, compander: Compander) -> torch.Tensor:
    """Return the edges of the cells from -reach to reach, float32 [2, 2 * reach + 1]."""
    index = torch.arange(-reach, reach + 1, dtype=torch.float64)
    high = state.zero + 0.5 + torch.where(index < 0, index.abs() - 1, index.abs()) * state.width
    high = compander.expand(torch.where(index < 0, -high, high)).float()
    return torch.stack([-high.flip(0), high])


@dataclass(frozen=True)
class StateTables:
    """What each cell of one state stands for, from the least that there can be to the greatest.

    width   of a cell, in finest indices
    places  float32 [LEVELS + 1, 2, cells], by level, lightness or chroma: see `place_table`
    bounds  float32 [2, cells]: see `cell_bounds`
    """

    width: int
    places: np.ndarray
    bounds: np.ndarray

    @classmethod
    def of(
        cls, chain: Sequence[Cells], step: int, compander: Compander, centroids: np.ndarray
    ) -> StateTables:
        """Make those of the state that `step` steps of the chain lead to."""
        state = chain[step]
        reach = (chain[0].zero - state.zero) // state.width
        cpu = torch.device("cpu")
        places = [place_table(reach, state, compander, level, cpu) for level in centroids]
        bounds = bound_tables(reach, state, compander)
        return cls(state.width, torch.stack(places).numpy(), bounds.numpy())


def _reach(band: torch.Tensor) -> int:
    """Return the largest magnitude among cell indices."""
    return int(band.abs().max()) if band.numel() else 0


def _looked_up(table: torch.Tensor, band: torch.Tensor) -> torch.Tensor:
    """Replace each cell index by its entry in a table whose middle is the zero cell."""
    place = (band.int() + len(table) // 2).reshape(-1)
    return table.index_select(0, place).reshape(band.shape)


assert 3 * len(flat_index(0)) + sum(3 * len(flat_index(level)) for level in range(1, 7)) == BANDS
