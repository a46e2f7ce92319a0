"""A table of addresses: CSV, JSON lines or Parquet, one picture a row, other columns as labels.

Paths in it are relative to the folder of the table; anything fsspec opens may stand there. A table
is read once: its spans carry their rows along.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pyarrow as pa

from underpaint.codec.errors import PictureDamaged, UsageError
from underpaint.codec.storage.web import DEFAULT_LIMITS, TimeLimits
from underpaint.transforms.records import (
    EMPTY_SHARD,
    UNKNOWN,
    Part,
    Record,
    Shard,
    Skipped,
    Span,
    clean_key,
    short_hash,
)
from underpaint.transforms.sources.addresses import address_key, folder_of, resolved
from underpaint.transforms.sources.base import Source, failing, read_bytes
from underpaint.transforms.sources.labels import (
    Declared,
    Labels,
    inferred,
    label_name,
    look_at,
    python_values,
    union,
)
from underpaint.transforms.sources.parquet import label_columns, read_schema
from underpaint.transforms.sources.spool import Spool
from underpaint.transforms.sources.tables import Table, TableRow

URL_COLUMNS = ("url", "uri", "image_url", "path", "file_name", "filename", "file", "image")
"""Names of the address column, in order of preference."""

ROWS_PER_SPAN = 256
"""Most rows in one unit of work: what a picture behind an address weighs is not known …"""

LEAST_ROWS_PER_SPAN = 16
"""… and rows in one at the start of a table, so that a short one is work for several workers."""

INFERRED_ROWS = 1024
"""Rows whose values are looked at together for the type of a column."""

_BROKEN = -1
"""Number of the last row of a spool whose table breaks off."""

_URI, _KEY, _TROUBLE, _NOTES, _LEFT_OUT = "uri", "key", "trouble", "notes", "left out"
_LABEL = "label "
"""Begin of the names of the label columns of a span."""

_ROW = [(_URI, pa.string()), (_KEY, pa.string()), (_TROUBLE, pa.string())]
_ROW += [(_NOTES, pa.list_(pa.string())), (_LEFT_OUT, pa.list_(pa.string()))]


@dataclass(frozen=True)
class ManifestSource(Source):
    """Tables of addresses."""

    kind = "manifest"

    shards: tuple[Shard, ...]
    url: str
    """Column with the address."""
    key: str | None = None
    """Column that names the record; else the address does."""
    columns: Labels = field(default_factory=Labels)
    limits_of_time: TimeLimits = DEFAULT_LIMITS
    unnamed: tuple[tuple[str, str], ...] = ()
    """Columns without a name in their header, and the address of the first table with each."""
    spools: tuple[Spool | None, ...] = field(default=(), compare=False, repr=False)
    """Rows of the tables of JSON lines: what types they have, only reading all of them tells."""

    @staticmethod
    def of(
        shards: tuple[Shard, ...],
        url: str | None = None,
        key: str | None = None,
        declared: Declared = (),
        limits_of_time: TimeLimits = DEFAULT_LIMITS,
    ) -> ManifestSource:
        """Return the source of these tables; columns other than address and key become labels."""
        tables = look_at(shards, lambda shard: Table.at(shard.uri))
        spools: list[Spool | None] = []
        names, types = dict.fromkeys(tables[0].names), []
        for shard in shards:
            spool = Spool() if _is_json(shard) else None
            spools.append(spool)
            if spool is not None:
                kinds = _spooled_types(shard, spool)
                names |= dict.fromkeys(kinds)
                types.append(kinds)
        if not names:
            raise UsageError(f"{shards[0].uri}: the table is empty: nothing names its columns")
        url = url or next((name for name in URL_COLUMNS if name in names), None)
        if url is None or url not in names or (key and key not in names):
            have = ", ".join(names)
            raise UsageError(
                f"{shards[0].uri}: say with --url-column and --key-column which to use: {have}"
            )
        schemas = [_stated_labels(table, url, key) for table in tables]
        schemas.append(_inferred_labels(types, url, key))
        inputs = [table.uri for table in tables] + ["the JSON lines"]
        columns = Labels.of(schemas, declared, inputs, to_text=True)
        unnamed = {name: table.uri for table in reversed(tables) for name in table.unnamed}
        return ManifestSource(
            shards, url, key, columns, limits_of_time, tuple(unnamed.items()), tuple(spools)
        )

    def listing(self) -> Iterator[Shard | Part | Skipped]:
        """The tables; those of JSON lines, which are read by now, in spans."""
        for shard, spool in zip(self.shards, self.spools, strict=True):
            if spool is None:
                yield shard
            else:
                rows = _spooled_rows(spool)
                none = True
                for span in self._spans(shard, rows, self.columns):
                    none = False
                    yield Part(shard, span)
                if none:
                    yield Skipped(shard.uri, EMPTY_SHARD)

    def labels(self) -> pa.Schema:
        """Return the other columns: text in CSV, typed by the schema in Parquet."""
        return self.columns.schema

    def with_labels(self, schema: pa.Schema) -> ManifestSource:
        """See `Source`."""
        return replace(self, columns=self.columns.retyped(schema))

    def settings(self) -> str:
        """Return the names of the address and key columns."""
        return f"{self.url} {self.key}"

    def split(self, shard: Shard, span_bytes: int) -> Iterator[Span]:
        """Runs of rows, longer ones later in the table; each carries its rows."""
        try:
            table = Table.at(shard.uri)
            columns = self.columns.extended(_stated_labels(table, self.url, self.key))
            rows = table.rows()
        except UsageError as error:
            yield Span(0, 0, 0, 0, max(shard.size, 0), broken=f"PictureDamaged: {error}")
            return
        yield from self._spans(shard, rows, columns)

    def read(self, shard: Shard, span: Span) -> Iterator[Record]:
        """Yield one record for each row."""
        table = _unpacked(span.rows)
        late = _late_types(table, self.labels())
        for uri, key, trouble, notes, left_out, labels in _rows_of(table):
            if trouble:
                yield Record(key, uri, failing(PictureDamaged(trouble)))
            else:
                fetch = partial(read_bytes, uri, self.limits_of_time)
                types = {name: kind for name, kind in late.items() if name in labels}
                yield Record(key, uri, fetch, UNKNOWN, labels, notes, left_out, types)

    def _spans(self, shard: Shard, rows: Iterator[TableRow], columns: Labels) -> Iterator[Span]:
        """Yield the spans of a table whose label columns are `columns`."""
        labels = [(_LABEL + item.name, item.type) for item in columns.schema]
        schema = pa.schema([*_ROW, *labels])
        names = _Names()
        held: list[dict[str, Any]] = []
        first = start = place = 0
        broken = ""
        while True:
            try:
                row = next(rows, None)
            except (PictureDamaged, OSError, EOFError, pa.ArrowException) as error:
                row, broken = None, f"{type(error).__name__}: {error}"
            if row is not None:
                held.append(self._row(shard, row, names, columns))
                place = row.place
            if held and (row is None or len(held) >= _rows_per_span(first)):
                size = max(0, place - start)
                packed = _packed(held, schema)
                yield Span(start, place, first, len(held), size, rows=packed)
                first, start, held = first + len(held), place, []
            if row is None:
                break
        if broken:
            yield Span(place, place, first, 0, 0, broken=broken)

    def _row(self, shard: Shard, row: TableRow, names: _Names, columns: Labels) -> dict[str, Any]:
        """Return the part of a row that a span carries."""
        values = dict(row.values)
        url = values.pop(self.url, None)
        if not isinstance(url, str) or not url.strip():
            return {
                _URI: f"{shard.uri}#{row.number}",
                _KEY: clean_key(f"{shard.prefix}/{row.number:08d}"),
                _TROUBLE: f"{row.position}: {row.error or f'no address in column {self.url!r}'}",
            }
        folder = folder_of(shard.uri)
        uri = resolved(url.strip(), folder)
        named = values.pop(self.key, None) if self.key else None
        if named is not None:
            key = str(named)
        else:
            key = address_key(uri[len(folder) :] if uri.startswith(folder) else uri)
        fitted = columns.fit(values)
        return {
            _URI: uri,
            _KEY: names.distinct(clean_key(key), uri),
            _NOTES: [*row.notes, *fitted.notes],
            _LEFT_OUT: fitted.left_out,
            **{_LABEL + name: value for name, value in fitted.values.items()},
        }


class _Names:
    """Tells rows of one picture apart: the second gets `#2` behind its key, as captions have it."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._again: dict[int, int] = {}

    def distinct(self, key: str, uri: str) -> str:
        identity = int(short_hash(f"{key}\n{uri}", 16), 16)
        if identity not in self._seen:
            self._seen.add(identity)
            return key
        count = self._again[identity] = self._again.get(identity, 1) + 1
        return clean_key(f"{key}#{count}")


