"""Divides an epoch among ranks and workers, so that all ranks come to equal numbers of batches.

A DistributedDataParallel job waits for ever if one rank has a step more than another. A DataLoader
forms batches in each of its workers, so equal numbers of samples a rank do not suffice: worker w
must have the same number of samples on every rank, and then any batch size gives equal numbers of
batches, with `drop_last` and without.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from underpaint.codec.archive.torch.order import EpochOrder, Interval, Piece, subtract, without
from underpaint.codec.arguments import as_count, check_choice
from underpaint.codec.errors import UsageError

Even = Literal["pad", "drop", "uneven"]


@dataclass(frozen=True)
class Division:
    """The rule that divides the positions of an epoch; see `LayerDataset` for its options."""

    ranks: int = 1
    even: Even = "pad"
    batch_size: int | None = None
    drop_last: bool = False

    def __post_init__(self) -> None:
        check_choice("even", self.even, get_args(Even))
        as_count("batch_size", self.batch_size)
        if self.drop_last and self.batch_size is None:
            raise UsageError("drop_last: needs batch_size")

    @property
    def equal(self) -> bool:
        """Whether ranks must have equal numbers of samples."""
        return self.ranks > 1 and self.even != "uneven"

    @property
    def notes(self) -> list[str]:
        """What the order of samples depends on, in words; nothing by default."""
        notes: list[str] = [self.even] if self.even != "pad" else []
        if self.batch_size is not None:
            notes.append(f"batches of {self.batch_size}{' only' if self.drop_last else ''}")
        return notes

    def length(self, left: int, rank: int) -> int:
        """Return the number of samples of a rank if `left` positions are divided."""
        samples = left // self.ranks
        if self.even == "pad":
            samples = -(-left // self.ranks)
        elif self.even == "uneven":
            samples += rank < left % self.ranks
        return samples - samples % self.batch_size if self.drop_last else samples  # type: ignore[operator]

    def steps(self, left: int, rank: int) -> int:
        """Return `length` in batches, or in samples if there is no batch size."""
        return -(-self.length(left, rank) // (self.batch_size or 1))

    def shares(self, order: EpochOrder, done: Sequence[Interval]) -> list[list[Piece]]:
        """Divide everything that is not `done`: the pieces of each rank.

        A rank that would have one sample less than others repeats its last one ("pad"). The repeat
        has a position of its own, from `len(order)` on and above all positions that are done.
        """
        todo = order.pieces(subtract([(0, len(order))], done))
        left = _size(todo)
        lengths = [self.length(left, rank) for rank in range(self.ranks)]
        own = [
            min(length, left // self.ranks + (rank < left % self.ranks))
            for rank, length in enumerate(lengths)
        ]
        shares = _allot(todo, own)
        free = max(len(order), *(stop for _, stop in done)) if done else len(order)
        for rank, share in enumerate(shares):
            if own[rank] < lengths[rank]:
                last = share[-1] if share else todo[rank % len(todo)]
                share.append(Piece(last.window, free, free + 1, repeats=last.stop - 1))
                free += 1
        return shares

    def spread(self, share: Sequence[Piece], workers: int) -> list[list[Piece]]:
        """Divide the share of a rank among its workers.

        Windows are cut only as far as equal numbers of batches demand it. Otherwise the worker with
        the fewest positions takes the next piece whole, so that one worker reads a row group.
        """
        if self.equal or self.batch_size is not None:
            return _allot(share, self._of_workers(_size(share), workers))
        lists: list[list[Piece]] = [[] for _ in range(workers)]
        loads = [(0, worker) for worker in range(workers)]
        for piece in share:
            load, worker = heapq.heappop(loads)
            lists[worker].append(piece)
            heapq.heappush(loads, (load + piece.stop - piece.start, worker))
        return lists

    def balanced(
        self, order: EpochOrder, base: Sequence[Interval], done: Sequence[Interval]
    ) -> bool:
        """Return whether all ranks have equal numbers of samples left of what `base` divided."""
        left = [_size(without(share, done)) for share in self.shares(order, base)]
        return not self.equal or max(left) == min(left)

    def _of_workers(self, samples: int, workers: int) -> list[int]:
        """Return the number of samples of each worker: whole batches, except for the last one."""
        batch = self.batch_size or 1
        batches = -(-samples // batch)
        sizes = [batch * (batches // workers + (at < batches % workers)) for at in range(workers)]
        if batches:
            sizes[(batches - 1) % workers] -= batches * batch - samples
        return sizes


def _allot(pieces: Sequence[Piece], sizes: Sequence[int]) -> list[list[Piece]]:
    """Give each of `sizes` that many positions: the one that lacks most takes the next piece.

    A piece is cut where it would give too much. Pieces beyond the sum of the sizes are left out.
    """
    lists: list[list[Piece]] = [[] for _ in sizes]
    lacking = [(-size, place) for place, size in enumerate(sizes) if size]
    heapq.heapify(lacking)
    for piece in pieces:
        start = piece.start
        while start < piece.stop and lacking:
            lack, place = heapq.heappop(lacking)
            stop = min(piece.stop, start - lack)
            lists[place].append(piece.part(start, stop))
            if lack + stop - start:
                heapq.heappush(lacking, (lack + stop - start, place))
            start = stop
    return lists


def _size(pieces: Sequence[Piece]) -> int:
    """Return the number of positions of pieces."""
    return sum(piece.stop - piece.start for piece in pieces)
