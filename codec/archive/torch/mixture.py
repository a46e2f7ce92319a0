"""The row groups that an epoch reads, of one archive or of several in given proportions.

archive 0: pass 0 │ pass 1 │ …   each pass holds every image once
           ├── epoch 0 ──┼── epoch 1 ──┤   an epoch takes the next images of each archive,
archive 1: pass 0           │ pass 1 …     and spreads them evenly over its length
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from underpaint.codec.archive.torch.permutations import keyed_permutation
from underpaint.codec.arguments import as_proportions
from underpaint.codec.errors import UsageError


@dataclass(frozen=True)
class Segments:
    """Parts of row groups, in the order in which an epoch comes to them."""

    groups: np.ndarray
    """int64 [S]: the row group of each part."""
    starts: np.ndarray
    """int64 [S]: its first image, counted in the row group."""
    rows: np.ndarray
    """int64 [S]: number of its images, 1 or more."""


@dataclass(frozen=True)
class Mixture:
    """Row groups of archives, and how many images of each archive an epoch takes."""

    rows: np.ndarray
    """int64 [G]: images of each row group of all archives."""
    sizes: np.ndarray
    """int64 [G]: bytes to read for each row group."""
    ends: tuple[int, ...]
    """For each archive, the number of row groups of it and of all archives before it."""
    takes: tuple[int, ...]
    """For each archive, the number of its images in an epoch."""

    def __len__(self) -> int:
        """Return the number of images of an epoch."""
        return sum(self.takes)

    def segments(self, seed: int | None, epoch: int) -> Segments:
        """Return the parts of row groups of an epoch; None: in the order of the archives."""
        parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        times: list[np.ndarray] = []
        for archive, take in enumerate(self.takes):
            found = self._of(archive, seed, epoch * take, (epoch + 1) * take)
            rows = found[2]
            parts.append(found)
            times.append((np.cumsum(rows) - rows / 2) / max(take, 1))
        groups, starts, rows = (np.concatenate(one) for one in zip(*parts, strict=True))
        order = np.argsort(np.concatenate(times), kind="stable")
        return Segments(groups[order], starts[order], rows[order])

    def _of(
        self, archive: int, seed: int | None, begin: int, stop: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return groups, starts and rows of images [begin, stop) of an archive's passes."""
        first = self.ends[archive - 1] if archive else 0
        own = np.arange(first, self.ends[archive])
        total = int(self.rows[own].sum())
        found = [(own[:0], own[:0], own[:0])]
        while begin < stop:
            number, at = divmod(begin, total)
            take = min(total - at, stop - begin)
            groups = own
            if seed is not None:
                groups = own[keyed_permutation(len(own), seed, number, 0, archive)]
            ends = np.cumsum(self.rows[groups])
            before = ends - self.rows[groups]
            low, high = np.clip(at - before, 0, None), np.minimum(ends, at + take) - before
            some = high > low
            found.append((groups[some], low[some], (high - low)[some]))
            begin += take
        groups, low, rows = (np.concatenate(one) for one in zip(*found, strict=True))
        return groups, low, rows


def shares_of(images: Sequence[int], mix: Sequence[float] | None) -> tuple[int, ...]:
    """Return how many images of each archive an epoch takes.

    Without proportions it takes all. Otherwise it ends when the first archive has given all of its
    images once, and takes as many of the others as their proportions say.

    Args:
        images: number of images of each archive.
        mix: proportions, positive; they need not add up to 1.

    Raises UsageError for proportions without meaning, or an archive without images.
    """
    if mix is None:
        return tuple(images)
    mix = as_proportions("mix", mix)
    if len(mix) != len(images):
        raise UsageError(f"mix: {len(mix)} proportions for {len(images)} archives")
    if 0 in images:
        raise UsageError(f"mix: archive number {list(images).index(0) + 1} has no images to give")
    length = min(count / one for count, one in zip(images, mix, strict=True))
    return tuple(
        min(count, max(1, round(one * length))) for count, one in zip(images, mix, strict=True)
    )
