"""The order of an epoch: a pure function of archive, seed and epoch, divided among any workers.

    row groups ──keyed shuffle──> windows of some row groups ──keyed shuffle of their rows──>
    positions 0 … N-1, one for each image; the same whatever the number of ranks and workers

A shuffle buffer would be state that a checkpoint has to contain. Here there is none: an epoch is a
numbered sequence, the consumed part is a set of intervals of it, and resuming divides the rest
among the present workers (see `division`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

Interval = tuple[int, int]
"""Positions [start, stop)."""


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the same positions as sorted intervals that neither touch nor overlap."""
    merged: list[Interval] = []
    for start, stop in sorted(interval for interval in intervals if interval[0] < interval[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def subtract(intervals: Sequence[Interval], taken: Sequence[Interval]) -> list[Interval]:
    """Return the positions of `intervals` that are not in `taken`; both as `union` returns them."""
    left: list[Interval] = []
    index = 0
    for start, stop in intervals:
        while index < len(taken) and taken[index][1] <= start:
            index += 1
        place = index
        while place < len(taken) and taken[place][0] < stop:
            if start < taken[place][0]:
                left.append((start, taken[place][0]))
            start = max(start, taken[place][1])
            place += 1
        if start < stop:
            left.append((start, stop))
    return left


def count(intervals: Iterable[Interval]) -> int:
    """Return the number of positions in intervals that do not overlap."""
    return sum(stop - start for start, stop in intervals)


def keyed_permutation(length: int, *key: int) -> np.ndarray:
    """Return a permutation of 0 … length-1, int64, that depends only on the integers of `key`.

    Indices are sorted by their SplitMix64 hash (Steele, Lea and Flood 2014): the streams of NumPy's
    generators may change between versions, but a checkpoint must stay valid.
    """
    state = np.zeros(1, np.uint64)
    with np.errstate(over="ignore"):
        for part in key:
            state = _splitmix64(state ^ np.uint64(part & 0xFFFFFFFFFFFFFFFF))
        hashes = _splitmix64(state + np.arange(length, dtype=np.uint64))
    return np.argsort(hashes, kind="stable")


def _splitmix64(x: np.ndarray) -> np.ndarray:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclass(frozen=True)
class Piece:
    """Positions [start, stop) of one window: a worker's share of it."""

    window: int
    start: int
    stop: int
    repeats: int | None = None
    """Position of the image that comes again, if this is one position of padding."""

    @property
    def first(self) -> int:
        """Position, below the number of images, of the first image."""
        return self.start if self.repeats is None else self.repeats

    def part(self, start: int, stop: int) -> Piece:
        """Return positions [start, stop) of this piece."""
        return replace(self, start=start, stop=stop)


def without(pieces: Iterable[Piece], taken: Sequence[Interval]) -> list[Piece]:
    """Return the pieces less the positions of `taken`, in order; `taken` as `union` returns it."""
    return [
        piece.part(start, stop)
        for piece in pieces
        for start, stop in subtract([(piece.start, piece.stop)], taken)
    ]


class EpochOrder:
    """The positions of one epoch over row groups of `rows` images each.

    Args:
        rows: int64 [G], images of each row group, in the order of the archive.
        sizes: int64 [G], bytes to read for each group: a window is closed at `window_bytes`.
        seed: None for the order of the archive (each row group is a window).
        epoch: its number.
    """

    def __init__(
        self,
        rows: np.ndarray,
        sizes: np.ndarray,
        *,
        seed: int | None,
        epoch: int,
        window_bytes: int,
    ) -> None:
        self._rows, self._key = rows, None if seed is None else (seed, epoch)
        groups = len(rows)
        self._order = np.arange(groups)
        first = np.arange(groups + 1)  # index, in the order, of each window's first group
        if self._key is not None:
            self._order = keyed_permutation(groups, *self._key, 0)
            first = _window_starts(sizes[self._order], window_bytes)
        ends = np.concatenate([[0], np.cumsum(rows[self._order])])
        self._first = first
        self.bounds: np.ndarray = ends[first]
        """int64 [windows + 1]: the first position of each window, and N."""

    def __len__(self) -> int:
        return int(self.bounds[-1])

    def locate(self, piece: Piece) -> tuple[np.ndarray, np.ndarray]:
        """Return the row group and the row in it for each position of a piece, two int64 arrays."""
        groups = self._order[self._first[piece.window] : self._first[piece.window + 1]]
        rows = self._rows[groups]
        base = int(self.bounds[piece.window])
        flat = np.arange(int(rows.sum()))
        if self._key is not None:
            flat = keyed_permutation(len(flat), *self._key, 1, piece.window)
        first = piece.first - base
        flat = flat[first : first + piece.stop - piece.start]
        starts = np.concatenate([[0], np.cumsum(rows)])
        place = np.searchsorted(starts, flat, side="right") - 1
        return groups[place], flat - starts[place]

    def pieces(self, intervals: Iterable[Interval]) -> list[Piece]:
        """Cut intervals at the ends of windows."""
        cut = []
        for start, stop in intervals:
            window = int(np.searchsorted(self.bounds, start, side="right")) - 1
            while start < stop:
                end = min(stop, int(self.bounds[window + 1]))
                if start < end:
                    cut.append(Piece(window, start, end))
                start, window = end, window + 1
        return cut


def _window_starts(sizes: np.ndarray, window_bytes: int) -> np.ndarray:
    """Return the first group of each window and the number of groups; each window has at least
    one.
    """
    ends = np.cumsum(sizes)
    starts = [0]
    while starts[-1] < len(sizes):
        before = int(ends[starts[-1] - 1]) if starts[-1] else 0
        stop = int(np.searchsorted(ends, before + window_bytes, side="right"))
        starts.append(max(starts[-1] + 1, stop))
    return np.array(starts)
