"""Label columns: which there are, their types, and values made to fit them.

The columns of a source are those that its shards show before they are read through. A type is
stated: by `--label NAME:TYPE`, by the schema of a Parquet file, or by the rules of a format. Where
JSON lines and TFRecord files state none, it is the union of what their records hold. A label that
is found later brings its type along (`Fitted.types`): it becomes a new column of the work unit that
holds it. A value that does not fit a column of numbers whose type the user does not state widens
the column of its work unit: integer, fraction, text. Any other value that does not fit is stored as
null, with a note, and is counted (`Fitted.left_out`); the picture is never lost for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import reduce
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from underpaint.codec.archive.label_columns import joined_type, parse_type, widened
from underpaint.codec.archive.schema import is_reserved
from underpaint.codec.errors import UsageError
from underpaint.transforms.records import Shard

PEEKED_SHARDS = 16
"""Most shards, besides the first, that are examined for labels."""

PEEKED_WHOLE = 2 << 20
"""All of a shard of up to this many bytes may be read to find its labels."""

PEEKED_SHARE = 16
PEEKED_BYTES = 64 << 10
"""Of a larger shard, at most a 16th is read to find its labels, or this many bytes."""

Declared = tuple[tuple[str, str], ...]
"""Name and Arrow type of labels whose types are stated."""

_RENAMED, _UNNAMED = "label_", "unnamed_"

T = TypeVar("T")


@dataclass(frozen=True)
class Fitted:
    """The labels of one record, converted to the types of their columns."""

    values: dict[str, Any]
    notes: tuple[str, ...]
    """A note for each label that is not stored."""
    types: dict[str, pa.DataType]
    """Types of labels that have no column, or one of a narrower type."""
    left_out: tuple[str, ...] = ()
    """The `cause` of each label that is not stored."""


@dataclass(frozen=True)
class Labels:
    """The label columns of a source, and the conversion of values to their types."""

    schema: pa.Schema = field(default_factory=lambda: pa.schema([]))
    stated: frozenset[str] = frozenset()
    """Names of columns whose types the user states: they never widen."""

    @staticmethod
    def of(
        schemas: Iterable[pa.Schema],
        declared: Declared = (),
        inputs: Sequence[str] = (),
        *,
        to_text: bool = False,
    ) -> Labels:
        """Combine all columns of all schemas; numbers widen; declared types take precedence.

        UsageError if two schemas clash in a type that is not declared; see `merged`.
        """
        types = {label_name(name): parse_type(kind) for name, kind in declared}
        found = [[item for item in schema if item.name not in types] for schema in schemas]
        schemas = [*map(pa.schema, found), pa.schema(list(types.items()))]
        schema = merged(schemas, inputs, to_text=to_text)
        return Labels(schema, frozenset(types))

    def extended(self, schema: pa.Schema) -> Labels:
        """Return these columns with those of one more shard; see `column_type` for their types."""
        types = {item.name: item.type for item in self.schema}
        for item in schema:
            types[item.name] = self.column_type(item.name, item.type)
        return Labels(pa.schema(list(types.items())), self.stated)

    def retyped(self, schema: pa.Schema) -> Labels:
        """Return these columns with the types that `schema` has for them."""
        types = [(name, schema.field(name).type) for name in self.schema.names]
        return Labels(pa.schema(types), self.stated)

    def column_type(self, name: str, kind: pa.DataType) -> pa.DataType:
        """Return the type of a column once it is to hold values of `kind` too.

        Columns of numbers, and of lists of numbers, widen: to wider numbers, else to text. All
        other columns, and those whose types the user states, keep their types.
        """
        index = self.schema.get_field_index(name)
        if index < 0:
            return kind
        standing = self.schema.field(index).type
        widens = name not in self.stated and widened(standing, standing) is not None
        return joined_type(standing, kind) if widens else standing

    def fit(
        self,
        values: Mapping[str, Any],
        type_of: Callable[[str, Any], pa.DataType | None] = lambda name, value: None,
    ) -> Fitted:
        """Return the values converted to the types of their columns.

        `type_of` returns the type that the source gives a label, by its name and value, or None;
        it is asked for labels without a column, and for values that do not fit.
        """
        fitted: dict[str, Any] = {}
        notes: list[str] = []
        types: dict[str, pa.DataType] = {}
        left_out: list[str] = []
        for original, value in values.items():
            name = label_name(original)
            if value is None:
                continue
            index = self.schema.get_field_index(name)
            kind = self.schema.field(index).type if index >= 0 else type_of(original, value)
            if kind is None:
                notes.append(f"label {name!r} not stored: there is no such column")
                left_out.append(cause(name, "no such column"))
                continue
            if index < 0:
                types[name] = kind
            with suppress(*MISFITS):
                fitted[name] = fit(value, kind)
                continue
            own = type_of(original, value)
            wider = self.column_type(name, own) if own else kind
            with suppress(*MISFITS):
                fitted[name] = fit(value, wider)
                types[name] = wider
                continue
            notes.append(misfit(name, kind))
            left_out.append(misfit_cause(name, kind))
        return Fitted(fitted, tuple(notes), types, tuple(left_out))


MISFITS = (pa.ArrowException, TypeError, ValueError, OverflowError)
"""Errors of `fit`."""


def misfit(name: str, kind: pa.DataType) -> str:
    """Return the note about a label whose value does not fit its column."""
    return f"label {name!r} not stored: the value is no {kind}"


def misfit_cause(name: str, kind: pa.DataType) -> str:
    """Return the `cause` of a label whose value does not fit its column."""
    if pa.types.is_string(kind):
        return cause(name, "not text in UTF-8")
    return cause(name, f"not {kind}; --label {name}:string keeps them")


def cause(name: str, reason: str) -> str:
    """Return the text under which the values of a label that are not stored are counted.

    The reason must be the same for all of them: it names no value and no picture.
    """
    return f"{name}: {reason}"


def fit(value: Any, kind: pa.DataType) -> Any:
    """A value as an Arrow type takes it; ValueError, TypeError or ArrowException where it does not.

    Text is parsed where the type is not text, and bytes of UTF-8 are decoded. In a column of text,
    a value that is none is stored as JSON.
    """
    if isinstance(value, NoValue):
        raise ValueError("no value")
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        if not isinstance(value, list | tuple | np.ndarray):
            value = [value]
        return [None if each is None else fit(each, kind.value_type) for each in value]
    if value is None:
        return None
    if _is_text(kind):
        return _as_text(value)
    if isinstance(value, bytes) and not _is_bytes(kind):
        value = value.decode()
    if isinstance(value, str) and _is_bytes(kind):
        return value.encode()
    if isinstance(value, str):
        text = value.strip()
        return plain(pa.scalar(text).cast(kind)) if text else None
    if isinstance(value, bool) and not pa.types.is_boolean(kind):
        value = int(value)
    if isinstance(value, int) and pa.types.is_floating(kind):
        value = float(value)
    if isinstance(value, float) and pa.types.is_integer(kind) and value != int(value):
        raise ValueError("a fraction")  # which Arrow would cut off
    return plain(pa.scalar(value, type=kind))


def plain(scalar: pa.Scalar) -> Any:
    """Return the Python value of a scalar; nanoseconds, which datetime cannot hold, as numpy's."""
    kind = scalar.type
    if (pa.types.is_timestamp(kind) or pa.types.is_duration(kind)) and kind.unit == "ns":
        return (
            pa.array([scalar], kind).to_numpy(zero_copy_only=False)[0] if scalar.is_valid else None
        )
    return scalar.as_py()


