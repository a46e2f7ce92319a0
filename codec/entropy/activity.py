"""Activity: an integer estimate of how large a coefficient is, which selects its context.

The activity of a coefficient is an integer weighted sum of magnitudes around it, all of which the
decoder knows. Its bin chooses the table that a symbol is coded with.

Source: weighted activity contexts after Wu 1997 (ECECOW).
"""

from __future__ import annotations

import numpy as np

from underpaint.codec.runtime.jit import kernel, unsigned

(
    W_WEST, W_EAST, W_NORTH, W_SOUTH, W_NORTH_DIAGONALS, W_SOUTH_DIAGONALS, W_TWO_AWAY, W_PARENT,
    W_SIBLINGS, W_LIGHTNESS, W_OTHER_CHROMA, W_EXPECTED, W_CONSTANT,
) = range(13)  # fmt: skip
"""Index of each weight of an activity, by what it multiplies: the magnitudes of the neighbours; the
sums of the two diagonal ones on either side; the sum of those two to the west and two to the north;
the parent (for bands without a parent the coefficient itself, in the coarser state); the sum of the
two siblings; lightness; the other chroma component; the magnitude that the texture class expects;
and 1. A related band that does not exist is replaced by the coefficient itself."""

FEATURES = 13
"""Number of weights of an activity."""

BINS = 24
"""Activity bins: the number of contexts of one band and step."""

FINE = 1024
"""Entries of the table that turns an activity in 1/64 of a cell's width into a bin."""

BIN_EDGES = (
    1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 29, 38, 50, 66, 87, 114, 150, 197, 259, 340, 448, 589,
)  # fmt: skip
"""A bin is the number of edges that an activity in 1/64 of a cell's width reaches.

Equal steps of its logarithm, about 0.4 octaves. The numbers are written out because contexts may
depend on integer arithmetic only.
"""

_ACTIVITY_SHIFT = 10

LARGEST_ACTIVITY = (1 << 31) - 1
"""Largest activity that the weights of a codec may produce on any picture: kernels compute it in 32
bits."""

_SUMMANDS = np.array([1, 1, 1, 1, 2, 2, 2, 1, 2, 1, 1])
"""Number of magnitudes that each weight up to W_OTHER_CHROMA multiplies."""

BIN_OF = np.searchsorted(BIN_EDGES, np.arange(FINE), side="right").astype(np.uint8)
"""Bin of each activity in 1/64 of a cell's width, uint8 [FINE]."""


def activity_reach(
    weights: np.ndarray, expected_magnitude: np.ndarray, magnitude: int
) -> np.ndarray:
    """Bound |activity| over all pictures with magnitudes up to `magnitude`.

    `weights` int32 [steps, BANDS, FEATURES], `expected_magnitude` int32 [classes, BANDS]; returns
    int64 [steps, BANDS].
    """
    size = np.abs(weights.astype(np.int64))
    near = size[..., : len(_SUMMANDS)] @ _SUMMANDS * magnitude
    expected = size[..., W_EXPECTED] * expected_magnitude.max(0).astype(np.int64)
    return near + expected + size[..., W_CONSTANT]


@kernel(forceinline=True)
def fine_activity(activity):
    """Return an activity in 1/64 of a cell's width, 0 to FINE - 1."""
    return max(0, min(activity >> _ACTIVITY_SHIFT, FINE - 1))


@kernel(forceinline=True)
def bin_of_activity(activity):
    """Return the bin of an activity."""
    return np.int64(BIN_OF[unsigned(fine_activity(activity))])
