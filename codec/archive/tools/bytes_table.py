"""The table of what a job reads from an archive: bytes by layers and size."""

from __future__ import annotations

import numpy as np

from underpaint.codec.archive.statistics import Statistics
from underpaint.codec.foreign_text import clipped

LONGEST_NAME = 300
"""Characters of the name of a layer that are shown."""


def bytes_table(statistics: Statistics) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the heads, and a row for each number of layers; no rows without pictures."""
    heads = ["layers", *(f"{size} pixels" if size else "full size" for size in statistics.sizes)]
    if not statistics.images:
        return heads, []
    needed = np.cumsum(np.cumsum(statistics.size_bytes, 0), 1).T.tolist()
    return heads, [
        (_layers_text(number, clipped(name, LONGEST_NAME)), *(f"{count:,}" for count in counts))
        for number, (name, counts) in enumerate(zip(statistics.layer_names, needed, strict=True), 1)
    ]


def _layers_text(number: int, name: str) -> str:
    """Return what a table calls layers 1 to `number`; `name` is that of the last one."""
    return f"1, {name}" if number == 1 else f"1 to {number}, {name}"
