"""Which images go through the transforms together, and threads for what each needs alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from underpaint.codec.arguments import whole_number
from underpaint.codec.transform.subbands import BLOCK

BATCH_PIXELS = 1 << 19
"""Most padded pixels that go through the transforms at once: small batches stay in the caches."""

Job = TypeVar("Job")
Answer = TypeVar("Answer")


def batches(
    shapes: Sequence[tuple[int, ...]],
    kinds: Sequence[Hashable] | None = None,
    most_pixels: int = BATCH_PIXELS,
) -> Iterator[list[int]]:
    """Group indices of one padded shape and kind, at most so many pixels together."""
    groups: dict[tuple[int, int, Hashable], list[int]] = {}
    for index, (height, width) in enumerate(shapes):
        padded = (-(-height // BLOCK), -(-width // BLOCK), kinds[index] if kinds else 0)
        groups.setdefault(padded, []).append(index)
    for (rows, columns, _), members in groups.items():
        most = max(1, most_pixels // (rows * columns * BLOCK * BLOCK))
        for start in range(0, len(members), most):
            yield members[start : start + most]


def most_threads() -> int:
    """Return torch's number of threads, or the number that it would take if it was imported."""
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    return whole_number(os.environ.get("OMP_NUM_THREADS", "")) or os.cpu_count() or 1


def in_threads(function: Callable[[Job], Answer], jobs: Sequence[Job]) -> list[Answer]:
    """Apply what releases the interpreter lock to each job; a thread takes the next one left."""
    threads = min(len(jobs), most_threads(), os.cpu_count() or 1)
    if threads <= 1:
        return [function(job) for job in jobs]
    results: list[Any] = [None] * len(jobs)
    left = iter(range(len(jobs)))  # which the interpreter lock makes safe to share

    def work() -> None:
        for place in left:
            results[place] = function(jobs[place])

    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(work) for _ in range(threads)]:
            future.result()
    return results