class NoValue:
    """Stands for a value of a column that Python has none for, such as a date in the year 12000."""


def python_values(column: pa.Array) -> list[Any]:
    """Return the Python values of an array; nanoseconds as numpy values."""
    kind = column.type
    if (pa.types.is_timestamp(kind) or pa.types.is_duration(kind)) and kind.unit == "ns":
        values = column.to_numpy(zero_copy_only=False)
        return [None if np.isnat(value) else value for value in values]
    try:
        return column.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError, UnicodeDecodeError):
        return [_python_value(scalar) for scalar in column]


def look_at(shards: Sequence[Shard], look: Callable[[Shard], T]) -> list[T]:
    """Return the results of `look` for shards that are spread evenly, the first shard first.

    Errors of the first shard are raised. A UsageError of another shard is left to reading it.
    """
    first, *others = _spread(shards)

    def try_to_look(shard: Shard) -> list[T]:
        try:
            return [look(shard)]
        except UsageError:
            return []

    found = [look(first)]
    with ThreadPoolExecutor(8) as pool:
        for each in pool.map(try_to_look, others):
            found += each
    return found


def merged(
    schemas: Iterable[pa.Schema], inputs: Sequence[str] = (), *, to_text: bool = False
) -> pa.Schema:
    """Combine all columns of all schemas; numbers widen; UsageError if types clash.

    Args:
        schemas: the columns of each input.
        inputs: the name of each input, for the message of the error.
        to_text: whether numbers and text together are text.
    """
    found: dict[str, tuple[pa.DataType, str]] = {}
    for index, schema in enumerate(schemas):
        name = inputs[index] if index < len(inputs) else ""
        twice = next((each for each in schema.names if schema.names.count(each) > 1), None)
        if twice is not None:
            raise UsageError(f"{name}: two columns are called {twice!r}")
        for item in schema:
            kind, first = found.get(item.name, (item.type, name))
            together = _together(kind, item.type, to_text)
            if together is None:
                raise UsageError(
                    f"labels of the inputs do not fit together: {item.name!r} is {kind} in "
                    f"{first}, and {item.type} in {name}; state one type, as with "
                    f"--label {item.name}:string"
                )
            found[item.name] = (together, first)
    return pa.schema([(name, kind) for name, (kind, _) in found.items()])


