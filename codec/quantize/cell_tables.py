"""Tables of cells: the reconstruction point and the bounds of every cell of a state.

A reconstruction point is the expected value of the coefficients of a cell: its inner edge plus a
fitted share of its width (a centroid), expanded by the compander. All values are in finest steps.
Tables are computed in float64, and rounded to float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from underpaint.codec.quantize.cells import Cells
from underpaint.codec.quantize.compander import Compander

CENTROID_KINDS = 4
"""Cells with a centroid of their own: zero, the first, the second, all others."""


def point_table(
    reach: int, state: Cells, compander: Compander, centroids: np.ndarray
) -> np.ndarray:
    """Return the points of the cells from -reach to reach, float32 [2, 2 * reach + 1].

    `centroids` float32 [2, CENTROID_KINDS] of one level; row 0 is for lightness, row 1 for chroma.
    A point does not depend on the length of the table.
    """
    index = np.arange(-reach, reach + 1)
    within = centroids.astype(np.float64)
    kind = np.minimum(np.abs(index), CENTROID_KINDS - 1)
    inner = state.zero + 0.5 + (np.abs(index) - 1) * state.width
    points = compander.expand((inner + within[:, kind] * state.width) * np.sign(index))
    return points.astype(np.float32)


def bound_table(reach: int, state: Cells, compander: Compander) -> np.ndarray:
    """Return the edges of the cells from -reach to reach, float32 [2, 2 * reach + 1].

    Row 0 holds the lower edges, row 1 the upper ones.
    """
    index = np.arange(-reach, reach + 1)
    outward = np.where(index < 0, np.abs(index) - 1, np.abs(index))
    high = state.zero + 0.5 + outward * state.width
    high = compander.expand(np.where(index < 0, -high, high)).astype(np.float32)
    return np.stack([-high[::-1], high])


@dataclass(frozen=True)
class StateTables:
    """Points and bounds of every cell of one state, from the most negative to the most positive.

    width   of a cell, in finest indices
    points  float32 [LEVELS + 1, 2, cells], by level, lightness or chroma: see `point_table`
    bounds  float32 [2, cells]: see `bound_table`
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
        return cls(state.width, np.stack(points), bound_table(reach, state, compander))
