"""Batches of pictures: grouped by shape, bounded by pixels, halved on failure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def shape_batches(shapes: Sequence[tuple[int, int]], pixels: int) -> Iterator[list[int]]:
    """Yield batches of indices: pictures of similar shape, at most `pixels` in all, or one
    picture.
    """
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
    """Return, for each image, the result of `call` or the exception that it raised.

    A batch that fails, out of memory or for another reason, is retried in halves. So one bad image
    costs only itself, and a batch that is too large for the device still succeeds.
    """
    if not images:
        return []
    try:
        return list(call(images))
    except Exception as error:
        if len(images) == 1:
            return [error]
    _release_memory()  # outside of `except`, so that the tensors of the failed attempt are freed
    middle = len(images) // 2
    return [
        *halving(call, images[:middle]),
        *halving(call, images[middle:]),
    ]


def _release_memory() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
