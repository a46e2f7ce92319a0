"""The label columns of an archive: the union of those of its units (rule A21).

    unit 1: cls int64                        archive: cls double, score list<item: double>
    unit 2: cls double, score list<double>   rows of unit 1 read as: cls 3.0, score null

A unit states its label columns in its commit record. A column that a unit lacks is null in its
rows, and a column of several types has the type that `joined_type` returns.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa

from underpaint.codec.errors import UsageError

_WITH_ZONE = re.compile(r"timestamp\[(?P<unit>s|ms|us|ns), tz=(?P<zone>[^\]]+)\]")

Named = tuple[tuple[str, str], ...]
"""Names and Arrow types, as text, of label columns."""


def parse_type(text: str) -> pa.DataType:
    """Return the Arrow type of a name such as `int64`, `string` or `list<float>`; UsageError
    else.
    """
    text = text.strip()
    if text.startswith("list<") and text.endswith(">"):
        item = text[5:-1].removeprefix("item: ").removeprefix("element: ")
        return pa.list_(parse_type(item))
    if found := _WITH_ZONE.fullmatch(text):
        return pa.timestamp(found["unit"], found["zone"])
    try:
        return pa.type_for_alias(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is no type of a label: name int64, float64, bool, string, binary, date32, "
            "timestamp[us], list<int64> or another type of Arrow"
        ) from None


def joined_type(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return the type of a column that has these two types in different units.

    Numbers, and lists of numbers, widen as in `widened`. All other pairs are text.
    """
    return one if one == other else widened(one, other) or pa.string()


def widened(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type of number, or of lists of numbers, that holds both; None for other types.

    An integer and a fraction are double; two integers, or two fractions, are the type to which
    NumPy promotes them.
    """
    if pa.types.is_list(one) and pa.types.is_list(other):
        item = widened(one.value_type, other.value_type)
        return pa.list_(item) if item else None
    fractions = [kind for kind in (one, other) if pa.types.is_floating(kind)]
    integers = [kind for kind in (one, other) if pa.types.is_integer(kind)]
    if len(fractions) + len(integers) < 2:
        return None
    if len(fractions) == 1:
        return pa.float64()
    return pa.from_numpy_dtype(np.promote_types(one.to_pandas_dtype(), other.to_pandas_dtype()))


def joined_schema(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """Return all columns of the schemas, in the order of their first appearance."""
    types: dict[str, pa.DataType] = {}
    for schema in schemas:
        for item in schema:
            types[item.name] = joined_type(types.get(item.name, item.type), item.type)
    return pa.schema(list(types.items()))


def names_of(schema: pa.Schema) -> Named:
    """Return the names and types of a schema as text, as commit records state them."""
    return tuple((item.name, str(item.type)) for item in schema)


def joined_names(units: Iterable[Named]) -> Named:
    """Return what `joined_schema` does, for types as text."""
    found: dict[str, dict[str, None]] = {}
    for labels in dict.fromkeys(units):
        for name, kind in labels:
            found.setdefault(name, {})[kind] = None
    return tuple((name, _joined_text(list(kinds))) for name, kinds in found.items())


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns of `schema`: missing ones null, others cast to its types.

    The types must be those of the table, or come from `joined_type`.
    """
    columns = []
    for item in schema:
        if item.name not in table.column_names:
            columns.append(pa.chunked_array([pa.nulls(table.num_rows, item.type)]))
        else:
            columns.append(_converted(table.column(item.name), item.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _joined_text(kinds: Sequence[str]) -> str:
    if len(kinds) == 1:
        return kinds[0]
    try:
        return str(reduce(joined_type, map(parse_type, kinds)))
    except UsageError:  # a type that no name stands for joins to nothing but text
        return str(pa.string())


def _converted(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if column.type == kind:
        return column
    try:
        return column.cast(kind, safe=pa.types.is_string(kind))  # int64 to double may round
    except pa.ArrowException:
        if not pa.types.is_string(kind):
            raise
        texts = [None if value is None else _as_text(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, kind)])


def _as_text(value: Any) -> str:
    """Return a value as JSON; text as it is, and bytes that are not UTF-8 in base64."""
    if isinstance(value, str | bytes):
        return _plain(value)
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> str:
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()
