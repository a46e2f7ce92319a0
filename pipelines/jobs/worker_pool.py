"""A pool of processes, each with its own codec, and a bounded number of pending tasks.

Tasks hold layers as bytes, and answers hold numbers and text: pixels do not cross processes.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from underpaint.codec.archive import Row
from underpaint.codec.errors import UsageError, WeightsMismatch
from underpaint.codec.reconstruct.preload import compile_ahead
from underpaint.codec.runtime.child_process import ProcessPool
from underpaint.codec.weights.header import check_made_with
from underpaint.codec.weights.loading import matching

if TYPE_CHECKING:
    from underpaint import Codec

Task = TypeVar("Task")
Answer = TypeVar("Answer")

BATCH_PIXELS = 1 << 21
"""Most pixels of a task, or one picture: small enough for any worker's memory."""

BATCH_IMAGES = 64

SMALL_JOB_PIXELS = 1 << 23
"""Most pixels of a job for which a second process takes longer to start than it saves."""

_codec: Codec | None = None
_loaded: tuple[str | None, str, bool] | None = None
"""Weights and device of this process's codec, and whether it was loaded for tensors."""


def worker_codec() -> Codec:
    """Return this process's codec."""
    if _codec is None:
        raise RuntimeError("no codec in this process")
    return _codec


def find_weights(weights: str | None, device: str, wanted: str, *, tensors: bool) -> str | None:
    """Return the location of an archive's weights: as requested, or the profile that made it.

    `tensors` as in `work`.

    UsageError if these are not the archive's weights (loading them takes little time).
    """
    found = matching(weights, wanted)
    _load(found, device, tensors)
    try:
        check_made_with(wanted, worker_codec().weights_id)
    except WeightsMismatch as error:
        known = weights is not None and matching(None, wanted) is not None
        hint = "leave out" if known else "give those that made it with"
        raise UsageError(f"the archive is {error}: {hint} --weights") from None
    return found


def batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield rows in order, in groups of bounded pixels."""
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
    tensors: bool,
) -> Iterator[Answer]:
    """Yield the answers in the order of the tasks; with one worker, work in this process.

    `tensors` tells whether tasks use the network or textures, which need torch on any device.
    """
    if workers == 1:
        _load(weights, device, tensors)
        yield from map(function, tasks)
        return
    compile_ahead()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPool(workers, _load, (weights, device, tensors)) as pool:
        waiting: deque[Future[Answer]] = deque()
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def wanted_workers(asked: int | None, pixels: int) -> int:
    """Return the number of processes: as requested, else one a core, else one for a small job."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return asked or (1 if pixels <= SMALL_JOB_PIXELS else cores or 1)


def layers_of(rows: Sequence[Row]) -> tuple[tuple[bytes, ...], ...]:
    """Return the streams of rows."""
    return tuple(row.layers for row in rows)


def _load(weights: str | None, device: str, tensors: bool) -> None:
    global _codec, _loaded
    if _loaded != (weights, device, tensors):
        from underpaint.codec.runtime.parent_watch import end_with_parent
        from underpaint.transforms.device import load_codec

        if multiprocessing.parent_process() is not None:
            end_with_parent()
        _codec = load_codec(weights, device, tensors=tensors)
        _loaded = (weights, device, tensors)
