"""Activities: how large a coefficient is likely to be, as an integer, and the bin it falls into.

An activity is an integer weighted sum of magnitudes around a coefficient, all of which the decoder
knows. Its bin chooses the table that a symbol is coded with.

Source: weighted activity contexts after Wu 1997 (ECECOW).
"""

from __future__ import annotations

import numpy as np

from underpaint.codec.runtime.jit import kernel, unsigned

FEATURES = 13
"""West, east, north, south, upper and lower diagonals, two away, parent, siblings, lightness,
other chroma, class law, one."""

BINS = 24
"""Activity bins: contexts that one band and step choose from."""

FINE = 1024
"""Entries of the table that turns an activity in 1/64 of a cell's width into a bin."""

BIN_EDGES = (
    1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 29, 38, 50, 66, 87, 114, 150, 197, 259, 340, 448, 589,
)  # fmt: skip
"""A bin is the number of edges that an activity in 1/64 of a cell's width reaches.

Equal steps of its logarithm, about 0.4 octaves; written out, for tables may hang on integers only.
"""

_ACTIVITY_SHIFT = 10

LARGEST_ACTIVITY = (1 << 31) - 1
"""No picture may lead the weights of a codec to an activity beyond: it is 32-bit arithmetic."""

_SUMMANDS = np.array([1, 1, 1, 1, 2, 2, 2, 1, 2, 1, 1])
"""Magnitudes in each of the features that are made of magnitudes."""

BIN_OF = np.searchsorted(BIN_EDGES, np.arange(FINE), side="right").astype(np.uint8)


def activity_reach(activity: np.ndarray, law: np.ndarray, magnitude: int) -> np.ndarray:
    """Bound the activities, either side of zero, that magnitudes up to `magnitude` can make.

    `activity` int32 [steps, BANDS, FEATURES], `law` int32 [classes, BANDS]; int64 [steps, BANDS].
    """
    size = np.abs(activity.astype(np.int64))
    near = size[..., : len(_SUMMANDS)] @ _SUMMANDS * magnitude
    return near + size[..., -2] * law.max(0).astype(np.int64) + size[..., -1]


@kernel(forceinline=True)
def bin_of_activity(activity, bin_of):
    """Return the bin of an activity; `bin_of` is BIN_OF."""
    fine = activity >> _ACTIVITY_SHIFT
    fine = max(0, min(fine, FINE - 1))
    return bin_of[unsigned(fine)]
