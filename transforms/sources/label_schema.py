"""The types of labels that a user states: `--label NAME:TYPE` and `--labels-schema FILE`."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pyarrow as pa

from underpaint.codec.archive.label_columns import names_of, parse_type
from underpaint.codec.archive.parquet.footer import ARROW_ERRORS
from underpaint.codec.errors import PictureTooLarge, UsageError
from underpaint.transforms.sources.base import read_bytes
from underpaint.transforms.sources.labels import Declared
from underpaint.transforms.sources.parquet import holds_bytes, label_columns, read_schema
from underpaint.transforms.sources.streams import raw_file

_PARQUET, _ARROW_FILE = b"PAR1", b"ARROW1"


def stated_labels(options: Iterable[str], schema_file: str | None = None) -> Declared:
    """Return name and type of each label of `--label` options and of a schema file, if any.

    UsageError if an option or the file is invalid, or if they state two types for a label.
    """
    stated = dict(read_label_schema(schema_file)) if schema_file is not None else {}
    origin = dict.fromkeys(stated, f"--labels-schema {schema_file}")
    for text in options:
        name, kind = parse_label(text)
        if name in stated and parse_type(stated[name]) != parse_type(kind):
            raise UsageError(f"--label {text}: {origin[name]} says {stated[name]} for {name!r}")
        stated[name], origin[name] = kind, f"--label {name}:{kind}"
    return tuple(stated.items())


def parse_label(text: str) -> tuple[str, str]:
    """Parse NAME:TYPE as the name and type of a label; UsageError for anything else."""
    name, mark, kind = text.rpartition(":")
    if not mark or not name:
        raise UsageError(f"--label {text}: write NAME:TYPE, as in --label cls:int64")
    try:
        parse_type(kind)
    except UsageError as error:
        raise UsageError(f"--label {text}: {error}") from None
    return name, kind


def read_label_schema(uri: str) -> Declared:
    """Return the labels that a file states.

    The file holds a JSON object of names and types, an Arrow schema, or Arrow or Parquet data, of
    which the columns count that hold no pictures. UsageError for any other file.
    """
    named = f"--labels-schema {uri}"
    try:
        with raw_file(uri) as file:
            start = file.read(len(_ARROW_FILE))
        if start.startswith(_PARQUET):
            labels = names_of(_without_pictures(read_schema(uri)))
        elif start == _ARROW_FILE:
            with raw_file(uri) as file:
                labels = names_of(_without_pictures(pa.ipc.open_file(file).schema))
        else:
            labels = _parsed(read_bytes(uri))
    except FileNotFoundError:
        raise UsageError(f"{named}: no such file") from None
    except (*ARROW_ERRORS, ValueError, RecursionError, PictureTooLarge) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f'{named}: neither JSON like {{"cls": "int64"}} nor an Arrow schema or Parquet file '
            f"({reason})"
        ) from None
    for name, kind in labels:
        try:
            parse_type(kind)
        except UsageError as error:
            raise UsageError(f"{named}: {name!r}: {error}") from None
    return labels


def _parsed(data: bytes) -> Declared:
    if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
        return names_of(_without_pictures(pa.ipc.read_schema(pa.BufferReader(data))))
    value = json.loads(data.removeprefix(b"\xef\xbb\xbf"))
    if not isinstance(value, dict):
        raise ValueError("the JSON is no object")
    for name, kind in value.items():
        if not isinstance(kind, str):
            raise ValueError(f"the type of {name!r} is no text")
    return tuple(value.items())


def _without_pictures(schema: pa.Schema) -> pa.Schema:
    """Return the label columns of a table, those with the names of classes included."""
    return label_columns(schema, *(item.name for item in schema if holds_bytes(item.type)))
