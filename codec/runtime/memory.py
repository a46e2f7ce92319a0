"""Memory that the C library keeps for a process instead of giving it back to the system."""

from __future__ import annotations

import numpy as np

KEPT_BLOCK = 1 << 24
"""Bytes of the largest block that is kept when it is freed."""


def keep_freed_memory() -> None:
    """Let glibc keep blocks of up to 16 MiB that are freed, 32 MiB in all, for the next ones.

    By default it gives large blocks back at once, and the system clears each page again at its next
    use: a tenth of the time of the backward network. glibc takes a mapped block that is freed as a
    hint (mallopt(3), M_MMAP_THRESHOLD): the next ones of its size are kept. Other C libraries take
    no notice, and neither does glibc where the environment sets its thresholds.
    """
    np.empty(KEPT_BLOCK, np.uint8)
