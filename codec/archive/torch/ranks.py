"""The place of this process among the ranks of a training job and the workers of a loader."""

from __future__ import annotations

import os

import torch
from torch.utils.data import get_worker_info

from underpaint.codec.errors import UsageError


def worker_place() -> tuple[int, int]:
    """Return the index of this DataLoader worker and the number of workers; (0, 0) outside of
    one.
    """
    info = get_worker_info()
    return (info.id, info.num_workers) if info else (0, 0)


def rank_place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Return rank and world size: as given, else of torch.distributed, else of torchrun's
    environment, else 0 of 1. UsageError if they contradict each other.
    """
    if (rank is None) != (world_size is None):
        raise UsageError("give both rank and world_size, or neither")
    if rank is None or world_size is None:
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        rank, world_size = _of_environment("RANK", 0), _of_environment("WORLD_SIZE", 1)
    if not 0 <= rank < world_size:
        raise UsageError(f"rank {rank} of {world_size}")
    return rank, world_size


def _of_environment(name: str, default: int) -> int:
    """Return an environment variable that torchrun sets; UsageError if it is no integer."""
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise UsageError(f"environment variable {name}: {text!r} is not an integer")
    return int(text)
