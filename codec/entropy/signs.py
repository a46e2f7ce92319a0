"""Sign contexts: the likely sign of a coefficient, from the signs around it.

The sign of a coefficient that leaves the zero cell is coded with a table that its *sign context*
selects: an integer weighted sum of the signs, -1, 0 or 1, of coefficients that the decoder knows.
The sign of the sum is the prediction; the coded symbol says whether it is wrong. At the finest
level signs alternate along the direction in which their band is high-pass and repeat across it;
chroma follows lightness.

Source: sign contexts after Taubman 2000 (EBCOT), with fitted weights in place of a fixed table.
"""

from __future__ import annotations

import numpy as np

from underpaint.codec.runtime.jit import kernel, unsigned

(
    S_WEST, S_EAST, S_NORTH, S_SOUTH, S_WEST_2, S_EAST_2, S_NORTH_2, S_SOUTH_2,
    S_LIGHTNESS, S_OTHER_CHROMA, S_PARENT,
) = range(11)  # fmt: skip
"""Index of each weight of a sign context, by the coefficient whose sign it multiplies: the four
neighbours, the four at distance two, and the relatives in other bands."""

SIGN_FEATURES = 11
"""Number of weights of a sign context."""

SIGN_UNIT = 32
"""Value of a sign context that stands for log-odds (natural logarithm) of 1."""

SIGN_EDGES = (2, 6, 11, 18, 27, 38, 52)
"""The bin of a sign context is the number of edges that its absolute value reaches."""

SIGN_BINS = len(SIGN_EDGES) + 1
"""Bins of sign contexts. In the first both signs are about equally likely."""

_LAST_EDGE = SIGN_EDGES[-1]

_BIN_OF = np.searchsorted(SIGN_EDGES, np.arange(_LAST_EDGE + 1), side="right").astype(np.int64)


@kernel(forceinline=True)
def _sign(cell, at):
    index = cell[unsigned(at)]
    return np.int32(index > 0) - np.int32(index < 0)


@kernel(forceinline=True)
def sign_context(cell, row, x, weights):
    """Return the sign context of coefficient `x` of a row, which is still in the zero cell.

    `cell` int16 [size], signed cell indices; `row` a `steps.Row`; `weights` int16 [SIGN_FEATURES].
    """
    at, stride, w = row.own + x, row.stride, weights
    parent = row.parent + (x >> 1) if row.parent >= 0 else at
    near = (
        w[S_WEST] * _sign(cell, at - 1) + w[S_EAST] * _sign(cell, at + 1)
        + w[S_NORTH] * _sign(cell, at - stride) + w[S_SOUTH] * _sign(cell, at + stride)
    )  # fmt: skip
    far = (
        w[S_WEST_2] * _sign(cell, at - 2) + w[S_EAST_2] * _sign(cell, at + 2)
        + w[S_NORTH_2] * _sign(cell, at - 2 * stride) + w[S_SOUTH_2] * _sign(cell, at + 2 * stride)
    )  # fmt: skip
    related = (
        w[S_LIGHTNESS] * _sign(cell, row.lightness + x)
        + w[S_OTHER_CHROMA] * _sign(cell, row.other_chroma + x)
        + w[S_PARENT] * _sign(cell, parent)
    )
    return near + far + related


@kernel(forceinline=True)
def _digit(cell, at):
    """Return 0, 1 or 2 for zero, a positive or a negative sign."""
    index = cell[unsigned(at)]
    return np.int64(index > 0) + 2 * np.int64(index < 0)


@kernel(forceinline=True)
def signs_as_numbers(cell, row, x):
    """Return three groups of four signs around coefficient `x` of a row, as numbers below 81.

    Digits to base 3, the first the highest: west, east, north and south; lightness, the other
    chroma, the parent and west; and the same three and north. Arguments as in `sign_context`.
    """
    at, stride = row.own + x, row.stride
    parent = row.parent + (x >> 1) if row.parent >= 0 else at
    west, north = _digit(cell, at - 1), _digit(cell, at - stride)
    around = 27 * west + 9 * _digit(cell, at + 1) + 3 * north + _digit(cell, at + stride)
    related = (
        27 * _digit(cell, row.lightness + x) + 9 * _digit(cell, row.other_chroma + x)
        + 3 * _digit(cell, parent)
    )  # fmt: skip
    return around, related + west, related + north


@kernel(forceinline=True)
def bin_of_sign_context(context):
    """Return the bin of a sign context."""
    return _BIN_OF[unsigned(min(abs(context), _LAST_EDGE))]
