"""Scalar palettes: the nested cells of one coefficient, a Markov chain from fine to coarse.

The finest state of a coefficient is an integer q, its value over its step, rounded. A coarser
state knows only the cell that holds q: the zero cell |q| <= zero, or cell k >= 1 of a sign,
zero + (k - 1) * width < |q| <= zero + k * width. Each state's cells are unions of the next
finer state's, so a state follows from the one before it, and refining never moves a boundary.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Cells:
    """The partition of one state: half-width of the zero cell and width of the others, in q."""

    zero: int
    width: int

    def index(self, q: np.ndarray) -> np.ndarray:
        """Return the signed index of the cell of each q, int32."""
        magnitude = np.abs(q)
        index = (magnitude - self.zero - 1) // self.width + 1
        return np.where(magnitude <= self.zero, 0, np.sign(q) * index).astype(np.int32)

    def nests(self, finer: Cells) -> bool:
        """Say whether each cell of this state is a union of cells of `finer`."""
        return (
            self.width % finer.width == 0
            and self.zero >= finer.zero
            and (self.zero - finer.zero) % finer.width == 0
        )


MOST_CHILDREN = 5
"""Most cells that one cell may split into in one step."""

NEAR_CELLS = 5
"""Cells of the first state that have a symbol of their own, on either side of its zero cell."""

BEYOND = 2
"""The first symbol of a cell of the first state: 0 and 1 are cells, this one is any beyond."""

FAR_GROUPS = 5
"""Groups of the cells beyond: of 4, 8, 16, 32 and 64, told apart within by plain bits."""

FAR_BITS = 2
"""Plain bits within the first of these groups; each next one has a bit more."""

FIRST_CELLS = NEAR_CELLS + (((1 << FAR_GROUPS) - 1) << FAR_BITS)
"""Cells of the first state, 129 on either side of its zero cell."""


def root(width: int) -> Cells:
    """Return the one cell that the cells of a first state of a width make up together."""
    return Cells((FIRST_CELLS + 1) * width - 1, width)


def chain(pairs: list[tuple[int, int]]) -> tuple[Cells, ...]:
    """Build the chain from (zero, width) pairs, coarsest first; ValueError if it does not nest."""
    states = tuple(Cells(zero, width) for zero, width in pairs)
    for coarse, fine in pairwise(states):
        children = max(coarse.width // fine.width, 1 + 2 * (coarse.zero - fine.zero) // fine.width)
        if not coarse.nests(fine) or children > MOST_CHILDREN:
            raise ValueError(f"cells {coarse} do not nest over {fine}")
    return states
