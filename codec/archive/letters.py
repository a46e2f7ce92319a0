"""Reads dead letters."""

from __future__ import annotations

from collections.abc import Iterator

from underpaint.codec.archive.parquet.ranges import RangeReader
from underpaint.codec.archive.records import FileEntry
from underpaint.codec.archive.rows import DeadLetter
from underpaint.codec.archive.schema import DEAD_LETTER_SCHEMA


def read_letters(reader: RangeReader, entry: FileEntry, group: int) -> Iterator[DeadLetter]:
    """Yield the dead letters of one row group; ArchiveDamaged before the first one."""
    table = reader.read(entry, group, DEAD_LETTER_SCHEMA.names)
    for values in zip(*(column.to_pylist() for column in table.columns), strict=True):
        yield DeadLetter(*values)
