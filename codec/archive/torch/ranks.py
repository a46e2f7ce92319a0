"""The place of this process among the ranks of a training job and the workers of a loader."""

from __future__ import annotations

import os

import torch
from torch.utils.data import get_worker_info

from underpaint.codec.arguments import as_integer, as_size, whole_number
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
        return _of_environment()
    rank, world_size = as_integer("rank", rank), as_size("world_size", world_size)
    if not 0 <= rank < world_size:
        raise UsageError(f"rank {rank} of {world_size}: ranks count from 0")
    return rank, world_size


def _of_environment() -> tuple[int, int]:
    """Return RANK and WORLD_SIZE, which torchrun sets, or 0 and 1; UsageError if they are wrong."""
    names = ("RANK", "WORLD_SIZE")
    texts = [os.environ[name] for name in names if name in os.environ]
    if not texts:
        return 0, 1
    said = ", ".join(f"{name}={os.environ[name]!r}" for name in names if name in os.environ)
    if len(texts) == 1:
        raise UsageError(f"environment: {said} alone; set both RANK and WORLD_SIZE, or neither")
    rank, world_size = map(whole_number, texts)
    if rank is None or world_size is None:
        raise UsageError(f"environment: {said}: want two whole numbers")
    if rank >= world_size:
        raise UsageError(f"environment: {said}: want RANK from 0 to WORLD_SIZE - 1")
    return rank, world_size
