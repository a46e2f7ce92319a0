"""Console output: sizes, times, tables and the progress line; types of arguments."""

from __future__ import annotations

import argparse
import math
import re
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from underpaint.codec.arguments import whole_number
from underpaint.codec.counts import plural as plural
from underpaint.codec.errors import UsageError
from underpaint.codec.foreign_text import escaped
from underpaint.codec.transform.sizes import check_sizes
from underpaint.transforms.progress import Counts

TERMINAL_PERIOD_S = 0.5
LOG_PERIODS_S = (5.0, 10.0, 30.0, 60.0)
"""Seconds between lines where standard error is a file; they grow, as jobs may run for days."""

CAUSES_SHOWN = 3
"""Number of failure causes that the progress line names."""

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_MOST_BYTES = 10**15
"""A petabyte is more than any machine has."""


def size_text(count: float) -> str:
    """Return a byte count as "512 B" or "3.4 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.0f} B" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"


def parse_size(text: str) -> int:
    """Parse "512M", "2G" or "2GiB" as bytes (argparse type)."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", text.strip().lower())
    if not found or (value := float(found[1])) <= 0:
        raise argparse.ArgumentTypeError(f"not a size: {text!r} (try 512M or 4G)")
    factor = _UNITS[found[2]]
    if found[3]:
        factor = 1 << (10 * "kmgt".index(found[2]) + 10)
    if value * factor >= _MOST_BYTES:
        raise argparse.ArgumentTypeError(f"more than any machine has: {text!r}")
    return int(value * factor)


def parse_share(text: str) -> float:
    """Parse "0.01" or "1%" as a fraction from 0 to 1 (argparse type)."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"not a fraction from 0 to 1: {text!r} (try 0.01 or 1%)")
    return value


def positive(text: str) -> int:
    """Parse an integer of at least 1 (argparse type)."""
    value = whole_number(text)
    if not value:
        raise argparse.ArgumentTypeError(f"not an integer of at least 1: {text!r}")
    return value


MOST_WORKERS = 1024
"""Most processes or threads that an option takes; torch does not survive a million."""


def workers(text: str) -> int:
    """Parse a number of processes or threads (argparse type)."""
    value = whole_number(text)
    if value is None or not 1 <= value <= MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"not an integer from 1 to {MOST_WORKERS}: {text!r}")
    return value


def sizes(text: str) -> tuple[int, ...]:
    """Parse "256,512" as short sides in pixels, "none" as no size (argparse type)."""
    if text.strip().lower() == "none":
        return ()
    found = tuple(positive(item.strip()) for item in text.split(","))
    try:
        check_sizes(found)
    except UsageError as error:
        raise argparse.ArgumentTypeError(f"{error}, such as 256,512, or none") from error
    return found


def count(text: str) -> int:
    """Parse an integer of at least 0 (argparse type)."""
    value = whole_number(text)
    if value is None:
        raise argparse.ArgumentTypeError(f"not an integer of at least 0: {text!r}")
    return value


def seconds(text: str) -> float:
    """Parse a positive number of seconds (argparse type)."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"not a positive number of seconds: {text!r}")
    return value


def hours(text: str) -> float:
    """Parse a number of hours, 0 or more (argparse type)."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"not a number of hours, 0 or more: {text!r}")
    return value


def time_text(span: float) -> str:
    """Return a time span as "42 s", "3 min 05 s", "5 h 12 min" or "2 d 03 h"."""
    whole = round(span)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def shown(text: object) -> str:
    """Return foreign text on one line, with characters that control a terminal escaped."""
    return escaped(text)


def table(
    rows: Sequence[Sequence[str]],
    *,
    left: int = 1,
    header: bool = True,
    width: int | None = None,
    wrapped: int = -1,
) -> str:
    """Return rows as aligned columns: the first `left` to the left, all others to the right.

    `width` wraps the column `wrapped`, by default the last one, so that no line is longer than so
    many characters. Cells are escaped as by `shown`.
    """
    from tabulate import tabulate

    cells = [[shown(cell) for cell in row] for row in rows]
    widest = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    if width is not None:  # not by tabulate's maxcolwidths, which reads "2,700" as a broken number
        room = max(8, width - sum(widest) + widest[wrapped] - 2 * len(widest))
        for row in cells:
            row[wrapped] = textwrap.fill(row[wrapped], room)
    return tabulate(
        cells,
        headers="firstrow" if header else (),
        tablefmt="simple" if header else "plain",
        colalign=[*["left"] * left, *["right"] * (len(widest) - left)],
        disable_numparse=True,
    )


class ProgressLine:
    """The progress line on standard error: rewritten on a terminal, repeated in a log file.

        with ProgressLine(lambda: progress_store.total(), plan.bytes, plan.records):
            pipeline.run()

    Args:
        counts: returns the current counts.
        total_bytes: input bytes of the job; 0 if unknown.
        total_images: pictures of the job; 0 if unknown.
    """

    def __init__(
        self,
        counts: Callable[[], Counts],
        total_bytes: int,
        total_images: int,
        stream: TextIO | None = None,
    ) -> None:
        self._counts = counts
        self._total_bytes, self._total_images = total_bytes, total_images
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._begin = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> ProgressLine:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._show()
        if self._terminal:
            self._stream.write("\n")

    def text(self, counts: Counts, elapsed: float) -> str:
        """Return the line."""
        done = counts.images + counts.failed + counts.duplicates + counts.done_before
        of = f" of {self._total_images:,}" if self._total_images else ""
        parts = [
            f"{done:,}{of} pictures",
            f"{counts.pixels / 1e6 / max(elapsed, 1e-9):.2f} Mpx/s",
            f"in {size_text(counts.bytes_in)}",
            f"out {size_text(counts.bytes_out)}",
            f"failed {counts.failed:,}{_causes(counts)}",
        ]
        share = self._share(counts, done)
        if 0 < share < 1 and elapsed > 2:
            parts.append(f"{share:.0%}")
            parts.append(f"ETA {time_text(elapsed / share - elapsed)}")
        else:
            parts.append(time_text(elapsed))
        return "  ".join(parts)

    def _share(self, counts: Counts, done: int) -> float:
        if self._total_bytes:
            return min(1.0, max(counts.input_bytes, counts.bytes_in) / self._total_bytes)
        return min(1.0, done / self._total_images) if self._total_images else 0.0

    def _run(self) -> None:
        number = 0
        while True:
            last = min(number, len(LOG_PERIODS_S) - 1)
            period = TERMINAL_PERIOD_S if self._terminal else LOG_PERIODS_S[last]
            number += 1
            if self._stop.wait(period):
                return
            self._show()

    def _show(self) -> None:
        line = self.text(self._counts(), time.monotonic() - self._begin)
        if self._terminal:
            width = shutil.get_terminal_size().columns
            self._stream.write(f"\r{line[: width - 1]:<{width - 1}}")
        else:
            self._stream.write(line + "\n")
        self._stream.flush()


def _causes(counts: Counts) -> str:
    """Return the most frequent failure causes, in parentheses."""
    common = sorted(counts.causes.items(), key=lambda item: (-item[1], item[0]))[:CAUSES_SHOWN]
    return f" ({', '.join(f'{cause} {count:,}' for cause, count in common)})" if common else ""
