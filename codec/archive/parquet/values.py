"""Finds the bytes of single values in a data file, from their lengths and the page index.

    page    │ header │ levels │ length value │ length value │ … │ length value │
                                                                ▲ stop of the page

Values end where their page ends. The start of a value is therefore known from the lengths of the
values behind it, without its page's header.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from underpaint.codec.archive.parquet.footer import Range
from underpaint.codec.archive.parquet.pages import BlobPages
from underpaint.codec.archive.schema import NO_BLOB

PREFIX = 4
"""Bytes before a value, which hold its length (Parquet's PLAIN encoding)."""


@dataclass(frozen=True)
class ValuePlaces:
    """Positions of the values of one column chunk."""

    lengths: np.ndarray
    """Unsigned [rows]: length plus 1; 0 for a null."""
    firsts: np.ndarray
    """uint32 [pages]: first row of each page."""
    stops: np.ndarray
    """Unsigned [pages]: end of each page, from the start of the chunk."""
    start: int
    """Start of the chunk in the file."""

    @property
    def nbytes(self) -> int:
        """Memory of the arrays in bytes."""
        return self.lengths.nbytes + self.firsts.nbytes + self.stops.nbytes

    def length(self, row: int) -> int:
        """Return the length of the value of a row in bytes, 0 for a null."""
        return max(0, int(self.lengths[row]) - 1)

    def range(self, row: int) -> Range | None:
        """Return where the value of a row stands in the file, after its length; None for a null.

        The range may lie outside of the page if the lengths are wrong: compare the length in front
        of the value (`PREFIX`).
        """
        stored = int(self.lengths[row])
        if not stored:
            return None
        page = int(np.searchsorted(self.firsts, row, side="right")) - 1
        end = self.firsts[page + 1] if page + 1 < len(self.firsts) else len(self.lengths)
        behind = self.lengths[row + 1 : int(end)]
        skipped = int(behind.sum(dtype=np.int64)) + (PREFIX - 1) * int(np.count_nonzero(behind))
        stop = self.start + int(self.stops[page]) - skipped
        return stop - (stored - 1), stop


def value_places(lengths: np.ndarray, pages: BlobPages) -> ValuePlaces:
    """Return the positions of the values of a chunk.

    Args:
        lengths: int32 [rows], length of each value in bytes; NO_BLOB for a null.
        pages: the pages of the chunk.
    """
    start = pages.pages[0].offset
    return ValuePlaces(
        _narrow(lengths.astype(np.int64) - NO_BLOB),
        np.array([page.first_row for page in pages.pages], np.uint32),
        _narrow(np.array([page.offset + page.size - start for page in pages.pages], np.int64)),
        start,
    )


def _narrow(values: np.ndarray) -> np.ndarray:
    """Return non-negative integers in the smallest unsigned type that holds them."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))
