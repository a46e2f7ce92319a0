"""Batches of pictures for the codec: by shape, bounded by pixels, halved where they fail."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np

Stream = tuple[bytes, ...]
Encode = Callable[[Sequence[np.ndarray]], Sequence[Stream]]


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


def encode_halving(encode: Encode, images: Sequence[np.ndarray]) -> list[Stream | Exception]:
    """The stream of each image, or why it has none.

    A batch that fails, out of memory or for any other reason, is tried again in halves, so that
    one bad image costs itself and a batch too large for the device still gets through.
    """
    if not images:
        return []
    try:
        return list(encode(images))
    except Exception as error:
        if len(images) == 1:
            return [error]
    _release_memory()  # outside of `except`: the failed attempt's tensors are gone by now
    middle = len(images) // 2
    return [
        *encode_halving(encode, images[:middle]),
        *encode_halving(encode, images[middle:]),
    ]


def _release_memory() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
