"""Counts the passes of a data set over its epochs, across the workers of a loader."""

from __future__ import annotations

import torch

from underpaint.codec.errors import UsageError

_COUNT_BITS = 32


class Passes:
    """Counts whole passes over an epoch, in memory that a loader's workers share.

    Workers that live for one epoch do not know of earlier ones. So each worker counts the passes it
    has ended in a slot of its own, and the epoch of a pass is the number of passes that all workers
    have ended. An interrupted pass has not been ended by all, so its epoch starts again. Counts
    belong to a generation: a worker that still ends a pass when another epoch was set counts
    nothing.
    """

    MOST_WORKERS = 1024

    def __init__(self) -> None:
        shared = torch.zeros(3 + self.MOST_WORKERS, dtype=torch.int64)
        self._shared = shared.share_memory_()  # type: ignore[no-untyped-call]
        self._shared[1] = 1

    @property
    def first(self) -> int:
        """The epoch that was set or loaded."""
        return int(self._shared[0])

    @property
    def generation(self) -> int:
        """Number of times that an epoch was set or loaded for all workers."""
        return int(self._shared[2])

    def epoch(self) -> int:
        """The epoch of the next pass, or of the running one."""
        workers = int(self._shared[1])
        return self.first + min(self._ended(worker) for worker in range(workers))

    def restart(self, epoch: int, worker: int | None = None) -> None:
        """Start with an epoch, for all workers or for one that has loaded its own state."""
        self._shared[0] = epoch
        if worker is None:
            self._shared[2] += 1
        else:
            self._shared[3 + worker] = 0

    def begin(self, workers: int) -> int:
        """Return the epoch of a pass with this number of workers (0: only this process)."""
        if workers > self.MOST_WORKERS:
            raise UsageError(f"{workers} workers of a loader: at most {self.MOST_WORKERS}")
        self._shared[1] = max(workers, 1)
        return self.epoch()

    def end(self, worker: int, generation: int) -> None:
        """Count a pass that a worker began in a generation and has ended."""
        if generation == self.generation:
            ended = self._ended(worker) + 1
            self._shared[3 + worker] = generation << _COUNT_BITS | ended

    def _ended(self, worker: int) -> int:
        """Return the passes of the present generation that a worker has ended."""
        generation, ended = divmod(int(self._shared[3 + worker]), 1 << _COUNT_BITS)
        return ended if generation == self.generation else 0
