"""Conditions on rows as text: `width > 640 and cls in (3, 5)` as a pyarrow expression.

Text is parsed as Python, and a fixed set of nodes is translated. Nothing is evaluated. A column
whose name is no Python name is written `field('my label')`.
"""

from __future__ import annotations

import ast
import keyword
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from underpaint.codec.archive.rows import printable
from underpaint.codec.errors import UsageError

LONGEST = 4096
"""Most characters of a condition."""

MOST_NAMED = 30
"""Most columns that a message lists."""

_MISTAKES = (
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
    MemoryError,
    pa.ArrowException,
)
"""Errors of conditions that have no meaning, or are too deep."""

Where: TypeAlias = pc.Expression | str
"""A condition as callers state it: a pyarrow expression over small columns, or its text."""


@dataclass(frozen=True)
class Condition:
    """A condition on rows."""

    expression: pc.Expression
    columns: tuple[str, ...]
    """The small columns that it names, at least one."""

    @staticmethod
    def of(where: Where, schema: pa.Schema) -> Condition:
        """Return a condition on the columns of `schema`, which are small ones.

        Raises UsageError for a text that cannot be parsed (see `parse_condition`), and for an
        expression that names other columns or has no meaning for their types.
        """
        if isinstance(where, str):
            where = parse_condition(where, schema)
        if not isinstance(where, pc.Expression):
            raise UsageError(
                f"where: want a text such as 'width > 640' or a pyarrow expression, not {where!r}"
            )
        return Condition(where, tuple(named_columns(where, schema) or schema.names[:1]))

    def rows(self, table: pa.Table) -> np.ndarray:
        """Return the rows of a table with these columns for which it holds, int64, in order."""
        number = "#" * (1 + max(map(len, table.column_names)))  # no column has this name
        numbered = table.append_column(number, pa.array(np.arange(table.num_rows)))
        matching: np.ndarray = numbered.filter(self.expression).column(number).to_numpy()
        return matching


class _Refused(Exception):
    """A condition says what conditions do not allow; the message says what to write."""


_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], pc.Expression]] = {
    ast.Eq: lambda one, other: one == other,
    ast.NotEq: lambda one, other: one != other,
    ast.Lt: lambda one, other: one < other,
    ast.LtE: lambda one, other: one <= other,
    ast.Gt: lambda one, other: one > other,
    ast.GtE: lambda one, other: one >= other,
}


def parse_condition(text: str, columns: pa.Schema) -> pc.Expression:
    """Return the expression that a text describes.

    Allowed are names of columns, numbers, texts in quotes, True, False, comparisons (also chained,
    with `in` and `not in` a list, and with `is None` and `is not None`), `and`, `or` and `not`.
    `field('…')` is the column of any name, as in pyarrow.

    Args:
        text: the condition.
        columns: Arrow schema of the columns that the condition may name.

    Raises UsageError that says what is wrong.
    """
    try:
        if len(text) > LONGEST:
            raise UsageError(f"a condition has at most {LONGEST} characters")
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, *_MISTAKES):
        example = f"write: width > 640{_unusual(columns.names)}"
        raise UsageError(f"condition {text!r}: not an expression; {example}") from None
    try:
        return _translated(node, columns)
    except _Refused as error:
        raise UsageError(f"condition {text!r}: {error}") from None
    except RecursionError:
        raise UsageError("a condition has parts that are nested too deeply") from None


def _translated(node: ast.expr, columns: pa.Schema) -> pc.Expression:
    """Return a condition as an expression that has a meaning for the columns; _Refused."""
    try:
        expression = _boolean(node, columns.names)
        _evaluate(expression, columns)
    except RecursionError:
        raise
    except _MISTAKES:
        reason = _type_mistake(node, columns) or "it has no meaning for these columns"
        raise _Refused(reason) from None
    return expression


def _evaluate(expression: pc.Expression, fields: pa.Schema) -> None:
    """Evaluate an expression over no rows: it has a meaning unless this raises."""
    from pyarrow import dataset  # which imports pandas

    dataset.dataset(fields.empty_table()).to_table(filter=expression)


def named_columns(expression: pc.Expression, schema: pa.Schema) -> list[str]:
    """Return the columns of a schema that an expression names, in order; UsageError for others.

    A column is named if the expression has no meaning without it: pyarrow does not tell.
    """

    def fails(fields: pa.Schema) -> str:
        try:
            _evaluate(expression, fields)
        except _MISTAKES as error:
            return (str(error).splitlines() or [type(error).__name__])[0]
        return ""

    if reason := fails(schema):
        raise UsageError(f"where: {reason}")
    without = (schema.remove(at) for at in range(len(schema)))
    return [name for name, rest in zip(schema.names, without, strict=True) if fails(rest)]


def _boolean(node: ast.expr, names: list[str]) -> pc.Expression:
    if isinstance(node, ast.BoolOp):
        terms = [_boolean(value, names) for value in node.values]
        whole = terms[0]
        for term in terms[1:]:
            whole = whole & term if isinstance(node.op, ast.And) else whole | term
        return whole
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ~_boolean(node.operand, names)
    if isinstance(node, ast.Compare):
        operands = [node.left, *node.comparators]
        pairs = zip(operands, node.ops, operands[1:], strict=False)
        terms = [_comparison(one, operator, other, names) for one, operator, other in pairs]
        whole = terms[0]
        for term in terms[1:]:
            whole = whole & term
        return whole
    if (name := _named(node)) is not None:
        return _field(name, names)
    raise _refused(node, names)


