"""Numbers of rows: position in the order of the archive, from the manifest alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from underpaint.codec.archive.units import Groups


@dataclass(frozen=True)
class Span:
    """Adjacent rows of one row group."""

    file: int
    """Index of the data file in `Archive.files`."""
    group: int
    start: int
    """First row, counted in the group."""
    stop: int
    number: int
    """Number of the first row in the archive."""


class RowNumbers:
    """Finds row groups by the numbers of their rows, 0 to `rows` - 1."""

    def __init__(self, groups: Groups) -> None:
        """Take the row groups of an archive, `archive.manifest.units.groups`."""
        self._groups = groups
        self._ends = np.cumsum(groups.rows)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def spans(self, start: int, stop: int) -> Iterator[Span]:
        """Yield the rows `start` to `stop` - 1, as far as they exist, one span a row group."""
        start, stop = max(start, 0), min(stop, self.rows)
        index = int(np.searchsorted(self._ends, start, side="right"))
        while start < stop:
            first = int(self._ends[index - 1]) if index else 0
            end = min(stop, int(self._ends[index]))
            if start < end:
                yield Span(*self._place(index), start - first, end - first, start)
                start = end
            index += 1

    def groups(self) -> Iterator[Span]:
        """Yield all row groups, each as a span of all its rows."""
        first = 0
        for index, end in enumerate(self._ends.tolist()):
            yield Span(*self._place(index), 0, end - first, first)
            first = end

    def number(self, file: int, group: int, row: int) -> int:
        """Return the number of a row of a row group."""
        index = int(np.searchsorted(self._groups.files, file)) + group
        return row + (int(self._ends[index - 1]) if index else 0)

    def _place(self, index: int) -> tuple[int, int]:
        """Return file and row group of a row group by its position in the archive."""
        return int(self._groups.files[index]), int(self._groups.groups[index])
