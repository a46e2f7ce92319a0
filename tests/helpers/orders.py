"""Random orders of an epoch, for property tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from underpaint.codec.archive.torch.order import EpochOrder


@st.composite
def orders(draw: st.DrawFn) -> EpochOrder:
    """Draw an order of 1 to 12 row groups of 1 to 9 rows."""
    rows = np.array(draw(st.lists(st.integers(1, 9), min_size=1, max_size=12)), np.int64)
    return EpochOrder(
        rows,
        rows * 100,
        seed=draw(st.none() | st.integers(0, 2**63)),
        epoch=draw(st.integers(0, 3)),
        window_bytes=draw(st.integers(1, 3000)),
    )
