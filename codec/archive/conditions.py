"""Conditions on rows as text: `width > 640 and cls in (3, 5)` as a pyarrow expression.

Text is parsed as Python, and a fixed set of nodes is translated. Nothing is evaluated.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Container
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from underpaint.codec.errors import UsageError

LONGEST = 4096
"""Most characters of a condition."""

_MISTAKES = (
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
    MemoryError,
    pa.ArrowException,
)
"""Errors of conditions that have no meaning, or are too deep."""

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], pc.Expression]] = {
    ast.Eq: lambda one, other: one == other,
    ast.NotEq: lambda one, other: one != other,
    ast.Lt: lambda one, other: one < other,
    ast.LtE: lambda one, other: one <= other,
    ast.Gt: lambda one, other: one > other,
    ast.GtE: lambda one, other: one >= other,
}


def parse_condition(text: str, schema: pa.Schema, names: Container[str]) -> pc.Expression:
    """Return the expression that a text describes.

    Allowed are names of columns, numbers, texts in quotes, True, False, comparisons (also chained,
    with `in` and `not in` a list, and with `is None` and `is not None`), `and`, `or` and `not`.

    Args:
        text: the condition.
        schema: Arrow schema of the rows.
        names: columns of it that the condition may name.

    Raises UsageError that says what is wrong.
    """
    known = [name for name in schema.names if name in names]
    try:
        if len(text) > LONGEST:
            raise UsageError(f"a condition has at most {LONGEST} characters")
        expression = _boolean(ast.parse(text.strip(), mode="eval").body, known)
        columns = pa.schema([schema.field(name) for name in known])
        _evaluate(expression, columns)
    except SyntaxError:
        raise UsageError(f"condition {text!r}: not an expression; write: width > 640") from None
    except _MISTAKES as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"condition {text!r}: {reason}") from None
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
    if isinstance(node, ast.Name):
        return _field(node.id, names)
    raise _refused(node)


def _comparison(
    one: ast.expr, operator: ast.cmpop, other: ast.expr, names: list[str]
) -> pc.Expression:
    if isinstance(operator, (ast.Is, ast.IsNot)):
        if not isinstance(other, ast.Constant) or other.value is not None:
            raise ValueError("`is` compares with None only; use ==")
        null = _value(one, names).is_null()
        return null if isinstance(operator, ast.Is) else ~null
    if isinstance(operator, (ast.In, ast.NotIn)):
        if not isinstance(other, (ast.List, ast.Tuple, ast.Set)):
            raise ValueError("`in` needs a list, for example: cls in (3, 5)")
        found = _value(one, names).isin([_literal(item) for item in other.elts])
        return found if isinstance(operator, ast.In) else ~found
    return _COMPARISONS[type(operator)](_value(one, names), _value(other, names))


def _value(node: ast.expr, names: list[str]) -> pc.Expression:
    return _field(node.id, names) if isinstance(node, ast.Name) else pc.scalar(_literal(node))


def _literal(node: ast.expr) -> object:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _literal(node.operand)
        if isinstance(number, (int, float)):
            return -number
    if isinstance(node, ast.Constant) and type(node.value) in (bool, int, float, str):
        return node.value
    raise _refused(node)


def _field(name: str, names: list[str]) -> pc.Expression:
    if name not in names:
        raise ValueError(f"no column {name!r}; there are {', '.join(names)}")
    return pc.field(name)


def _refused(node: ast.expr) -> ValueError:
    return ValueError(
        f"{ast.unparse(node)!r} is not allowed; use names of columns, numbers, texts in quotes, "
        "comparisons, in, and, or, not"
    )
