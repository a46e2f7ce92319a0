"""Consumed positions of an epoch, in a form that adds up over workers and ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from underpaint.codec.archive.torch.order import Interval, union
from underpaint.codec.errors import StateMismatch

MARK = "underpaint_reader"
VERSION = 1


@dataclass(frozen=True)
class ReaderState:
    """Progress of one worker, or of several together."""

    order: str
    """Identifies the archive, layers, seed and windows that the positions refer to."""
    epoch: int
    base: tuple[Interval, ...]
    """Consumed when the epoch was last divided among ranks: with equal ranks, shares stay."""
    spread: tuple[Interval, ...]
    """Consumed when the shares of ranks were last divided among workers."""
    consumed: tuple[Interval, ...]
    ranks: int
    workers: int
    """0: unknown (the process that owns the loader acknowledged the progress)."""
    covers: tuple[tuple[int, int], ...]
    """Pairs (rank, worker) whose progress is in `consumed`; worker -1 stands for all of a rank."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, ints and strings, for any checkpoint format."""
        return {
            MARK: VERSION,
            "order": self.order,
            "epoch": self.epoch,
            "base": [list(interval) for interval in self.base],
            "spread": [list(interval) for interval in self.spread],
            "consumed": [list(interval) for interval in self.consumed],
            "ranks": self.ranks,
            "workers": self.workers,
            "covers": [list(consumer) for consumer in self.covers],
        }

    def knows(self, rank: int) -> bool:
        """Return whether all progress of a rank is included."""
        covers = set(self.covers)
        workers = {(rank, worker) for worker in range(self.workers)}
        return (rank, -1) in covers or (self.workers > 0 and workers <= covers)

    @property
    def complete(self) -> bool:
        """Return whether the progress of every rank is included."""
        return all(self.knows(rank) for rank in range(self.ranks))


def gather(state: Any) -> ReaderState:
    """Combine all reader states found anywhere in nested dicts and lists.

    `state` may be a result of `LayerDataset.state_dict`, a list of those of all ranks, or the state
    of a torchdata StatefulDataLoader (or a list of them). Raises StateMismatch if there is none, or
    if they are of different epochs or orders.
    """
    found = list(_found(state))
    if not found:
        raise StateMismatch("no reader state in what was given to load_state_dict")
    first = found[0]
    for other in found[1:]:
        if other.order != first.order or other.epoch != first.epoch:
            raise StateMismatch("reader states of different archives, orders or epochs")
        if (other.ranks, other.workers, other.base) != (first.ranks, first.workers, first.base):
            raise StateMismatch("reader states of runs with different ranks or workers")
    return replace(
        first,
        spread=tuple(union(part for one in found for part in one.spread)),
        consumed=tuple(union(part for one in found for part in one.consumed)),
        covers=tuple(sorted({consumer for one in found for consumer in one.covers})),
    )


def _found(state: Any) -> Iterator[ReaderState]:
    if isinstance(state, Mapping):
        if MARK in state:
            yield _parsed(state)
            return
        state = list(state.values())
    if isinstance(state, list | tuple):
        for item in state:
            yield from _found(item)


def _parsed(state: Mapping[str, Any]) -> ReaderState:
    if state[MARK] != VERSION:
        raise StateMismatch(f"reader state of version {state[MARK]!r}, not {VERSION}")
    try:
        return ReaderState(
            order=str(state["order"]),
            epoch=int(state["epoch"]),
            base=_pairs(state["base"]),
            spread=_pairs(state["spread"]),
            consumed=_pairs(state["consumed"]),
            ranks=int(state["ranks"]),
            workers=int(state["workers"]),
            covers=_pairs(state["covers"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StateMismatch(f"a reader state cannot be read: {error}") from None


def _pairs(value: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((int(first), int(second)) for first, second in value)
