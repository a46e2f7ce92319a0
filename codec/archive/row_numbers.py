"""Numbers of rows: position in the order of the archive, from the manifest alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from underpaint.codec.archive.records import FileEntry


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

    def __init__(self, files: Sequence[FileEntry]) -> None:
        groups = [
            (file, group, rows)
            for file, entry in enumerate(files)
            for group, rows in enumerate(entry.row_groups)
        ]
        self._groups = [(file, group) for file, group, _ in groups]
        self._ends = np.cumsum([rows for _, _, rows in groups], dtype=np.int64)
        self._index = {place: index for index, place in enumerate(self._groups)}

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
                file, group = self._groups[index]
                yield Span(file, group, start - first, end - first, start)
                start = end
            index += 1

    def groups(self) -> Iterator[Span]:
        """Yield all row groups, each as a span of all its rows."""
        first = 0
        for (file, group), end in zip(self._groups, self._ends.tolist(), strict=True):
            yield Span(file, group, 0, end - first, first)
            first = end

    def number(self, file: int, group: int, row: int) -> int:
        """Return the number of a row of a row group."""
        index = self._index[file, group]
        return row + (int(self._ends[index - 1]) if index else 0)
