"""A few processes, each with a codec of its own, and a bounded number of tasks on their way.

Tasks hold layers as bytes and answers hold numbers and text: pixels do not cross processes.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from underpaint.codec.archive import Row
from underpaint.codec.errors import UsageError, WeightsMismatch
from underpaint.codec.runtime.child_process import safe_path
from underpaint.codec.weights.loading import matching

if TYPE_CHECKING:
    from underpaint import Codec

Task = TypeVar("Task")
Answer = TypeVar("Answer")

BATCH_PIXELS = 1 << 21
"""Pixels of a task, or one picture: small enough for any worker's memory."""

BATCH_IMAGES = 64

SMALL_JOB_PIXELS = 1 << 23
"""Up to this many pixels a second process takes longer to start than it saves."""

_codec: Codec | None = None
_loaded: tuple[str | None, str] | None = None
"""Weights and device of the codec of this process."""


def worker_codec() -> Codec:
    """The codec of this process."""
    if _codec is None:
        raise RuntimeError("no codec in this process")
    return _codec


def find_weights(weights: str | None, device: str, wanted: str) -> str | None:
    """Where the weights of an archive are: as asked for, else the profile that made it.

    UsageError where these are not those of the archive (they load quickly).
    """
    weights = matching(weights, wanted)
    _load(weights, device)
    have = worker_codec().weights_id
    if wanted and have != wanted:
        error = WeightsMismatch(f"the archive needs weights {wanted}, these are {have}")
        raise UsageError(f"{error}: give them with --weights")
    return weights


def batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows in order, in groups of bounded pixels."""
    group: list[Row] = []
    pixels = 0
    for row in rows:
        size = row.width * row.height
        if group and (pixels + size > BATCH_PIXELS or len(group) >= BATCH_IMAGES):
            yield group
            group, pixels = [], 0
        group.append(row)
        pixels += size
    if group:
        yield group


def work(
    function: Callable[[Task], Answer],
    tasks: Iterable[Task],
    *,
    workers: int,
    weights: str | None,
    device: str,
) -> Iterator[Answer]:
    """Answers in the order of the tasks; with one worker, in this process."""
    if workers == 1:
        _load(weights, device)
        yield from map(function, tasks)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    with safe_path(), ProcessPoolExecutor(workers, context, _load, (weights, device)) as pool:
        waiting: deque[Future[Answer]] = deque()
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def wanted_workers(asked: int | None, pixels: int) -> int:
    """Processes for a job: as asked, else one a core, else one for a small job."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return asked or (1 if pixels <= SMALL_JOB_PIXELS else cores or 1)


def layers_of(rows: Sequence[Row]) -> tuple[tuple[bytes, ...], ...]:
    """The streams of rows."""
    return tuple(row.layers for row in rows)


def _load(weights: str | None, device: str) -> None:
    global _codec, _loaded
    if _loaded != (weights, device):
        from underpaint.transforms.device import load_codec
        from underpaint.transforms.parent_watch import end_with_parent

        if multiprocessing.parent_process() is not None:
            end_with_parent()
        _codec, _loaded = load_codec(weights, device), (weights, device)
