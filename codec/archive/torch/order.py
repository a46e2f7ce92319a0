"""The order of an epoch: a pure function of archives, seed and epoch, divided among any workers.

    row groups ──keyed shuffle──> windows of some row groups ──keyed shuffle of their rows──>
    positions 0 … N-1, one for each image; the same whatever the number of ranks and workers

Or all images of the epoch are shuffled, and a window is a number of positions.

A shuffle buffer would be state that a checkpoint has to contain. Here there is none: an epoch is a
numbered sequence, the consumed part is a set of intervals of it, and resuming divides the rest
among the present workers (see `division`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from underpaint.codec.archive.torch.mixture import Mixture
from underpaint.codec.archive.torch.permutations import keyed_permutation, permuted

SCATTERED_ROWS = 4096
"""Positions of a window if all images of an epoch are shuffled together."""

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
    """The positions of one epoch.

    Args:
        mixture: row groups of one archive or more, and the images of an epoch.
        seed: None for the order of the archives (each row group is a window).
        epoch: its number.
        window_bytes: bytes of row groups at which a window is closed, whose images are shuffled
            together. None: all images of the epoch are (with a seed), and a window is only a number
            of positions.
    """

    def __init__(
        self, mixture: Mixture, *, seed: int | None, epoch: int, window_bytes: int | None
    ) -> None:
        self._key = None if seed is None else (seed, epoch)
        self.scattered = seed is not None and window_bytes is None
        """Whether the images of a window are anywhere in the archives."""
        self.bounds: np.ndarray
        """int64 [windows + 1]: the first position of each window, and N."""
        self._segments = segments = mixture.segments(seed, epoch)
        self._ends = np.concatenate([[0], np.cumsum(segments.rows)])
        if self.scattered:
            count = len(self)
            self.bounds = np.append(np.arange(0, count, SCATTERED_ROWS), count)
            return
        first = np.arange(len(segments.rows) + 1)  # index of each window's first segment
        if window_bytes is not None and seed is not None:
            whole = np.maximum(mixture.rows[segments.groups], 1)
            sizes = mixture.sizes[segments.groups] * segments.rows // whole
            first = _window_starts(sizes, window_bytes)
        self._first = first
        self.bounds = self._ends[first]

    def __len__(self) -> int:
        return int(self._ends[-1])

    def locate(self, piece: Piece) -> tuple[np.ndarray, np.ndarray]:
        """Return the row group and the image in it for each position of a piece, two int64
        arrays.
        """
        base, end = int(self.bounds[piece.window]), int(self.bounds[piece.window + 1])
        positions = np.arange(piece.first, piece.first + piece.stop - piece.start)
        if self.scattered:
            assert self._key is not None
            positions = permuted(positions, len(self), *self._key, 2)
        elif self._key is not None:
            shuffled = keyed_permutation(end - base, *self._key, 1, piece.window)
            positions = base + shuffled[positions - base]
        at = np.searchsorted(self._ends, positions, side="right") - 1
        rows = self._segments.starts[at] + positions - self._ends[at]
        return self._segments.groups[at], rows

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
