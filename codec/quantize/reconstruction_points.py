"""Dequantisation: the reconstruction point and the bounds of each cell.

A reconstruction point is the expected value of the coefficients of a cell: its inner edge plus a
fitted share of its width (a centroid), expanded by the compander. All values are in finest steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from underpaint.codec.quantize.cells import Cells
from underpaint.codec.quantize.compander import Compander
from underpaint.codec.transform.band_lists import band_group, flat_index, levels_from

CENTROID_KINDS = 4
"""Cells with a centroid of their own: zero, the first, the second, all others."""


@dataclass(frozen=True)
class Dequantised:
    """Coefficients of pictures of one padded size as a state knows them, as lists of bands.

    The lists begin at level `finest`.

    cells   int16 [N, 3, ...], signed cell indices
    points  float32 [N, 3, ...], reconstruction points, in finest steps
    steps   float32, the quantisation steps, broadcastable to the bands
    state, compander  by which cells have bounds
    """

    cells: list[torch.Tensor]
    points: list[torch.Tensor]
    steps: list[torch.Tensor]
    state: Cells
    compander: Compander
    finest: int = 1

    @classmethod
    def of(
        cls,
        cells: list[torch.Tensor],
        steps: list[torch.Tensor],
        state: Cells,
        compander: Compander,
        centroids: np.ndarray,
        finest: int = 1,
    ) -> Dequantised:
        """Place each coefficient at its reconstruction point; see `reconstruction_points`."""
        points = reconstruction_points(cells, state, compander, centroids, finest)
        return cls(cells, points, steps, state, compander, finest)

    def group(self, level: int) -> slice:
        """Return the slice of the lists that belongs to a level; level 0 is the low band."""
        bands, first = band_group(level), band_group(self.finest).start
        return slice(bands.start - first, bands.stop - first)

    def coefficients(self) -> list[torch.Tensor]:
        """Return the expected coefficients, float32 [N, 3, ...], in pixel units."""
        return [point * step for point, step in zip(self.points, self.steps, strict=True)]


def reconstruction_points(
    cells: list[torch.Tensor],
    state: Cells,
    compander: Compander,
    centroids: np.ndarray,
    finest: int = 1,
) -> list[torch.Tensor]:
    """Return the reconstruction point of each coefficient, float32, in finest steps.

    `cells` signed cell indices, a list of bands that begins at level `finest`; `centroids` float32
    [LEVELS + 1, 2, CENTROID_KINDS], the mean distance from the inner edge of a cell in units of its
    width, by level, lightness or chroma, and kind of cell.
    """
    points = []
    for level in levels_from(finest):
        first = band_group(level).start - band_group(finest).start
        group = cells[first : first + len(flat_index(level))]
        reach = max(_reach(band) for band in group)
        tables = point_table(reach, state, compander, centroids[level]).to(group[0].device)
        for band in group:
            light, chroma = (
                _looked_up(table, part)
                for table, part in zip(tables, (band[:, :1], band[:, 1:]), strict=True)
            )
            points.append(torch.cat([light, chroma], 1))
    return points


def point_table(
    reach: int, state: Cells, compander: Compander, centroids: np.ndarray
) -> torch.Tensor:
    """Return the points of the cells from -reach to reach, float32 [2, 2 * reach + 1].

    `centroids` float32 [2, CENTROID_KINDS] of one level; row 0 is for lightness, row 1 for chroma.
    Computed in float64, so that a point does not depend on the length of the table.
    """
    index = torch.arange(-reach, reach + 1)
    within = torch.as_tensor(centroids).double()
    kind = index.abs().clamp(max=CENTROID_KINDS - 1)
    inner = state.zero + 0.5 + (index.abs() - 1) * state.width
    return compander.expand((inner + within[:, kind] * state.width) * index.sign()).float()


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
    """Points and bounds of every cell of one state, from the most negative to the most positive.

    width   of a cell, in finest indices
    points  float32 [LEVELS + 1, 2, cells], by level, lightness or chroma: see `point_table`
    bounds  float32 [2, cells]: see `bound_tables`
    """

    width: int
    points: np.ndarray
    bounds: np.ndarray

    @classmethod
    def of(
        cls, chain: Sequence[Cells], step: int, compander: Compander, centroids: np.ndarray
    ) -> StateTables:
        """Compute the tables of the state after `step` steps of the chain."""
        state = chain[step]
        reach = (chain[0].zero - state.zero) // state.width
        points = [point_table(reach, state, compander, level) for level in centroids]
        bounds = bound_tables(reach, state, compander)
        return cls(state.width, torch.stack(points).numpy(), bounds.numpy())


def _reach(band: torch.Tensor) -> int:
    """Return the largest magnitude among cell indices."""
    return int(band.abs().max()) if band.numel() else 0


def _looked_up(table: torch.Tensor, band: torch.Tensor) -> torch.Tensor:
    """Replace each cell index by its entry in a table whose middle is the zero cell."""
    entry = (band.int() + len(table) // 2).reshape(-1)
    return table.index_select(0, entry).reshape(band.shape)
