"""A Parquet footer, read here and not by pyarrow: that aborts the process on a footer that lies.

pyarrow's reader turns whatever is wrong into an error, but its accessors of row groups and columns
end the process instead (`parquet::ParquetException` through code that allows none). So places and
statistics come from the Thrift bytes themselves, and pyarrow is only asked to read.
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
"""What pyarrow raises where a file contradicts itself; damage to text is a ValueError."""

CLOSING_BYTES = 8
"""What follows the Thrift bytes of a footer: their length and the magic."""

_ROW_GROUPS, _COLUMNS, _GROUP_ROWS, _CHUNK, _INDEX, _INDEX_BYTES = 4, 1, 3, 3, 4, 5
_TYPE, _PATH, _CODEC, _PACKED, _DATA_PAGE, _DICTIONARY_PAGE, _STATISTICS, _MOST, _LEAST = (
    1, 3, 4, 7, 9, 11, 12, 5, 6,
)  # fmt: skip


@dataclass(frozen=True)
class Group:
    """One row group as the footer gives it."""

    rows: int
    chunks: Mapping[str, Range]
    """Where each column's chunk lies in the file: path of the Parquet leaf -> range."""
    kinds: Mapping[str, tuple[int, int]]
    """Physical type and compression of each column, as Parquet numbers them."""
    indices: Mapping[str, Range]
    """Where the offset index of each column lies, of those that have one."""
    keys: tuple[bytes, bytes] | None
    """Least and greatest key in UTF-8; None where the footer does not say."""


@dataclass(frozen=True)
class Footer:
    """A footer whose row groups have been read once, from end to end."""

    metadata: pq.FileMetaData
    """For `pq.ParquetFile` alone: its accessors of row groups may abort the process."""
    schema: pa.Schema
    groups: tuple[Group, ...]


def parse_footer(tail: bytes) -> Footer:
    """Read a footer with the 8 bytes that close the file; ArchiveDamaged where it lies."""
    try:
        fields, _ = read_struct(tail[:-CLOSING_BYTES], 0)
        groups = tuple(_group(group) for group in fields[_ROW_GROUPS])
        metadata = pq.read_metadata(pa.BufferReader(tail))
        schema = metadata.schema.to_arrow_schema().remove_metadata()
    except (*ARROW_ERRORS, KeyError, TypeError, AttributeError) as error:
        raise ArchiveDamaged(f"footer: {first_line(error)}") from None
    return Footer(metadata, schema, groups)


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its class."""
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
