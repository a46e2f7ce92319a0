"""Finds the keys that occur more than once among any number of keys, in bounded memory.

Keys are hashed to 64 bits. Hashes beyond the budget are moved to temporary files, partitioned by
their value, so that equal hashes meet again in one partition.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import IO

import numpy as np

HELD_KEYS = 1 << 22
"""Number of hashes held in memory (32 MiB) before they are moved to files."""

PARTITION_BITS = 8
"""Hashes are partitioned into 2 to this power files."""


def hashes_of(keys: Iterable[str]) -> np.ndarray:
    """Return the 64-bit hashes of some keys, uint64 [number of keys]."""
    digests = (hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys)
    return np.frombuffer(b"".join(digests), dtype="<u8")


class RepeatedKeys:
    """Collects hashes of keys and returns those that occur more than once."""

    def __init__(self) -> None:
        self._held: list[np.ndarray] = []
        self._count = 0
        self._exit = ExitStack()
        self._files: list[IO[bytes]] = []

    def __enter__(self) -> RepeatedKeys:
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def add(self, hashes: np.ndarray) -> None:
        """Add the hashes of some keys, uint64 [number of keys]."""
        self._held.append(hashes)
        self._count += len(hashes)
        if self._count >= HELD_KEYS:
            self._spill()

    def repeated(self) -> np.ndarray:
        """Return the hashes that were added more than once, uint64, sorted.

        Different keys have equal hashes once in 2^64 pairs, so the keys must be compared.
        """
        if self._files:
            self._spill()
        parts = [_repeated(hashes) for hashes in self._partitions()]
        return np.concatenate(parts) if parts else np.zeros(0, np.uint64)

    def _partitions(self) -> Iterator[np.ndarray]:
        if not self._files and self._held:
            yield np.concatenate(self._held)
        for file in self._files:
            file.seek(0)
            yield np.frombuffer(file.read(), dtype="<u8")

    def _spill(self) -> None:
        if not self._files:
            self._files = [
                self._exit.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
                for _ in range(1 << PARTITION_BITS)
            ]
        hashes = np.sort(np.concatenate(self._held)) if self._held else np.zeros(0, "<u8")
        partitions = (hashes >> np.uint64(64 - PARTITION_BITS)).astype(np.int64)
        starts = np.searchsorted(partitions, np.arange(len(self._files) + 1))
        for file, start, stop in zip(self._files, starts, starts[1:], strict=False):
            file.write(hashes[start:stop].tobytes())
        self._held, self._count = [], 0


def _repeated(hashes: np.ndarray) -> np.ndarray:
    values, counts = np.unique(hashes, return_counts=True)
    repeated: np.ndarray = values[counts > 1]
    return repeated
