"""The torch device of a worker, and the codec on it."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib import metadata
from typing import TYPE_CHECKING

import pyarrow as pa

from underpaint.codec.runtime.imports import without_collection

if TYPE_CHECKING:
    from underpaint import Codec


@without_collection(freeze=True)
def load_codec(weights: str | None, device: str, *, tensors: bool = True) -> Codec:
    """Load the codec for one thread: there are as many worker processes as cores.

    `device` is as in `prepare_torch`. Without `tensors`, the caller needs nothing that a `Codec`
    on a CPU computes by torch, and torch is only imported where there may be a GPU.
    """
    from underpaint import Codec

    if tensors or not _surely_cpu(device):
        return Codec.load(weights, device=prepare_torch(device))
    os.environ["OMP_NUM_THREADS"] = "1"  # if torch is imported after all
    return Codec.load(weights)


def _surely_cpu(device: str) -> bool:
    """Tell, without torch, whether `prepare_torch` would choose the CPU; False if in doubt."""
    return device == "cpu" or (device == "auto" and metadata.version("torch").endswith("+cpu"))


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
