"""Dequantisation of tensors: the reconstruction point and the bounds of each coefficient's cell.

All values are in finest steps; `quantize.cell_tables` computes them for each cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from underpaint.codec.quantize.cell_tables import bound_table, point_table
from underpaint.codec.quantize.cells import Cells
from underpaint.codec.quantize.compander import Compander
from underpaint.codec.transform.band_lists import band_group, flat_index, levels_from


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
        points += level_points(group, state, compander, centroids[level])
    return points


def level_points(
    cells: Sequence[torch.Tensor], state: Cells, compander: Compander, centroids: np.ndarray
) -> list[torch.Tensor]:
    """Return the reconstruction points of the bands of one level: see `reconstruction_points`.

    `centroids` float32 [2, CENTROID_KINDS].
    """
    reach = max(_reach(band) for band in cells)
    table = torch.from_numpy(point_table(reach, state, compander, centroids)).to(cells[0].device)
    return [
        torch.cat([_looked_up(table[0], band[:, :1]), _looked_up(table[1], band[:, 1:])], 1)
        for band in cells
    ]


def cell_bounds(
    band: torch.Tensor, state: Cells, compander: Compander
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the lower and upper edge of the cell of each coefficient, float32, in finest steps."""
    table = bound_table(_reach(band), state, compander)
    low, high = torch.from_numpy(table).to(band.device)
    return _looked_up(low, band), _looked_up(high, band)


def _reach(band: torch.Tensor) -> int:
    """Return the largest magnitude among cell indices."""
    return int(band.abs().max()) if band.numel() else 0


def _looked_up(table: torch.Tensor, band: torch.Tensor) -> torch.Tensor:
    """Replace each cell index by its entry in a table whose middle is the zero cell."""
    entry = (band.int() + len(table) // 2).reshape(-1)
    return table.index_select(0, entry).reshape(band.shape)
