"""Parquet files with a column of picture bytes (binary, or a struct with a field `bytes`).

A span is a run of whole row groups, because a row group can only be unpacked as one. A row group
that is larger than a span is read from start to end by one worker.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
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
from underpaint.codec.errors import ArchiveDamaged, PictureDamaged, UsageError
from underpaint.transforms.records import Record, Shard, Span, clean_key
from underpaint.transforms.sources.base import SPAN_RECORDS, Source, closed_spans, failing
from underpaint.transforms.sources.labels import (
    Declared,
    Labels,
    label_name,
    look_at,
    python_values,
    stored_type,
)
from underpaint.transforms.sources.streams import kept, raw_file

PICTURE_COLUMNS = ("image", "image_bytes", "picture", "bytes", "jpg", "jpeg", "png", "content")
"""Names of the picture column, in order of preference."""

ROWS_AT_ONCE = 64
"""Rows held in memory while a span is read."""

READ_BYTES = 1 << 20
"""Bytes of a column read at a time."""


@dataclass(frozen=True)
class ParquetSource(Source):
    """Parquet shards; spans count rows."""

    kind = "parquet"

    shards: tuple[Shard, ...]
    picture: str
    """Column with the bytes of the picture."""
    key: str | None = None
    """Column that names the record; else its row number in the shard does."""
    columns: Labels = field(default_factory=Labels)

    @staticmethod
    def of(
        shards: tuple[Shard, ...],
        picture: str | None = None,
        key: str | None = None,
        declared: Declared = (),
    ) -> ParquetSource:
        """Return the source of these shards; columns other than picture and key become labels."""
        schema = read_schema(shards[0].uri)
        picture = picture or _picture_column(schema, shards[0].uri)
        for name in (picture, key):
            if name is not None and name not in schema.names:
                have = ", ".join(schema.names)
                raise UsageError(f"{shards[0].uri}: no column {name!r}; there are {have}")
        found = dict(look_at(shards, lambda shard: (shard.uri, read_schema(shard.uri))))
        labels = [label_columns(schema, picture, key) for schema in found.values()]
        return ParquetSource(shards, picture, key, Labels.of(labels, declared, list(found)))

    def listing(self) -> Iterator[Shard]:
        """Yield the shards."""
        yield from self.shards

    def labels(self) -> pa.Schema:
        """Return the other columns, with their types."""
        return self.columns.schema

    def with_labels(self, schema: pa.Schema) -> ParquetSource:
        """See `Source`."""
        return replace(self, columns=self.columns.retyped(schema))

    def settings(self) -> str:
        """Return the names of the picture and key columns."""
        return f"{self.picture} {self.key}"

    def split(self, shard: Shard, span_bytes: int) -> Iterator[Span]:
        """Yield runs of row groups; a large row group is an open-ended span of its own."""
        try:
            groups = read_footer(shard.uri).groups
        except (OSError, PictureDamaged) as error:
            yield Span(0, 0, 0, 0, max(shard.size, 0), broken=f"{type(error).__name__}: {error}")
            return
        start = stop = size = 0
        for group in groups:
            own = _group_bytes(group)
            large = own > span_bytes or group.rows > SPAN_RECORDS
            full = size + own > span_bytes or stop + group.rows - start > SPAN_RECORDS
            if stop > start and (large or full):
                yield Span(start, stop, start, stop - start, size)
                start, size = stop, 0
            stop, size = stop + group.rows, size + own
            if large and group.rows > 1:
                yield Span(start, stop, start, stop - start, size, open_ended=True)
                start, size = stop, 0
        if stop > start:
            yield Span(start, stop, start, stop - start, size)

    def read(self, shard: Shard, span: Span) -> Iterator[Record]:
        """Yield one record for each row; those of a row group that cannot be read fail."""
        schema = kept(shard.uri, _schema)
        names = class_names(schema)
        labels = label_columns(schema, self.picture, self.key)
        types = {item.name: item.type for item in labels}
        for start, stop in _row_ranges(shard.uri, span):
            done = start
            try:
                for row, values in read_rows(shard.uri, start, stop):
                    done = row + 1
                    values |= _class_labels(values, names)
                    yield self._record(shard, row, values, types)
            except ARROW_ERRORS as error:
                for lost in range(done, stop):
                    key = clean_key(f"{shard.prefix}@{lost:08d}")
                    yield Record(key, f"{shard.uri}#{lost}", failing(error))

    def stream(self, shard: Shard, span: Span, span_bytes: int) -> Iterator[tuple[Span, list[Any]]]:
        """Yield the rows of one row group, which is unpacked once."""
        progress = 0

        def records() -> Iterator[Record]:
            nonlocal progress
            for record in self.read(shard, span):
                progress += 1
                yield record

        def place() -> int:
            return span.size * progress // span.records

        yield from closed_spans(records(), place, span_bytes, span.start)

    def _record(
        self, shard: Shard, row: int, values: dict[str, Any], types: dict[str, pa.DataType]
    ) -> Record:
        """Return the record of a row; `types` are those of the labels of the shard."""
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
        if not isinstance(data, bytes):
            error = PictureDamaged(f"no bytes in column {self.picture!r}")
            return Record(key, uri, failing(error))
        fitted = self.columns.fit(values, lambda name, _: types.get(label_name(name)))
        return Record(
            key,
            uri,
            lambda: data,
            len(data),
            fitted.values,
            fitted.notes,
            fitted.left_out,
            fitted.types,
        )


def label_columns(schema: pa.Schema, *others: str | None) -> pa.Schema:
    """Return the label columns of a table whose other columns are `others`.

    A column of Hugging Face class labels gets a second column with the names of the classes.
    """
    fields = [
        (label_name(column.name), stored_type(column.type))
        for column in schema
        if column.name not in others
    ]
    fields += [
        (label_name(f"{name}_name"), pa.string())
        for name in class_names(schema)
        if name not in others
    ]
    return pa.schema(fields)


def class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the class names of each column of class labels, as Hugging Face datasets stores
    them.
    """
    try:
        stated = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = stated["info"]["features"]
        return {
            str(column): [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict)
            and feature.get("_type") == "ClassLabel"
            and isinstance(feature.get("names"), list)
            and column in schema.names
            and f"{column}_name" not in schema.names
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def holds_pictures(schema: pa.Schema) -> bool:
    """Return whether a table has a column that can hold the bytes of pictures."""
    return any(holds_bytes(column.type) for column in schema)


def holds_bytes(kind: pa.DataType) -> bool:
    """Return whether a column of a type can hold the bytes of pictures."""
    if pa.types.is_struct(kind):
        return any(part.name == "bytes" and holds_bytes(part.type) for part in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def read_schema(uri: str) -> pa.Schema:
    """Return the Arrow schema of a Parquet file; UsageError if it is not one."""
    try:
        return kept(uri, _schema)
    except FileNotFoundError:
        raise UsageError(f"no such file: {uri}") from None
    except (*ARROW_ERRORS, PictureDamaged) as error:
        raise UsageError(f"{uri}: not a Parquet file ({first_line(error)})") from None


def read_footer(uri: str) -> Footer:
    """Return the footer of a Parquet file; PictureDamaged if it is none or inconsistent."""
    return kept(uri, _footer)


def read_rows(uri: str, start: int, stop: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows [start, stop) of a Parquet file with their numbers; page checksums are verified.

    Every row group that has some of the rows is unpacked once.
    """
    footer = read_footer(uri)
    with raw_file(uri, buffered=False) as file:
        parquet = pq.ParquetFile(
            file,
            metadata=footer.metadata,
            page_checksum_verification=True,
            pre_buffer=False,
            buffer_size=READ_BYTES,
        )
        first = 0
        for index, group in enumerate(footer.groups):
            if first < stop and first + group.rows > start:
                row = first
                for batch in parquet.iter_batches(ROWS_AT_ONCE, row_groups=[index]):
                    for number, values in enumerate(_python_rows(batch), row):
                        if start <= number < stop:
                            yield number, values
                    row += len(batch)
            first += group.rows


def _python_rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    names = batch.schema.names
    for values in zip(*(python_values(column) for column in batch.columns), strict=True):
        yield dict(zip(names, values, strict=True))


def _class_labels(values: dict[str, Any], names: dict[str, list[str]]) -> dict[str, str]:
    """Return the class name of each class label that has one."""
    found = {}
    for column, classes in names.items():
        value = values.get(column)
        if isinstance(value, int) and 0 <= value < len(classes):
            found[f"{column}_name"] = classes[value]
    return found


def _row_ranges(uri: str, span: Span) -> Iterator[tuple[int, int]]:
    """Yield the first row and the end of each part of a span that lies in one row group."""
    first = 0
    for group in read_footer(uri).groups:
        start, stop = max(first, span.start), min(first + group.rows, span.stop)
        if start < stop:
            yield start, stop
        first += group.rows


def _group_bytes(group: Any) -> int:
    return sum(stop - start for start, stop in group.chunks.values())


def _schema(uri: str) -> pa.Schema:
    with raw_file(uri, buffered=False) as file:
        return pq.ParquetFile(file, metadata=read_footer(uri).metadata).schema_arrow


def _footer(uri: str) -> Footer:
    with raw_file(uri, buffered=False) as file:
        return _read_footer(file)


def _read_footer(file: IO[bytes]) -> Footer:
    """Parse the footer and its row groups without pyarrow, whose accessors may end the process."""
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
        return parse_footer(file.read(length + CLOSING_BYTES))
    except ArchiveDamaged as error:
        raise PictureDamaged(f"Parquet {error}") from None


def _picture_column(schema: pa.Schema, uri: str) -> str:
    binary = [column.name for column in schema if holds_bytes(column.type)]
    for name in PICTURE_COLUMNS:
        if name in binary:
            return name
    if len(binary) == 1:
        return str(binary[0])
    have = ", ".join(schema.names)
    raise UsageError(f"{uri}: say with --picture-column which column holds pictures: {have}")
