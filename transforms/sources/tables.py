"""Rows of tables: CSV and its like, JSON lines and Parquet, each read once from start to end.

What a table is, its content says: its name may be that of a signed URL. In CSV every value is text,
as it stands there; a quote that nothing closes, or a row over the limit, ends the table.
"""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from underpaint.codec import limits
from underpaint.codec.errors import PictureDamaged, UsageError
from underpaint.transforms.sources.addresses import path_of
from underpaint.transforms.sources.kinds import suffix_of
from underpaint.transforms.sources.labels import unnamed_column
from underpaint.transforms.sources.parquet import read_footer, read_rows, read_schema
from underpaint.transforms.sources.streams import Opened, kept, opened, raw_file

_TOO_LONG = f"a row of more than {limits.MAX_TABLE_ROW_BYTES} bytes"


@dataclass(frozen=True)
class TableRow:
    """One row of a table."""

    number: int
    values: dict[str, Any]
    place: int
    """Bytes of the table up to its end."""
    position: str
    """Where it is, for messages: "a.jsonl, line 7", "a.csv, row 7"; both count from 1."""
    notes: tuple[str, ...] = ()
    error: str = ""
    """Why the row has no values; "" for a sound row."""


@dataclass(frozen=True)
class Table:
    """A table of some format."""

    uri: str
    format: str
    """csv, jsonl or parquet."""
    names: tuple[str, ...]
    """Columns, as far as the table states them: JSON lines states none."""
    delimiter: str = ","
    unnamed: tuple[str, ...] = ()
    """Those of the columns that have no name in the header."""

    @staticmethod
    def at(uri: str) -> Table:
        """The table at an address; UsageError where there is none."""
        try:
            return kept(uri, _table)
        except FileNotFoundError:
            raise UsageError(f"no such file: {uri}") from None
        except ConnectionError:  # it names the address
            raise
        except (OSError, EOFError, ValueError, pa.ArrowException, PictureDamaged) as error:
            raise UsageError(f"{uri}: not a table ({error})") from None

    def rows(self) -> Iterator[TableRow]:
        """All rows, in one pass; PictureDamaged or OSError where the rest cannot be read."""
        if self.format == "parquet":
            yield from self._parquet_rows()
            return
        name = _name(self.uri)
        with _lines(self.uri) as (shard_file, lines):
            if self.format == "jsonl":
                for number, (line, values) in enumerate(_json_rows(lines)):
                    position = f"{name}, line {line}"
                    error = "" if values is not None else "not a JSON object"
                    yield TableRow(number, values or {}, shard_file.place(), position, (), error)
                return
            rows = _csv_rows(lines, self.delimiter)
            next(rows, None)
            for number, (fields, notes) in enumerate(rows):
                if len(fields) > len(self.names):
                    notes = (*notes, "values beyond the header of the table not stored")
                values = dict(zip(self.names, fields, strict=False))
                position = f"{name}, row {number + 1}"
                yield TableRow(number, values, shard_file.place(), position, notes)

    def _parquet_rows(self) -> Iterator[TableRow]:
        groups = read_footer(self.uri).groups
        total = sum(group.rows for group in groups)
        size = sum(stop - start for group in groups for start, stop in group.chunks.values())
        for number, values in read_rows(self.uri, 0, total):
            position = f"{_name(self.uri)}, row {number + 1}"
            yield TableRow(number, values, size * (number + 1) // total, position)


def _table(uri: str) -> Table:
    with raw_file(uri) as file:
        parquet = file.read(4) == b"PAR1"
    if parquet:
        return Table(uri, "parquet", tuple(read_schema(uri).names))
    with _lines(uri) as (_, lines):
        head = lines.readline(limits.MAX_TABLE_ROW_BYTES + 1)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it is in UTF-16; save it as UTF-8")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"["):
        raise UsageError(
            f"{uri}: a list in JSON is no table; write one object in each line (.jsonl), without "
            "brackets around them"
        )
    if start.startswith(b"{"):
        return Table(uri, "jsonl", ())
    delimiter = _delimiter(uri, head)
    header: list[str] = next(_csv_rows(io.BytesIO(head), delimiter), ([], ()))[0]
    names = tuple(name or unnamed_column(number) for number, name in enumerate(header, 1))
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two columns are called {twice!r}")
    unnamed = tuple(name for name, stated in zip(names, header, strict=True) if not stated)
    return Table(uri, "csv", names, delimiter, unnamed)


def _name(uri: str) -> str:
    return posixpath.basename(path_of(uri))


@contextmanager
def _lines(uri: str) -> Iterator[tuple[Opened, io.BufferedReader]]:
    with opened(uri) as shard_file:
        yield shard_file, io.BufferedReader(shard_file.file)


def _delimiter(uri: str, head: bytes) -> str:
    if ".tsv" in uri.lower() and suffix_of(uri) != ".csv":
        return "\t"
    return max(",\t;", key=lambda letter: head.count(letter.encode()))


def _csv_rows(
    lines: io.BufferedIOBase, delimiter: str
) -> Iterator[tuple[list[str], tuple[str, ...]]]:
    """Fields and notes of each row (RFC 4180), the header first; empty lines are none."""
    csv.field_size_limit(limits.MAX_TABLE_ROW_BYTES)  # the module's own is 128 KiB
    length = 0
    notes: tuple[str, ...] = ()

    def texts() -> Iterator[str]:
        nonlocal length, notes
        encoding = "utf-8-sig"
        while line := _line(lines):
            length += len(line)
            if length > limits.MAX_TABLE_ROW_BYTES:
                raise PictureDamaged(f"{_TOO_LONG}, or a quote that nothing closes")
            try:
                yield line.decode(encoding)
            except UnicodeDecodeError:
                notes = ("the row of the table is not UTF-8 and was read as Latin-1",)
                yield line.decode("latin-1")
            encoding = "utf-8"

    try:
        for fields in csv.reader(texts(), delimiter=delimiter):
            if fields:
                yield fields, notes
            length, notes = 0, ()
    except csv.Error as error:
        raise PictureDamaged(str(error)) from None


def _json_rows(lines: io.BufferedIOBase) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield number (from 1) and object of each line that is not empty; None if it is no object."""
    number = 0
    while line := _line(lines):
        number += 1
        if line.strip(b"\xef\xbb\xbf \t\r\n"):
            try:
                values = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
            except (ValueError, RecursionError):
                values = None
            yield number, values if isinstance(values, dict) else None


def _line(lines: io.BufferedIOBase) -> bytes:
    """The next line with its end, b"" after the last."""
    line = lines.readline(limits.MAX_TABLE_ROW_BYTES + 1)
    if len(line) > limits.MAX_TABLE_ROW_BYTES:
        raise PictureDamaged(_TOO_LONG)
    return line
