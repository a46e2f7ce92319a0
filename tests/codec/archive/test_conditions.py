"""Conditions as text: equal to Python's meaning, and one line for each mistake."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from underpaint.codec.archive.conditions import Condition, parse_condition, written_column
from underpaint.codec.errors import UsageError

TABLE = pa.table(
    {
        "key": ["a", "b", "it's", "d"],
        "width": pa.array([100, 640, 641, 2000], pa.int32()),
        "cls": [3, 3, 5, -1],
        "good": [True, False, True, False],
    },
)
SCHEMA = TABLE.schema


@pytest.mark.parametrize(
    "text",
    [
        "width > 640 and cls == 3", "width >= 640 or cls != 3", "cls in (3, -1)",
        "not (width < 641)",
        "cls not in [3]", "100 < width <= 641", "key == \"it's\"", "good", "not good and cls == -1",
        "good == True", "3 == cls", "key in {'a', 'd'}", "width == cls",
        "width > 640.5",
    ],
)  # fmt: skip
def test_conditions_mean_what_they_mean_in_python(text: str) -> None:
    expression = parse_condition(text.strip(), SCHEMA)
    expected = [row for row in TABLE.to_pylist() if eval(" ".join(text.split()), {}, row)]
    assert TABLE.filter(expression).to_pylist() == expected


UNUSUAL = [
    "my label", "x-y", "in", "and", "null", "None", "a.b", "it's", 'a "b"', "it's \"b\"",
    "back\\slash", "tab\t", "ﬁ", "__row", "#", "#####", "field", "1st", "`x`", "größe", "layer_0.y",
]  # fmt: skip


@pytest.mark.parametrize("name", UNUSUAL)
def test_every_column_can_be_named(name: str) -> None:
    table = pa.table({"key": ["a", "b", "c"], name: [3, None, 4]})
    for written in (f"field({name!r})", f"field({json.dumps(name)})", written_column(name)):
        for text, rows in (
            (f"{written} == 4", [2]),
            (f"not {written} in (4, 5)", [0, 1]),
            (f"key != 'c' and {written} is None", [1]),
        ):
            condition = Condition.of(text, table.schema)
            assert name in condition.columns
            assert condition.rows(table.select(condition.columns)).tolist() == rows


def test_only_unusual_names_are_quoted() -> None:
    usual = [name for name in UNUSUAL if written_column(name) == name]
    assert usual == ["null", "__row", "field", "größe"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("my label == 3", "not an expression; write: width > 640; for other columns write "),
        ("in == 3", "not an expression; write: width > 640; for other columns write "),
        ("x-y == 3", "'x - y' is not allowed; .*; for other columns write "),
        ("yours == 3", r"no column 'yours'; there are key, "),
    ],
)
def test_a_mistake_names_columns_that_are_written_otherwise(text: str, reason: str) -> None:
    schema = pa.schema([(name, pa.int64()) for name in ("key", "my label", "in", "it's")])
    listed = (
        r"""field\('my label'\), field\('in'\), field\("it's"\)(; texts are written in quotes)?$"""
    )
    with pytest.raises(UsageError, match=reason + listed):
        parse_condition(text, schema)
    wide = pa.schema([(f"{name} {at}", pa.int64()) for at in range(50) for name in "ab"])
    with pytest.raises(
        UsageError, match=r"field\('b 14'\), 70 more(; texts are written in quotes)?$"
    ):
        parse_condition(text, wide)


def test_nulls_are_found() -> None:
    table = TABLE.set_column(2, "cls", pa.array([1, None, 2, None]))
    for text, keys in (("cls is None", ["b", "d"]), ("cls is not None", ["a", "it's"])):
        found = table.filter(parse_condition(text, SCHEMA)).column("key").to_pylist()
        assert found == keys


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not an expression"),
        ("width >", "not an expression"),
        ("width = 3", "not an expression"),
        ("width > 'a'", r"cannot compare width \(int32\) with 'a' \(string\)"),
        ("good or 3 < width < 'b'", r"cannot compare width \(int32\) with 'b' \(string\)"),
        ("cls in ('a', 3)", r"cannot look for cls \(int64\) in \('a', 3\) \(string and integer\)"),
        ("key not in (1, 2)", r"cannot look for key \(string\) in \(1, 2\) \(integer\)"),
        ("cls in ()", "needs a list with values"),
        ("cls not in []", "needs a list with values"),
        ("cls == None", "compare with None by `is None`"),
        (r"key == '\ud800'", "no valid Unicode"),
        ("not key", r"key \(string\) is not a bool; compare it, for example: key is not None"),
        ("size > 3", "no column 'size'; there are key, width, cls, good"),
        ("__import__('os').getcwd()", "is not allowed"),
        ("width + 1 > 3", "'width \\+ 1' is not allowed"),
        ("key.upper() == 'A'", "is not allowed"),
        ("[x for x in (1,)]", "is not allowed"),
        ("lambda: 1", "is not allowed"),
        ("cls in 3", "needs a list"),
        ("cls is 3", "compares with None only"),
        ("field(3) == 3", r"'field\(3\)' is not allowed"),
        ("field('cls', 3) == 3", "is not allowed"),
        ("field('size') == 3", "no column 'size'; there are key, width, cls, good"),
        ("field(name='cls') == 3", "is not allowed"),
        ("field('cls') == 'x'", r"cannot compare cls \(int64\) with 'x' \(string\)"),
        ("field('cls')", r"cls \(int64\) is not a bool; compare it, for example: cls is not None"),
        ("width", r"width \(int32\) is not a bool"),
        ("cls == b'x'", "is not allowed"),
        ("(" * 3000 + "good" + ")" * 900, "not an expression"),
        ("cls == " + "9" * 30, r"999 \(an integer of more than 64 bits\)"),
        ("cls == 1\0", "not an expression"),
        ("good or " * 900 + "good", "at most 4096"),
        ("not " * 1000 + "good", "nested too deeply"),
        ("not " * 1000 + "width", "nested too deeply"),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_line(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        parse_condition(text, SCHEMA)
    assert "\n" not in str(caught.value)
