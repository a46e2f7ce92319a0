"""Batches of pictures: by shape, bounded by pixels, halved where they fail."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def shape_batches(shapes: Sequence[tuple[int, int]], pixels: int) -> Iterator[list[int]]:
    """Indices of pictures in batches of like shape, of at most `pixels` or one picture each."""
    order = sorted(range(len(shapes)), key=lambda index: (shapes[index], index))
    batch: list[int] = []
    size = 0
    for index in order:
        height, width = shapes[index]
        if batch and size + height * width > pixels:
            yield batch
            batch, size = [], 0
        batch.append(index)
        size += height * width
    if batch:
        yield batch


def halving(call: Callable[[Sequence[T]], Sequence[R]], images: Sequence[T]) -> list[R | Exception]:
    """What `call` gives for each image, or why it gives nothing.

    A batch that fails, out of memory or for any other reason, is tried again in halves, so that
    one bad image costs itself and a batch too large for the device still gets through.
    """
    if not images:
        return []
    try:
        return list(call(images))
    except Exception as error:
        if len(images) == 1:
            return [error]
    _release_memory()  # outside of `except`: the failed attempt's tensors are gone by now
    middle = len(images) // 2
    return [
        *halving(call, images[:middle]),
        *halving(call, images[middle:]),
    ]


def _release_memory() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