def _together(one: pa.DataType, other: pa.DataType, to_text: bool) -> pa.DataType | None:
    """Return the type of a column that has both types; None if they clash."""
    numbers = [kind for kind in (one, other) if widened(kind, kind) is not None]
    if to_text and len(numbers) == 1 and any(map(_is_text, (one, other))):
        return pa.string()
    try:
        schemas = [pa.schema([("", kind)]) for kind in (one, other)]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None


def union(kinds: Iterable[pa.DataType]) -> pa.DataType:
    """Return one type for all of these: the wider number, else text, which holds them as JSON."""
    return reduce(lambda one, other: _together(one, other, False) or pa.string(), kinds)


def inferred(values: Iterable[Any]) -> pa.DataType:
    """Return the type of values that were parsed from JSON."""
    present = [value for value in values if value is not None]
    kinds = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    types = {type(value) for value in present}
    if any(type(value) is int and not -(1 << 63) <= value < 1 << 63 for value in present):
        return pa.string()  # no number of 64 bits, and a float would be another number
    if types == {int, float}:
        return pa.float64()
    if len(types) == 1 and (single := types.pop()) in kinds:
        return kinds[single]
    try:
        return pa.array(present).type
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.string()


def stored_type(kind: pa.DataType) -> pa.DataType:
    """The type under which a column of this type is stored: plain values, not how they are held."""
    if pa.types.is_dictionary(kind):
        return stored_type(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return stored_type(kind.storage_type)
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_float16(kind):
        return pa.float32()
    return kind


def label_name(name: str) -> str:
    """Return the name of a label column: `label_…` if the archive itself has a column of that
    name.
    """
    return f"{_RENAMED}{name}" if is_reserved(name) else name


def unnamed_column(number: int) -> str:
    """Return the name of a table's column whose header is empty; `number` counts from 1."""
    return f"{_UNNAMED}{number}"


def renamed_text(
    names: Iterable[str], tables: Mapping[str, str] = MappingProxyType({})
) -> Iterator[str]:
    """Yield a line for each of these label columns whose name is not that of its input.

    `tables` are the columns without a name that are known, with the address of a table of each.
    """
    for name in names:
        taken, number = name.removeprefix(_RENAMED), name.removeprefix(_UNNAMED)
        if name != taken and is_reserved(taken):
            reason = f"archives have a column {taken!r}" if taken else "a label needs a name"
            yield f"label {taken!r} is stored as {name!r}: {reason}"
        elif name != number and number.isdecimal():
            table = tables.get(name, "a table")
            yield f"column {number} of {table} has no name: its label is {name!r}"


def until_damage(values: Iterable[T]) -> Iterator[T]:
    """Yield the values up to the first unreadable one; only for examining a shard."""
    with suppress(Exception):  # a shard format raises any error; reading the shard reports it
        yield from values


def peek_budget(size: int) -> int:
    """Return how many bytes of a shard may be read to find its labels."""
    if 0 <= size <= PEEKED_WHOLE:
        return PEEKED_WHOLE
    return max(PEEKED_BYTES, size // PEEKED_SHARE)


def _python_value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (pa.ArrowException, ValueError, OverflowError, UnicodeDecodeError):
        return NoValue()


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        value.encode()  # UnicodeEncodeError for lone surrogates, which no archive can hold
        return value
    if isinstance(value, bytes):
        return value.decode()
    return json.dumps(value, ensure_ascii=False, default=_text_of)


def _text_of(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _spread(shards: Sequence[Shard]) -> list[Shard]:
    last = len(shards) - 1
    steps = min(PEEKED_SHARDS, last)
    return [shards[step * last // max(1, steps)] for step in range(steps + 1)]