def _comparison(
    one: ast.expr, operator: ast.cmpop, other: ast.expr, names: list[str]
) -> pc.Expression:
    if isinstance(operator, (ast.Is, ast.IsNot)):
        if not isinstance(other, ast.Constant) or other.value is not None:
            raise _Refused("`is` compares with None only; use ==")
        null = _value(one, names).is_null()
        return null if isinstance(operator, ast.Is) else ~null
    if isinstance(operator, (ast.In, ast.NotIn)):
        if not isinstance(other, (ast.List, ast.Tuple, ast.Set)):
            raise _Refused("`in` needs a list, for example: cls in (3, 5)")
        if not other.elts:
            raise _Refused("`in` needs a list with values, for example: cls in (3, 5)")
        found = _value(one, names).isin([_literal(item, names) for item in other.elts])
        return found if isinstance(operator, ast.In) else ~found
    return _COMPARISONS[type(operator)](_value(one, names), _value(other, names))


def _type_mistake(node: ast.expr, columns: pa.Schema) -> str:
    """Return what is wrong with the first part of a condition that has no meaning for the types of
    columns; "" if each part has one.
    """
    if isinstance(node, ast.BoolOp):
        return next(filter(None, (_type_mistake(value, columns) for value in node.values)), "")
    if isinstance(node, ast.UnaryOp):
        return _type_mistake(node.operand, columns)
    if (name := _named(node)) is not None:
        kind, written = columns.field(name).type, written_column(name)
        example = f"compare it, for example: {written} is not None"
        return "" if pa.types.is_boolean(kind) else f"{written} ({kind}) is not a bool; {example}"
    assert isinstance(node, ast.Compare)
    operands = [node.left, *node.comparators]
    for one, operator, other in zip(operands, node.ops, operands[1:], strict=False):
        try:
            _evaluate(_comparison(one, operator, other, columns.names), columns)
        except _MISTAKES:
            listed = isinstance(operator, (ast.In, ast.NotIn))
            verb = "look for" if listed else "compare"
            link = "in" if listed else "with"
            sides = _described(one, columns), _described(other, columns)
            return f"cannot {verb} {sides[0]} {link} {sides[1]}"
    return ""


def _described(node: ast.expr, columns: pa.Schema) -> str:
    """Return an operand as a condition has it, with its type."""
    if (name := _named(node)) is not None:
        return f"{written_column(name)} ({columns.field(name).type})"
    text = ast.unparse(node)
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        kinds = dict.fromkeys(_kind(_literal(item, columns.names)) for item in node.elts)
        return f"{text} ({' and '.join(kinds)})"
    return f"{text} ({_kind(_literal(node, columns.names))})"


def _kind(value: object) -> str:
    """Return the type of a literal in a condition, as Arrow names it."""
    if type(value) is int and not -(1 << 63) <= value < 1 << 63:
        return "an integer of more than 64 bits"
    if isinstance(value, str) and not value.isascii() and value != printable(value):
        return "no valid Unicode"
    return {"str": "string", "int": "integer"}.get(type(value).__name__, type(value).__name__)


def _value(node: ast.expr, names: list[str]) -> pc.Expression:
    name = _named(node)
    return pc.scalar(_literal(node, names)) if name is None else _field(name, names)


def _literal(node: ast.expr, names: list[str]) -> object:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _literal(node.operand, names)
        if isinstance(number, (int, float)):
            return -number
    if isinstance(node, ast.Constant) and type(node.value) in (bool, int, float, str):
        return node.value
    raise _refused(node, names)


def _named(node: ast.expr) -> str | None:
    """Return the name of a column that is written as a name or as `field('name')`, else None."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Call(func=ast.Name(id="field"), args=[ast.Constant(value=str(name))], keywords=[]):
            return name
    return None


def written_column(name: str) -> str:
    """Return how a condition names a column."""
    plain = name.isidentifier() and not keyword.iskeyword(name)
    plain = plain and unicodedata.normalize("NFKC", name) == name  # as Python reads names
    return name if plain else f"field({name!r})"


def _unusual(names: Sequence[str]) -> str:
    """Return how to write the columns whose names are no Python names, as the end of a message."""
    unusual = [name for name in names if written_column(name) != name]
    return f"; for other columns write {_listed(unusual)}" if unusual else ""


def _listed(names: Sequence[str]) -> str:
    """Return columns as a condition names them, the first MOST_NAMED of them."""
    rest = len(names) - MOST_NAMED
    more = [f"{rest} more"] if rest > 0 else []
    return ", ".join([*map(written_column, names[:MOST_NAMED]), *more])


def _field(name: str, names: list[str]) -> pc.Expression:
    if name not in names:
        raise _Refused(
            f"no column {name!r}; there are {_listed(names)}; texts are written in quotes"
        )
    return pc.field(name)


def _refused(node: ast.expr, names: list[str]) -> _Refused:
    if isinstance(node, ast.Constant) and node.value is None:
        return _Refused("compare with None by `is None` or `is not None`")
    return _Refused(
        f"{ast.unparse(node)!r} is not allowed; use names of columns, numbers, texts in quotes, "
        f"comparisons, in, and, or, not{_unusual(names)}"
    )
