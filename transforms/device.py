"""The device of one worker, and the codec on it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from underpaint import Codec


def load_codec(weights: str | None, device: str) -> Codec:
    """The codec on one thread: workers are processes, as many as there are cores.

    `device` is as for `prepare_torch`.
    """
    from underpaint import Codec

    return Codec.load(weights, device=prepare_torch(device))


def prepare_torch(device: str) -> str:
    """The torch device of this process, which computes on one thread.

    `device` is a torch device or "auto": CUDA where there is one.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    return device


def prepare_arrow() -> None:
    """Let Arrow take the memory for rows from jemalloc, where it is built with it.

    Its own choice, mimalloc, holds twice what rows on their way to a file take.
    """
    with suppress(NotImplementedError):
        pa.set_memory_pool(pa.jemalloc_memory_pool())
