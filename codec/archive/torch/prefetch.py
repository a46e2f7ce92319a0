"""Loads items ahead of their use, in order, within a byte budget."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def prefetched(
    tasks: Iterable[Task],
    load: Callable[[Task], Result],
    size: Callable[[Task], int],
    *,
    budget: int,
    threads: int,
) -> Iterator[Result]:
    """Yield `load(task)` for each task, in order; `threads` threads load results ahead of their
    use.

    Results that are loaded or loading and not yet yielded stay within `budget` bytes (by `size`),
    or are a single task. An error of `load` is raised in its place. Closing the iterator waits for
    running loads. An iterator that is still open when the interpreter ends needs no closing:
    Python has ended the threads by then.
    """
    is_finalizing = sys.is_finalizing  # a local name, because the interpreter's end clears modules
    waiting: deque[tuple[Future[Result], int]] = deque()
    held = 0
    coming = iter(tasks)
    ahead = next(coming, None)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="underpaint-prefetch")
    try:
        while True:
            while ahead is not None and (not waiting or held + size(ahead) <= budget):
                waiting.append((pool.submit(load, ahead), size(ahead)))
                held += waiting[-1][1]
                ahead = next(coming, None)
            if not waiting:
                return
            future, length = waiting.popleft()
            result = future.result()
            held -= length
            yield result
            del result, future
    finally:
        if not is_finalizing():
            pool.shutdown(wait=True, cancel_futures=True)
