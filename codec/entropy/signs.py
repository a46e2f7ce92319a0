"""Which sign a coefficient is likely to have: the *lean* of the signs around it.

The sign of a coefficient that leaves the zero cell is coded by a table that its lean chooses: an
integer weighted sum of the signs, -1, 0 or 1, of coefficients around it that the decoder knows.
What is coded is whether the sign is the lean's. At the finest level signs alternate along the
direction in which their band is high and repeat across it; chroma follows lightness.

Source: sign contexts after Taubman 2000 (EBCOT), with weights fitted in place of a fixed table.
"""

from __future__ import annotations

import numpy as np

from underpaint.codec.runtime.jit import kernel, unsigned

SIGN_FEATURES = 11
"""West, east, north, south; two away west, east, north, south; lightness, other chroma, parent."""

SIGN_UNIT = 32
"""Lean of one unit of log-odds, of natural logarithm."""

SIGN_EDGES = (2, 6, 11, 18, 27, 38, 52)
"""A bin of leans is the number of edges that the absolute lean reaches."""

SIGN_BINS = len(SIGN_EDGES) + 1
"""Bins of leans; in the first, that of none, both signs are about equally likely."""

_WIDEST = SIGN_EDGES[-1]

_BIN_OF = np.searchsorted(SIGN_EDGES, np.arange(_WIDEST + 1), side="right").astype(np.int64)


@kernel(forceinline=True)
def _sign(cell):
    return np.int32(cell > 0) - np.int32(cell < 0)


@kernel(forceinline=True)
def lean_of(cell, at, stride, light, other, parent, w):
    """Return the lean of the coefficient at `at`, still in the zero cell.

    `cell` int16, flat; `light`, `other`, `parent` are the places of these relatives, `at` itself
    where there are none. `w` int16 [SIGN_FEATURES].
    """
    near = (
        w[0] * _sign(cell[unsigned(at - 1)]) + w[1] * _sign(cell[unsigned(at + 1)])
        + w[2] * _sign(cell[unsigned(at - stride)]) + w[3] * _sign(cell[unsigned(at + stride)])
    )  # fmt: skip
    stride *= 2
    far = (
        w[4] * _sign(cell[unsigned(at - 2)]) + w[5] * _sign(cell[unsigned(at + 2)])
        + w[6] * _sign(cell[unsigned(at - stride)]) + w[7] * _sign(cell[unsigned(at + stride)])
    )  # fmt: skip
    related = (
        w[8] * _sign(cell[unsigned(light)]) + w[9] * _sign(cell[unsigned(other)])
        + w[10] * _sign(cell[unsigned(parent)])
    )  # fmt: skip
    return near + far + related


@kernel(forceinline=True)
def bin_of_lean(lean):
    """Return the bin of a lean."""
    return _BIN_OF[unsigned(min(abs(lean), _WIDEST))]
