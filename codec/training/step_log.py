"""Logs of a training: CSV files with one row for each step that is recorded, its number first."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from underpaint.codec.errors import UsageError


def append_rows(path: Path, fields: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Append rows to a log; a new log begins with the names of the fields."""
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(fields)
        writer.writerows(rows)


def check_loss(loss: float, step: int, option: str) -> None:
    """Raise UsageError if the loss of a step is not finite; `option` sets its learning rate."""
    if not math.isfinite(loss):
        raise UsageError(
            f"step {step}: the loss is not finite, the training has diverged; give a lower "
            f"{option} or other weights of the loss, and another --run-folder"
        )


def drop_rows_after(path: Path, step: int) -> None:
    """Drop the rows of a log after `step`: these steps are repeated."""
    if not path.exists():
        return
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *(row for row in rows if int(row[0]) <= step)])
