"""Parquet files with a column of picture bytes (binary, or a struct with a field `bytes`)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from underpaint.codec import limits
from underpaint.codec.archive.parquet.footer import (
    ARROW_ERRORS,
    CLOSING_BYTES,
    Footer,
    first_line,
    parse_footer,
)
from underpaint.codec.errors import ArchiveDamaged, PictureDamaged, RowInvalid, UsageError
from underpaint.transforms.records import Item, Record, Shard, Span, clean_key
from underpaint.transforms.sources.base import SPAN_RECORDS, Source, failing, label_name, open_file
from underpaint.transforms.sources.columns import check_labels, look_at, merged

PICTURE_COLUMNS = ("image", "image_bytes", "picture", "bytes", "jpg", "jpeg", "png", "content")
"""Names under which the picture column is looked for, in this order."""

ROWS_AT_ONCE = 64
"""Rows that are held in memory while a span is read."""


@dataclass(frozen=True)
class ParquetSource(Source):
    """Parquet shards; spans count rows, and a row group is read once a span."""

    shards: tuple[Shard, ...]
    picture: str
    """Column with the bytes of the picture."""
    key: str | None = None
    """Column that names the record; else its row number in the shard does."""
    columns: pa.Schema = field(default_factory=lambda: pa.schema([]))

    @staticmethod
    def of(
        shards: tuple[Shard, ...], picture: str | None = None, key: str | None = None
    ) -> ParquetSource:
        """The source of these shards; columns besides picture and key become labels."""
        schema = read_schema(shards[0].uri)
        picture = picture or _picture_column(schema, shards[0].uri)
        for name in (picture, key):
            if name is not None and name not in schema.names:
                have = ", ".join(schema.names)
                raise UsageError(f"{shards[0].uri}: no column {name!r}; there are {have}")
        labels = [
            label_columns(schema, picture, key)
            for schema in look_at(shards, lambda shard: read_schema(shard.uri))
        ]
        return ParquetSource(shards, picture, key, merged(labels))

    def listing(self) -> Iterator[Item | Shard]:
        """The shards."""
        yield from self.shards

    def labels(self) -> pa.Schema:
        """The other columns, with their types."""
        return self.columns

    def settings(self) -> str:
        """The columns that make picture and key."""
        return f"{self.picture} {self.key}"

    def split(self, shard: Shard, span_bytes: int) -> Iterator[Span]:
        """Row ranges by the mean size of a row in each row group, which they do not cross."""
        try:
            groups = read_footer(shard.uri).groups
        except (OSError, PictureDamaged) as error:
            yield Span(0, 0, 0, 1, max(shard.size, 0), broken=f"{type(error).__name__}: {error}")
            return
        first = 0
        for group in groups:
            size = sum(stop - start for start, stop in group.chunks.values())
            per_row = max(1, size // max(1, group.rows))
            step = min(SPAN_RECORDS, max(1, span_bytes // per_row))
            for start in range(first, first + group.rows, step):
                stop = min(start + step, first + group.rows)
                yield Span(start, stop, start, stop - start, per_row * (stop - start))
            first += group.rows

    def read(self, shard: Shard, span: Span) -> Iterator[Record]:
        """One record a row."""
        for row, values in read_rows(shard.uri, span.start, span.stop):
            yield self._record(shard, row, values)

    def _record(self, shard: Shard, row: int, values: dict[str, Any]) -> Record:
        uri = f"{shard.uri}#{row}"
        data: Any = values.pop(self.picture, None)
        path = None
        if isinstance(data, dict):
            data, path = data.get("bytes"), data.get("path")
        key = f"{shard.prefix}/{row:08d}"
        if self.key is not None:
            named = values.pop(self.key, None)
            key = key if named is None else str(named)
        elif path:
            key = f"{key}-{path.rsplit('/', 1)[-1]}"
        key = clean_key(key)
        labels = {label_name(name): v for name, v in values.items() if v is not None}
        try:
            check_labels(labels, self.columns)
            if not isinstance(data, bytes):
                raise PictureDamaged(f"no bytes in column {self.picture!r}")
        except (PictureDamaged, RowInvalid) as error:
            return Record(key, uri, failing(error))
        return Record(key, uri, lambda: data, len(data), labels)


def label_columns(schema: pa.Schema, *others: str | None) -> pa.Schema:
    """The label columns of a table that has these other ones."""
    return pa.schema(
        [(label_name(column.name), column.type) for column in schema if column.name not in others]
    )


def read_schema(uri: str) -> pa.Schema:
    """Arrow schema of a Parquet file; UsageError where it is none."""
    try:
        with open_file(uri) as file:
            return pq.ParquetFile(file, metadata=_footer(file).metadata).schema_arrow
    except FileNotFoundError:
        raise UsageError(f"no such file: {uri}") from None
    except (*ARROW_ERRORS, PictureDamaged) as error:
        raise UsageError(f"{uri}: not a Parquet file ({first_line(error)})") from None


def read_footer(uri: str) -> Footer:
    """The footer of a Parquet file; PictureDamaged where it is none, or lies."""
    with open_file(uri) as file:
        return _footer(file)


def read_rows(uri: str, start: int, stop: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows [start, stop) of a Parquet file with their numbers; page checksums are verified."""
    with open_file(uri) as file:
        footer = _footer(file)
        parquet = pq.ParquetFile(
            file, metadata=footer.metadata, page_checksum_verification=True, pre_buffer=False
        )
        first = 0
        for index, group in enumerate(footer.groups):
            if first < stop and first + group.rows > start:
                row = first
                for batch in parquet.iter_batches(ROWS_AT_ONCE, row_groups=[index]):
                    if row < stop and row + len(batch) > start:
                        for number, values in enumerate(batch.to_pylist(), row):
                            if start <= number < stop:
                                yield number, values
                    row += len(batch)
            first += group.rows


def _footer(file: IO[bytes]) -> Footer:
    """The footer, its row groups read without pyarrow, whose accessors may end the process."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - CLOSING_BYTES))
    closing = file.read(CLOSING_BYTES)
    length = int.from_bytes(closing[:4], "little")
    if closing[4:] != b"PAR1" or length > size - CLOSING_BYTES:
        raise PictureDamaged("not a Parquet file, or one that is cut")
    if length > limits.MAX_SOURCE_FOOTER_BYTES:
        raise PictureDamaged(f"a footer of more than {limits.MAX_SOURCE_FOOTER_BYTES} bytes")
    file.seek(size - CLOSING_BYTES - length)
    try:
        return _parsed(file.read(length + CLOSING_BYTES))
    except ArchiveDamaged as error:
        raise PictureDamaged(f"Parquet {error}") from None


_parsed = lru_cache(maxsize=4)(parse_footer)
"""Kept from one span of a shard to the next: footers of many row groups take a second or so."""


def _picture_column(schema: pa.Schema, uri: str) -> str:
    binary = [column.name for column in schema if _holds_bytes(column.type)]
    for name in PICTURE_COLUMNS:
        if name in binary:
            return name
    if len(binary) == 1:
        return str(binary[0])
    have = ", ".join(schema.names)
    raise UsageError(f"{uri}: say with --picture-column which column holds pictures: {have}")


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(part.name == "bytes" and _holds_bytes(part.type) for part in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