def _rows_per_span(first: int) -> int:
    return min(ROWS_PER_SPAN, max(LEAST_ROWS_PER_SPAN, first // 32))


def _is_json(shard: Shard) -> bool:
    try:
        return Table.at(shard.uri).format == "jsonl"
    except UsageError:
        return False  # splitting it reports the reason


def _spooled_types(shard: Shard, spool: Spool) -> dict[str, pa.DataType]:
    """Read a table of JSON lines into a spool; return the type of each column over all rows."""
    kinds: dict[str, pa.DataType] = {}
    block: list[dict[str, Any]] = []

    def look() -> None:
        for name in dict.fromkeys(name for values in block for name in values):
            values = [each[name] for each in block if each.get(name) is not None]
            if values or name not in kinds:
                kind = inferred(values) if values else pa.null()
                kinds[name] = union([kinds[name], kind]) if name in kinds else kind
        block.clear()

    try:
        for row in Table.at(shard.uri).rows():
            spool.append([row.number, row.values, row.place, row.position, row.error])
            block.append(row.values)
            if len(block) == INFERRED_ROWS:
                look()
    except (PictureDamaged, OSError, EOFError) as error:
        spool.append([_BROKEN, {}, str(error), "", ""])
    look()
    return {name: pa.string() if pa.types.is_null(kind) else kind for name, kind in kinds.items()}


def _spooled_rows(spool: Spool) -> Iterator[TableRow]:
    for number, values, place, position, error in spool:
        if number == _BROKEN:
            raise PictureDamaged(place)
        yield TableRow(number, values, place, position, error=error)


def _stated_labels(table: Table, *others: str | None) -> pa.Schema:
    if table.format == "parquet":
        return label_columns(read_schema(table.uri), *others)
    return pa.schema(
        [(label_name(name), pa.string()) for name in table.names if name not in others]
    )


def _inferred_labels(found: list[dict[str, pa.DataType]], *others: str | None) -> pa.Schema:
    names = dict.fromkeys(name for kinds in found for name in kinds if name not in others)
    return pa.schema(
        [
            (label_name(name), union(kinds[name] for kinds in found if name in kinds))
            for name in names
        ]
    )


def _packed(rows: list[dict[str, Any]], schema: pa.Schema) -> str:
    """Return rows as text that travels with a span: a compressed Arrow stream in base64."""
    table = pa.Table.from_pylist(rows, schema)
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        writer.write_table(table)
    return base64.b64encode(sink.getvalue()).decode()


def _unpacked(text: str) -> pa.Table:
    return pa.ipc.open_stream(base64.b64decode(text)).read_all().combine_chunks()


def _late_types(table: pa.Table, known: pa.Schema) -> dict[str, pa.DataType]:
    """Return the types of the labels of a span that are not those of the source's columns."""
    labels = {item.name: item.type for item in table.schema if item.name.startswith(_LABEL)}
    found = {name.removeprefix(_LABEL): kind for name, kind in labels.items()}
    return {
        name: kind
        for name, kind in found.items()
        if name not in known.names or known.field(name).type != kind
    }


def _rows_of(
    table: pa.Table,
) -> Iterator[tuple[str, str, str, tuple[str, ...], tuple[str, ...], dict[str, Any]]]:
    """Yield address, key, error, notes, causes of lost labels, and labels of each row of a span."""
    columns = {
        name: python_values(table.column(name).combine_chunks()) for name in table.column_names
    }
    labels = [name for name in table.column_names if name.startswith(_LABEL)]
    for index in range(table.num_rows):
        yield (
            columns[_URI][index],
            columns[_KEY][index],
            columns[_TROUBLE][index] or "",
            tuple(columns[_NOTES][index] or ()),
            tuple(columns[_LEFT_OUT][index] or ()),
            {
                name.removeprefix(_LABEL): columns[name][index]
                for name in labels
                if columns[name][index] is not None
            },
        )
