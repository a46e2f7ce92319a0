"""The torch device of a worker, and the codec on it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from underpaint import Codec


def load_codec(weights: str | None, device: str) -> Codec:
    """Load the codec for one thread: there are as many worker processes as cores.

    `device` is as in `prepare_torch`.
    """
    from underpaint import Codec

    return Codec.load(weights, device=prepare_torch(device))


def prepare_torch(device: str) -> str:
    """Return the torch device of this process, and limit torch to one thread.

    `device` is a torch device or "auto": CUDA if there is a GPU, else the CPU.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    return device


def prepare_arrow() -> None:
    """Make Arrow allocate from jemalloc, if it was built with it.

    Its default, mimalloc, holds twice the memory of the rows that are being written.
    """
    with suppress(NotImplementedError):
        pa.set_memory_pool(pa.jemalloc_memory_pool())
