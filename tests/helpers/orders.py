"""Random orders of an epoch, for property tests."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
from hypothesis import strategies as st

from underpaint.codec.archive.torch.mixture import Mixture, shares_of
from underpaint.codec.archive.torch.order import EpochOrder


@st.composite
def mixtures(draw: st.DrawFn) -> Mixture:
    """Draw 1 to 3 archives of 1 to 12 row groups, of each of which 0 to 9 rows are chosen."""
    counts = draw(st.lists(st.integers(1, 12), min_size=1, max_size=3))
    groups = [draw(st.lists(st.integers(0, 9), min_size=n, max_size=n)) for n in counts]
    for rows in groups:
        rows[0] = max(rows[0], 1)
    rows = np.array([count for own in groups for count in own], np.int64)
    mix = [draw(st.floats(0.05, 1)) for _ in counts] if draw(st.booleans()) else None
    takes = shares_of([sum(own) for own in groups], mix)
    return Mixture(rows, rows * 100, tuple(accumulate(counts)), takes)


@st.composite
def orders(draw: st.DrawFn) -> EpochOrder:
    """Draw an order of a mixture, in windows or shuffled in full."""
    return EpochOrder(
        draw(mixtures()),
        seed=draw(st.none() | st.integers(0, 2**63)),
        epoch=draw(st.integers(0, 3)),
        window_bytes=draw(st.none() | st.integers(1, 3000)),
    )
