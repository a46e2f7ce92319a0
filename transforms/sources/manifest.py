"""A table of addresses: CSV, JSON lines or Parquet, one picture a row, other columns as labels.

Paths in it are relative to the folder of the table; anything fsspec opens may stand there. Spans of
CSV and JSON lines are byte ranges of whole records, spans of Parquet are row ranges.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from underpaint.codec import limits
from underpaint.codec.archive.parquet.footer import first_line
from underpaint.codec.errors import PictureDamaged, RowInvalid, UsageError
from underpaint.transforms.records import Item, Record, Shard, Span, clean_key
from underpaint.transforms.sources.base import (
    Source,
    conform,
    failing,
    label_name,
    open_file,
    read_bytes,
)
from underpaint.transforms.sources.columns import check_labels, look_at, merged
from underpaint.transforms.sources.parquet import label_columns, read_footer, read_rows, read_schema

URL_COLUMNS = ("url", "uri", "image_url", "path", "file_name", "filename", "file", "image")
"""Names under which the column of addresses is looked for, in this order."""

ROWS_PER_SPAN = 256
"""Most rows in one unit of work: what a picture behind an address weighs is not known …"""

LEAST_ROWS_PER_SPAN = 16
SPANS_WANTED = 64
"""… and rows in one where the table is short, so that there is work for several workers."""

PEEKED_ROWS = 256
"""Rows at the start of a table that decide the types of its label columns."""


@dataclass(frozen=True)
class ManifestSource(Source):
    """Tables of addresses."""

    shards: tuple[Shard, ...]
    url: str
    """Column with the address."""
    key: str | None = None
    """Column that names the record; else the address does."""
    columns: pa.Schema = field(default_factory=lambda: pa.schema([]))

    @staticmethod
    def of(
        shards: tuple[Shard, ...], url: str | None = None, key: str | None = None
    ) -> ManifestSource:
        """The source of these tables; columns besides address and key become labels."""
        schema = _schema(shards[0].uri)
        url = url or next((name for name in URL_COLUMNS if name in schema.names), None)
        if url is None or url not in schema.names or (key and key not in schema.names):
            have = ", ".join(schema.names)
            raise UsageError(
                f"{shards[0].uri}: say with --url-column and --key-column which to use: {have}"
            )
        labels = [
            label_columns(schema, url, key)
            for schema in look_at(shards, lambda shard: _schema(shard.uri))
        ]
        return ManifestSource(shards, url, key, merged(labels))

    def listing(self) -> Iterator[Item | Shard]:
        """The tables."""
        yield from self.shards

    def labels(self) -> pa.Schema:
        """The other columns, with the types that their first rows show."""
        return self.columns

    def settings(self) -> str:
        """The columns that make address and key."""
        return f"{self.url} {self.key}"

    def split(self, shard: Shard, span_bytes: int) -> Iterator[Span]:
        """Runs of rows, as many in one as the length of the table suggests."""
        if shard.uri.endswith(".parquet"):
            rows = sum(group.rows for group in read_footer(shard.uri).groups)
            size, step = max(shard.size, 0), _rows_per_span(rows)
            for start in range(0, rows, step):
                stop = min(start + step, rows)
                yield Span(start, stop, start, stop - start, size * (stop - start) // rows)
            return
        rows = 0
        with suppress(PictureDamaged):
            for _ in self._ends(shard):
                rows += 1
        step = _rows_per_span(rows)
        start = first = count = position = 0
        broken = ""
        try:
            for begin, position in self._ends(shard):
                if not count:
                    start = begin
                count += 1
                if count == step:
                    yield Span(start, position, first, count, position - start)
                    first, count = first + count, 0
        except PictureDamaged as error:
            broken = f"{type(error).__name__}: {error}"
        if count:
            yield Span(start, position, first, count, position - start)
        if broken:
            yield Span(position, position, first + count, 1, 0, broken=broken)

    def _ends(self, shard: Shard) -> Iterator[tuple[int, int]]:
        """Where each row of a CSV or JSON lines file begins and ends; empty lines are none.

        PictureDamaged where a row is over the limit.
        """
        with open_file(shard.uri) as file:
            position = len(_csv_record(file)) if _is_csv(shard.uri) else 0
            while record := (_csv_record(file) if _is_csv(shard.uri) else _line(file)):
                begin, position = position, position + len(record)
                if record.strip():
                    yield begin, position

    def read(self, shard: Shard, span: Span) -> Iterator[Record]:
        """One record a row."""
        for row, values in self._rows(shard, span):
            yield self._record(shard, row, values)

    def _rows(self, shard: Shard, span: Span) -> Iterator[tuple[int, dict[str, Any]]]:
        if shard.uri.endswith(".parquet"):
            yield from read_rows(shard.uri, span.start, span.stop)
            return
        with open_file(shard.uri) as file:
            header = _csv_record(file) if _is_csv(shard.uri) else b""
            file.seek(span.start)
            text = (header + file.read(span.stop - span.start)).decode("utf-8-sig", "replace")
        if _is_csv(shard.uri):
            yield from enumerate(csv.DictReader(io.StringIO(text, newline="")), span.first)
        else:
            lines = (line for line in text.split("\n") if line.strip())
            for row, line in enumerate(lines, span.first):
                try:
                    values = json.loads(line)
                except ValueError:
                    values = None
                yield row, values if isinstance(values, dict) else {}

    def _record(self, shard: Shard, row: int, values: dict[str, Any]) -> Record:
        url = values.pop(self.url, None)
        if not isinstance(url, str) or not url:
            key = clean_key(f"{shard.prefix}/{row:08d}")
            error = PictureDamaged(f"no address in column {self.url!r} of row {row}")
            return Record(key, f"{shard.uri}#{row}", failing(error))
        named = values.pop(self.key, None) if self.key else None
        key = clean_key(str(named) if named is not None else _path_of(url))
        uri = url if "://" in url or url.startswith("/") else f"{_folder(shard.uri)}{url}"
        try:
            labels = self._labels(values)
        except ValueError as error:
            return Record(key, uri, failing(PictureDamaged(f"label: {error}")))
        except RowInvalid as error:
            return Record(key, uri, failing(error))
        return Record(key, uri, lambda: read_bytes(uri), labels=labels)

    def _labels(self, values: dict[str, Any]) -> dict[str, Any]:
        named = {
            label_name(name) if isinstance(name, str) else "beyond the header": value
            for name, value in values.items()
        }
        check_labels((name for name, v in named.items() if v not in (None, "")), self.columns)
        labels = {}
        for name in named.keys() & set(self.columns.names):
            value, kind = named[name], self.columns.field(name).type
            labels[name] = _parsed(value, kind) if isinstance(value, str) else conform(value, kind)
        return labels


def _rows_per_span(rows: int) -> int:
    return min(ROWS_PER_SPAN, max(LEAST_ROWS_PER_SPAN, rows // SPANS_WANTED))


def _schema(uri: str) -> pa.Schema:
    if uri.endswith(".parquet"):
        return read_schema(uri)
    try:
        with open_file(uri) as file:
            if _is_csv(uri):
                head = b"".join(islice(iter(lambda: _csv_record(file), b""), PEEKED_ROWS + 1))
                return pa_csv.read_csv(io.BytesIO(head), parse_options=_CSV).schema
            peeked = islice(iter(lambda: _line(file), b""), PEEKED_ROWS)
            lines = [json.loads(line) for line in peeked if line.strip()]
            return pa.Table.from_pylist(lines).schema
    except FileNotFoundError:
        raise UsageError(f"no such file: {uri}") from None
    except (OSError, ValueError, pa.ArrowException, AttributeError, PictureDamaged) as error:
        raise UsageError(f"{uri}: not a table ({first_line(error)})") from None


_CSV = pa_csv.ParseOptions(newlines_in_values=True)


def _is_csv(uri: str) -> bool:
    return uri.endswith((".csv", ".csv.gz"))


def _csv_record(file: IO[bytes]) -> bytes:
    """The next record with its line end: a newline between quotes does not end it (RFC 4180)."""
    lines = [_line(file)]
    length, quotes = len(lines[0]), lines[0].count(b'"')
    while lines[-1] and quotes % 2:
        lines.append(_line(file))
        length += len(lines[-1])
        quotes += lines[-1].count(b'"')
        if length > limits.MAX_TABLE_ROW_BYTES:
            raise PictureDamaged(f"{_TOO_LONG}, or a quote that nothing closes")
    return b"".join(lines)


def _line(file: IO[bytes]) -> bytes:
    """The next line with its end, b"" after the last."""
    line = file.readline(limits.MAX_TABLE_ROW_BYTES + 1)
    if len(line) > limits.MAX_TABLE_ROW_BYTES:
        raise PictureDamaged(_TOO_LONG)
    return line


_TOO_LONG = f"a row of more than {limits.MAX_TABLE_ROW_BYTES} bytes"


def _parsed(text: str, kind: pa.DataType) -> Any:
    """A CSV field as its column's type; an empty one is null where the column is not text."""
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return text
    if not text:
        return None
    try:
        return pa.scalar(text).cast(kind).as_py()
    except pa.ArrowException as error:
        raise ValueError(f"{text!r} is no {kind}") from error


def _path_of(url: str) -> str:
    """What names a picture by its address: the path, without scheme, host and query."""
    path = url.split("://", 1)[-1].split("?", 1)[0].split("#", 1)[0]
    if "://" in url and "/" in path:
        path = path.split("/", 1)[1]
    return "/".join(part for part in path.split("/") if part not in ("", ".", "..")) or path


def _folder(uri: str) -> str:
    return uri[: uri.rfind("/") + 1]
