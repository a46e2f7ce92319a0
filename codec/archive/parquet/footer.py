"""Parses a Parquet footer, because pyarrow aborts the process on a footer with false values.

pyarrow's reader turns all faults into errors, but its accessors of row groups and columns end the
process (`parquet::ParquetException` passes through code that allows no exception). So positions and
statistics come from the Thrift bytes themselves, and pyarrow only reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from underpaint.codec import limits
from underpaint.codec.archive.parquet.pages import read_struct
from underpaint.codec.errors import ArchiveDamaged

Range = tuple[int, int]

ARROW_ERRORS = (pa.ArrowException, OSError, ValueError, OverflowError, IndexError)
"""Exceptions that pyarrow raises for inconsistent files; damaged text is a ValueError."""

CLOSING_BYTES = 8
"""Bytes after the Thrift part of a footer: its length and the magic."""

_ROW_GROUPS, _COLUMNS, _GROUP_ROWS, _CHUNK, _INDEX, _INDEX_BYTES = 4, 1, 3, 3, 4, 5
_TYPE, _PATH, _CODEC, _PACKED, _DATA_PAGE, _DICTIONARY_PAGE, _STATISTICS, _MOST, _LEAST = (
    1, 3, 4, 7, 9, 11, 12, 5, 6,
)  # fmt: skip


@dataclass(frozen=True)
class Group:
    """One row group as the footer describes it."""

    rows: int
    chunks: Mapping[str, Range]
    """Position of each column's chunk in the file: path of the Parquet leaf -> range."""
    kinds: Mapping[str, tuple[int, int]]
    """Physical type and compression of each column, in Parquet's numbers."""
    indices: Mapping[str, Range]
    """Position of each column's offset index, for columns that have one."""
    keys: tuple[bytes, bytes] | None
    """Least and greatest key in UTF-8; None if the footer does not record them."""


@dataclass(frozen=True)
class Footer:
    """A parsed footer."""

    metadata: pq.FileMetaData
    """For `pq.ParquetFile` only: its accessors of row groups may abort the process."""
    schema: pa.Schema
    groups: tuple[Group, ...]


def parse_footer(tail: bytes) -> Footer:
    """Parse a footer with the 8 bytes that close the file; ArchiveDamaged if it is inconsistent."""
    try:
        fields, _ = read_struct(tail[:-CLOSING_BYTES], 0)
        groups = tuple(_group(group) for group in fields[_ROW_GROUPS])
        metadata = pq.read_metadata(pa.BufferReader(tail))
        schema = metadata.schema.to_arrow_schema().remove_metadata()
    except (*ARROW_ERRORS, KeyError, TypeError, AttributeError) as error:
        raise ArchiveDamaged(f"footer: {first_line(error)}") from None
    return Footer(metadata, schema, groups)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _group(fields: Mapping[int, Any]) -> Group:
    chunks, kinds, indices, keys = {}, {}, {}, None
    for column in fields[_COLUMNS]:
        chunk = column[_CHUNK]
        path = ".".join(part.decode() for part in chunk[_PATH])
        start = _place(chunk[_DATA_PAGE])
        if dictionary := chunk.get(_DICTIONARY_PAGE):
            start = min(start, _place(dictionary))
        chunks[path] = (start, start + _place(chunk[_PACKED]))
        kinds[path] = (int(chunk[_TYPE]), int(chunk[_CODEC]))
        if _INDEX in column and _INDEX_BYTES in column:
            first = _place(column[_INDEX])
            indices[path] = (first, first + _place(column[_INDEX_BYTES]))
        if path == "key":
            known = chunk.get(_STATISTICS, {})
            if isinstance(known.get(_LEAST), bytes) and isinstance(known.get(_MOST), bytes):
                keys = known[_LEAST], known[_MOST]
    rows = _place(fields[_GROUP_ROWS])
    if rows > limits.MAX_GROUP_ROWS:
        raise ValueError(f"a row group of {rows} rows, over the limit of {limits.MAX_GROUP_ROWS}")
    return Group(rows, chunks, kinds, indices, keys)


def _place(value: Any) -> int:
    if type(value) is not int or not 0 <= value < limits.MAX_ARCHIVE_FILE_BYTES:
        raise ValueError(f"{value!r} is no place in a file")
    return value
