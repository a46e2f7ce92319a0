"""Loads and decodes the images of an epoch ahead of their use, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NoReturn

from underpaint.codec.archive.torch.mixed_samples import MixedMaker
from underpaint.codec.archive.torch.order import EpochOrder, Piece
from underpaint.codec.archive.torch.prefetch import prefetched
from underpaint.codec.archive.torch.samples import Group, Sample, Wanted

SCATTERED_BATCH = 64
"""Images that are read by themselves in one step, if they lie anywhere in the archives."""

Made = tuple[Piece, list[int], list[Sample]]
"""A piece of the epoch, some positions of it, and the samples of those that are intact."""


@dataclass(frozen=True)
class Loading:
    """How an epoch is loaded: see the arguments of `LayerDataset`."""

    prefetch_bytes: int
    threads: int
    decode_batch: int
    batched: bool
    """Whether samples are joined to batches of `decode_batch`."""


def made(
    maker: MixedMaker, order: EpochOrder, pieces: Sequence[Piece], how: Loading
) -> Iterator[Made]:
    """Yield batches of samples; the next one is made meanwhile. Errors come in their place."""

    def make(piece: Piece, wanted: list[Wanted]) -> Made:
        return piece, [one.position for one in wanted], maker.make(wanted)

    def tasks() -> Iterator[Callable[[], Made]]:
        try:
            begun = 0  # samples of a batch that began in the piece before
            for piece, wanted in loaded(maker, order, pieces, how):
                while wanted:
                    part = wanted[: how.decode_batch - begun]
                    del wanted[: len(part)]
                    begun = (begun + len(part)) % how.decode_batch if how.batched else 0
                    yield partial(make, piece, part)
        except Exception as error:
            yield partial(_raise, error)

    # the requested batch, and one ahead
    return prefetched(tasks(), lambda task: task(), lambda _: 1, budget=2, threads=1)


def loaded(
    maker: MixedMaker, order: EpochOrder, pieces: Sequence[Piece], how: Loading
) -> Iterator[tuple[Piece, list[Wanted]]]:
    """Yield each piece with its rows in memory; those of the next pieces load meanwhile.

    If images lie anywhere in the archives, each piece comes in parts.
    """
    if order.scattered:
        yield from _scattered(maker, order, pieces, how)
        return

    def groups_of(piece: Piece) -> list[int]:
        return list(dict.fromkeys(order.locate(piece)[0].tolist()))

    groups = prefetched(
        (group for piece in pieces for group in groups_of(piece)),
        lambda group: (group, maker.load(group)),
        lambda group: int(maker.sizes[group]),
        budget=how.prefetch_bytes,
        threads=how.threads,
    )
    for piece in pieces:
        held: dict[int, Group] = dict(islice(groups, len(groups_of(piece))))
        yield piece, _wanted(maker, order, piece, held)
        held.clear()


def _scattered(
    maker: MixedMaker, order: EpochOrder, pieces: Sequence[Piece], how: Loading
) -> Iterator[tuple[Piece, list[Wanted]]]:
    """Yield parts of pieces with their rows, each of which is read by itself."""

    def parts() -> Iterator[Piece]:
        for piece in pieces:
            for start in range(piece.start, piece.stop, SCATTERED_BATCH):
                yield piece.part(start, min(start + SCATTERED_BATCH, piece.stop))

    def load(part: Piece) -> tuple[Piece, dict[int, Group]]:
        rows: dict[int, list[int]] = {}
        for group, row in zip(*(one.tolist() for one in order.locate(part)), strict=True):
            rows.setdefault(group, []).append(row)
        return part, {group: maker.load_rows(group, sorted(own)) for group, own in rows.items()}

    def size(part: Piece) -> int:
        groups, _ = order.locate(part)
        return int((maker.sizes[groups] // maker.rows[groups]).sum())

    budget, threads = how.prefetch_bytes, how.threads
    for part, held in prefetched(parts(), load, size, budget=budget, threads=threads):
        yield part, _wanted(maker, order, part, held)


def _wanted(
    maker: MixedMaker, order: EpochOrder, piece: Piece, held: dict[int, Group]
) -> list[Wanted]:
    groups, rows = (one.tolist() for one in order.locate(piece))
    return [
        Wanted(piece.start + at, held[group], maker.stored_row(group, row))
        for at, (group, row) in enumerate(zip(groups, rows, strict=True))
    ]


def _raise(error: Exception) -> NoReturn:
    raise error
