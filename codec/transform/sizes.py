"""Sizes of a picture: its own, and the smaller ones that its coarser wavelet levels give.

The low band that level l splits is the picture at 1/2**(l - 1) of its sides. A size is named by the
short side that a job wants, and by the number of levels that it does without: its *shrink level*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from underpaint.codec.arguments import as_count, as_integer
from underpaint.codec.errors import UsageError
from underpaint.codec.limits import MAX_SIDE
from underpaint.codec.transform.levels import DYADIC_LEVELS

DEFAULT_SIZES = (256, 512)
"""Short sides in pixels for which streams are cut, unless an encoder is told others."""

MOST_SIZES = 3
"""Most sizes for which a stream is cut, beside the full one."""

SHRINKS = tuple(1 << level for level in range(DYADIC_LEVELS + 1))
"""Divisors of the sides that a decoder offers: 1, 2, 4, 8 and 16."""


def shrink_level(height: int, width: int, size: int) -> int:
    """Return how many of the finest levels a picture of short side `size` does without, 0 to 4.

    The result is the smallest picture whose short side is at least `size`; the full one if there is
    none.
    """
    short = min(height, width)
    levels = (level for level in range(DYADIC_LEVELS, 0, -1) if -(-short >> level) >= size)
    return next(levels, 0)


def shrunk_sides(height: int, width: int, level: int) -> tuple[int, int]:
    """Return the sides in pixels of a picture without its `level` finest levels."""
    return -(-height >> level), -(-width >> level)


@dataclass(frozen=True)
class Size:
    """A size to decode: a shrink level, and the short side that is wanted."""

    level: int = 0
    """Smallest shrink level of any picture."""
    short: int | None = None
    """Short side in pixels; if given, the level follows from the sides of each picture."""

    @classmethod
    def of(cls, size: int | None, shrink: int | None) -> Size:
        """Return the size of a short side, or of a divisor of the sides; None and None is full.

        Raises UsageError if both are given, or if there is no such size.
        """
        if size is not None and shrink is not None:
            raise UsageError("size and shrink: want one of them")
        if shrink is not None and shrink not in SHRINKS:
            raise UsageError(f"shrink: {shrink}; want one of {', '.join(map(str, SHRINKS))}")
        return cls(SHRINKS.index(shrink or 1), as_count("size", size))

    def no_finer_than(self, level: int) -> Size:
        """Return the size with a shrink level of at least `level` for all pictures."""
        return Size(max(self.level, level), self.short)

    def level_of(self, height: int, width: int) -> int:
        """Return the shrink level of a picture."""
        if self.short is None:
            return self.level
        return max(self.level, shrink_level(height, width, self.short))


FULL = Size()
"""The full size."""


def cut_levels(height: int, width: int, sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the shrink level of each size, and 0 for the full picture; they do not increase."""
    return (*(shrink_level(height, width, size) for size in sizes), 0)


def check_sizes(sizes: Sequence[int]) -> None:
    """Raise UsageError unless `sizes` are at most three sides of pictures in increasing order."""
    if isinstance(sizes, int | str | bytes):
        example = sizes if isinstance(sizes, int) else "256, 512"
        raise UsageError(f"sizes: want a list of short sides in pixels, such as [{example}]")
    sizes = [as_integer("sizes", size) for size in sizes]
    ordered = all(a < b for a, b in zip((0, *sizes), sizes, strict=False))
    if len(sizes) > MOST_SIZES or not ordered:
        raise UsageError(
            f"sizes: {', '.join(map(str, sizes))}; want at most {MOST_SIZES} short sides in "
            "pixels, in increasing order"
        )
    if sizes and sizes[-1] > MAX_SIDE:
        raise UsageError(f"sizes: {sizes[-1]}; no picture has sides above {MAX_SIDE} pixels")
