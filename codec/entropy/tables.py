"""The layout of the integer frequency tables, and their estimation from counts.

0                     the plain bit
1 ...                 palette steps, `PALETTE_TABLES` each
then, for each step of the scalar chain:
  BANDS               band flags: whether any coefficient of the group lies outside the zero cell
  FLAG_GROUPS x BINS  block flags: whether any coefficient of the block leaves zero
  BANDS x BINS        splits of the zero cell: stays zero, or the number of cells away from it
  BANDS x BINS        splits of the first cell
  BANDS x BINS        splits of the other cells
  BANDS x SIGN_BINS   whether the sign differs from the prediction of its sign context
In the first step only the root cell splits; its three tables of splits mean:
  BANDS x BINS        the zero cell, the first cell, or one beyond
  BANDS x BINS        the second to the fifth cell, or one beyond
  BANDS x BINS        the group of the cells beyond
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from underpaint.codec.entropy.activity import BINS
from underpaint.codec.entropy.palette_map_coder import PALETTE_TABLES
from underpaint.codec.entropy.rans import PROBABILITY_BITS
from underpaint.codec.entropy.signs import SIGN_BINS
from underpaint.codec.quantize.cells import BEYOND, FAR_GROUPS, MOST_CHILDREN, NEAR_CELLS, Cells
from underpaint.codec.transform.subbands import BANDS, FLAG_GROUPS

TOTAL = 1 << PROBABILITY_BITS

_BAND_TABLES = BANDS * BINS
_SIGN_TABLES = BANDS * SIGN_BINS
_STEP_TABLES = BANDS + FLAG_GROUPS * BINS + 3 * _BAND_TABLES + _SIGN_TABLES


@dataclass(frozen=True)
class TableLayout:
    """Indices of the tables, for a number of palette steps and of scalar steps."""

    palette_steps: int
    cell_steps: int

    @property
    def count(self) -> int:
        """Number of all tables."""
        return 1 + self.palette_steps * PALETTE_TABLES + self.cell_steps * _STEP_TABLES

    def palette(self, step: int) -> int:
        """Return the first table of a palette step."""
        return 1 + step * PALETTE_TABLES

    def cells(self, step: int) -> np.ndarray:
        """Return the first tables of a scalar step, int64 [6].

        In this order: band, block, zero, first, other, sign.
        """
        sizes = [BANDS, FLAG_GROUPS * BINS, _BAND_TABLES, _BAND_TABLES, _BAND_TABLES]
        first = 1 + self.palette_steps * PALETTE_TABLES + step * _STEP_TABLES
        return np.concatenate([[first], first + np.cumsum(sizes)]).astype(np.int64)

    def symbols(self, states: Sequence[Cells]) -> np.ndarray:
        """Return the number of symbols of each table, int64 [tables]; 0 for unused tables.

        `states` are the states of the scalar chain, root first.
        """
        result = np.full(self.count, 2)
        for step, (before, after) in enumerate(pairwise(states)):
            _, _, zero, first, other, _ = self.cells(step)
            sizes = split_symbols(step, before, after)
            for start, symbols in zip((zero, first, other), sizes, strict=True):
                result[start : start + _BAND_TABLES] = symbols
        return result


def split_symbols(step: int, before: Cells, after: Cells) -> tuple[int, int, int]:
    """Return the number of children of the zero cell, of the first and of the other cells."""
    if step == 0:
        return BEYOND + 1, NEAR_CELLS, FAR_GROUPS
    parts = before.width // after.width
    return 1 + (before.zero - after.zero) // after.width, parts, parts


def cumulative(frequencies: np.ndarray) -> np.ndarray:
    """Return cumulative frequencies, uint32 [tables, 6], of frequencies, uint16 [tables, 5]."""
    sums = np.zeros((len(frequencies), MOST_CHILDREN + 1), np.uint32)
    sums[:, 1:] = np.cumsum(frequencies, 1)
    return sums


def _normalised(counts: np.ndarray) -> np.ndarray:
    """Scale positive counts [n, symbols] to integer frequencies that sum to TOTAL, each >= 1."""
    symbols = counts.shape[1]
    share = counts / counts.sum(1, keepdims=True)
    frequencies = 1 + np.floor(share * (TOTAL - symbols)).astype(np.int64)
    most = counts.argmax(1)
    frequencies[np.arange(len(counts)), most] += TOTAL - frequencies.sum(1)
    return frequencies


def _pooled(counts: np.ndarray, weight: float) -> np.ndarray:
    """Add the pooled distribution of all bands, with a weight, to counts [bands, BINS, symbols]."""
    flat = np.full(counts.shape[-1], 0.02)
    flat[0] = 1
    pool = counts.sum(0) + flat
    return counts + weight * pool / pool.sum(-1, keepdims=True)


def frequencies_from_counts(
    counts: np.ndarray, layout: TableLayout, chain: list[Cells]
) -> np.ndarray:
    """Estimate all tables from counts, uint16 [tables, 5] with zeros for absent symbols.

    `counts` int64 [tables, 5] from a coder in COUNT mode; `chain` the states, root first. Tables
    with few counts follow those of the same bin in other bands. Both signs are equally likely in
    the first bin of sign contexts, whatever the counts.
    """
    result = np.zeros((layout.count, MOST_CHILDREN), np.int64)
    result[0, :2] = TOTAL // 2

    def put(first: int, values: np.ndarray) -> None:
        flat = values.reshape(-1, values.shape[-1])
        result[first : first + len(flat), : flat.shape[1]] = _normalised(flat)

    palette = counts[1 : layout.palette(layout.palette_steps), :2]
    if len(palette):
        put(1, palette + 0.5)
    for step in range(layout.cell_steps):
        band, block, zero, first, other, sign = layout.cells(step)
        before, after = chain[step], chain[step + 1]
        put(band, counts[band:block, :2] + 0.5)
        put(block, _pooled(counts[block:zero, :2].reshape(FLAG_GROUPS, BINS, 2), 4))
        leaves, *parts = split_symbols(step, before, after)
        put(zero, _pooled(counts[zero:first, :leaves].reshape(BANDS, BINS, leaves), 8))
        for start, stop, symbols in ((first, other, parts[0]), (other, sign, parts[1])):
            split = counts[start:stop, :symbols].reshape(BANDS, BINS, symbols)
            put(start, _pooled(split + 0.5, 8))
        signs = counts[sign : sign + _SIGN_TABLES, :2].reshape(BANDS, SIGN_BINS, 2) + 0.5
        signs[:, 0] = 1
        put(sign, _pooled(signs, 20))
    return result.astype(np.uint16)
