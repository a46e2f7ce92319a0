"""Checks of arguments that several public functions take: names, numbers, choices, keywords."""

from __future__ import annotations

import difflib
import math
import operator
import os
import sys
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import SupportsFloat, SupportsIndex

from underpaint.codec.errors import UsageError

_MOST_DIGITS = 18
"""Most digits of a whole number from outside: any of as many fits 64 bits."""


def as_names(argument: str, names: str | Iterable[str]) -> tuple[str, ...]:
    """Return the names that an argument holds; a text is one name, and not a list of letters.

    Raises UsageError, which begins with `argument`, for anything else.
    """
    if isinstance(names, str):
        return (names,)
    try:
        if isinstance(names, bytes | bytearray | memoryview):
            raise TypeError
        found = tuple(names)
    except TypeError:
        raise UsageError(
            f"{argument}: want a text or a list of texts, not {type(names).__name__}"
        ) from None
    for name in found:
        if not isinstance(name, str):
            raise UsageError(f"{argument}: want texts, not {name!r} ({type(name).__name__})")
    return found


def whole_number(text: str) -> int | None:
    """Return the whole number, 0 or more, that a text from outside writes, or None if it is none.

    Only the digits 0 to 9 count, at most 18: `str.isdigit` holds for texts that `int` refuses, such
    as a superscript, and `int` takes spaces, underscores and digits of other scripts.
    """
    digits = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    return int(text) if digits else None


def as_integer(argument: str, number: SupportsIndex) -> int:
    """Return an integer of any type, such as NumPy's; UsageError for others and truth values."""
    try:
        if isinstance(number, bool):
            raise TypeError
        return operator.index(number)
    except TypeError:
        raise UsageError(f"{argument}: want a whole number, not {number!r}") from None


def as_size(argument: str, number: SupportsIndex, *, least: int = 1) -> int:
    """Return an integer of `least` or more, and at most `sys.maxsize`; UsageError for others.

    A larger number becomes `sys.maxsize`, which is more than anything that can be counted.
    """
    found = as_integer(argument, number)
    if found < least:
        raise UsageError(f"{argument}: {found}; want {least} or more")
    return min(found, sys.maxsize)


def as_count(argument: str, count: SupportsIndex | None) -> int | None:
    """Return a count of 1 or more, as `as_size` does, or None; UsageError for anything else."""
    return None if count is None else as_size(argument, count)


def as_proportions(argument: str, numbers: Iterable[SupportsFloat]) -> tuple[float, ...]:
    """Return proportions, numbers above 0 of any type, as shares of the greatest; UsageError else.

    They need not add up to 1.
    """
    try:
        if isinstance(numbers, str | bytes | bytearray | Mapping | Set):
            raise TypeError
        given = list(numbers)
        if not all(isinstance(one, SupportsFloat) and type(one) is not bool for one in given):
            raise TypeError
        found = [float(one) for one in given]
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{argument}: want a list of numbers, not {numbers!r}") from None
    shares = [one / max(found) for one in found] if all(map(_positive, found)) else []
    if not shares or not all(map(_positive, shares)):
        raise UsageError(f"{argument}: {found}; want numbers above 0")
    return tuple(shares)


def _positive(number: float) -> bool:
    return math.isfinite(number) and number > 0


def as_location(argument: str, location: str | os.PathLike[str] | None) -> str | None:
    """Return a path, URL or name as a text, or None; UsageError for anything else."""
    if location is None or isinstance(location, str):
        return location
    try:
        found = os.fspath(location)
        if isinstance(found, str):
            return found
    except TypeError:
        pass
    raise UsageError(f"{argument}: want a name, a path or a URL as a text, not {location!r}")


def as_picture_number(number: SupportsIndex, wanted: str = "the number of a picture") -> int:
    """Return the number of a picture as an integer; TypeError for others and truth values."""
    try:
        return as_integer("", number)
    except UsageError:
        raise TypeError(f"want {wanted}, not {number!r}") from None


def check_choice(argument: str, value: object, choices: Sequence[str]) -> None:
    """Raise UsageError for a value that is not among the choices; it lists them."""
    if not isinstance(value, str) or value not in choices:
        raise UsageError(f"{argument} {value!r}: choose {', '.join(choices[:-1])} or {choices[-1]}")


def check_flags(**values: object) -> None:
    """Raise UsageError for the first of some arguments whose value is not a bool."""
    for argument, value in values.items():
        if not isinstance(value, bool):
            raise UsageError(f"{argument}: want True or False, not {value!r}")


def check_function(argument: str, value: object) -> None:
    """Raise UsageError for a value that is neither None nor can be called."""
    if value is not None and not callable(value):
        raise UsageError(f"{argument}: want a function or None, not {value!r}")


def check_keywords(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError for the first keyword that a function does not have, with the nearest one.

    For functions that pass keywords on, where Python would name a function that nobody called.
    """
    names = list(known)
    for keyword in given:
        if keyword not in names:
            near = difflib.get_close_matches(keyword, names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{function} has no argument {keyword!r}{hint}")
