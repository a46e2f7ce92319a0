"""Checks of arguments: names, whole numbers, choices."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from underpaint.codec.arguments import (
    as_count,
    as_integer,
    as_location,
    as_names,
    as_picture_number,
    as_proportions,
    as_size,
    check_choice,
    check_flags,
    check_function,
    whole_number,
)
from underpaint.codec.errors import UsageError

NO_INTEGERS = [2.5, "x", "3", True, False, np.bool_(True), np.float32(2), [1], b"1"]


@pytest.mark.parametrize("value", NO_INTEGERS)
def test_what_is_no_integer_is_refused_everywhere(value: Any) -> None:
    for check in (as_count, as_size, as_integer):
        with pytest.raises(UsageError, match=r"^threads: want a whole number, not "):
            check("threads", value)
    with pytest.raises(TypeError, match=r"^want the number of a picture, not "):
        as_picture_number(value)


@pytest.mark.parametrize("value", [0, -3, np.int64(0), -(10**30)])
def test_counts_below_one_are_refused(value: Any) -> None:
    for check in (as_count, as_size):
        with pytest.raises(UsageError, match=f"^limit: {value}; want 1 or more$"):
            check("limit", value)


@pytest.mark.parametrize("value", [1, np.uint8(7), np.int64(3), sys.maxsize])
def test_counts_come_as_integers(value: Any) -> None:
    found = as_count("limit", value)
    assert type(found) is int
    assert found == value


@pytest.mark.parametrize("value", [2**63, 10**23])
def test_large_counts_are_capped(value: int) -> None:
    assert as_count("limit", value) == as_size("limit", value) == sys.maxsize
    assert as_integer("seed", value) == value


def test_bounds_and_none() -> None:
    assert as_count("limit", None) is None
    assert as_size("ahead", 0, least=0) == 0
    with pytest.raises(UsageError, match="ahead: -1; want 0 or more"):
        as_size("ahead", -1, least=0)
    with pytest.raises(UsageError, match="threads: want a whole number, not None"):
        as_size("threads", None)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [b"", b"key", bytearray(b"key"), memoryview(b"key")])
def test_bytes_are_no_names(value: Any) -> None:
    kind = type(value).__name__
    with pytest.raises(UsageError, match=f"^keys: want a text or a list of texts, not {kind}$"):
        as_names("keys", value)
    with pytest.raises(UsageError, match=r"^keys: want texts, not b'a' \(bytes\)$"):
        as_names("keys", [b"a"])  # type: ignore[list-item]


def test_choices_flags_and_functions() -> None:
    check_choice("fit", "crop", ("crop", "stretch"))
    for value in ("x", None, 3, ["crop"]):
        with pytest.raises(UsageError, match=r"^fit .*: choose crop or stretch$"):
            check_choice("fit", value, ("crop", "stretch"))
    check_flags(one=True, two=False)
    for value in ("x", 1, None):
        with pytest.raises(UsageError, match=r"^two: want True or False, not "):
            check_flags(one=True, two=value)
    check_function("transform", None)
    check_function("transform", len)
    with pytest.raises(UsageError, match=r"^transform: want a function or None, not 3$"):
        check_function("transform", 3)


@pytest.mark.parametrize(
    ("given", "shares"),
    [
        ([1, 3, 2], (1 / 3, 1, 2 / 3)),
        (np.array([0.5, 0.5]), (1, 1)),
        ((np.float32(0.25), 1), (0.25, 1)),
        ((one for one in (2, 1)), (1, 0.5)),
        ([5e-324, 5e-324], (1, 1)),
        ([7], (1,)),
    ],
)
def test_proportions_are_shares_of_the_greatest(given: Any, shares: tuple[float, ...]) -> None:
    assert as_proportions("mix", given) == pytest.approx(shares)


@pytest.mark.parametrize(
    "given", [1, "12", ["1", "2"], [1, None], {1: 2}, {1, 2}, [True, 1], [1j], [10**400], b"12"]
)
def test_what_are_no_proportions_is_refused(given: Any) -> None:
    with pytest.raises(
        UsageError, match=f"^mix: want a list of numbers, not {re.escape(repr(given))}$"
    ):
        as_proportions("mix", given)


@pytest.mark.parametrize(
    "given", [[], [0, 0], [1, 0], [1, -1], [1, float("nan")], [float("inf"), 1], [1e308, 1e-308]]
)
def test_proportions_without_meaning_are_refused(given: list[float]) -> None:
    with pytest.raises(UsageError, match=r"^mix: \[.*\]; want numbers above 0$"):
        as_proportions("mix", given)


def test_locations_are_texts_or_paths() -> None:
    assert as_location("weights", None) is None
    assert as_location("weights", "gs://a/b") == "gs://a/b"
    assert as_location("weights", Path("a/b")) == "a/b"
    for wrong in (5, True, b"a", [], float("nan")):
        with pytest.raises(
            UsageError, match=r"^weights: want a name, a path or a URL as a text, not "
        ):
            as_location("weights", wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("007", 7), ("9" * 18, 10**18 - 1), *((text, None) for text in (
        "", "-1", "+1", " 1", "1_0", "1.0", "x", "\u00b2", "\u0663", "9" * 19, "9" * 5000,
    ))],
)  # fmt: skip
def test_only_plain_digits_are_a_whole_number(text: str, number: int | None) -> None:
    assert whole_number(text) == number
