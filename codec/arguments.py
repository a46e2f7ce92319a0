"""Checks of arguments that several public functions take: names, counts, keywords."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable

from underpaint.codec.errors import UsageError


def as_names(argument: str, names: str | Iterable[str]) -> tuple[str, ...]:
    """Return the names that an argument holds; a text is one name, and not a list of letters.

    Raises UsageError, which begins with `argument`, for anything else.
    """
    if isinstance(names, str):
        return (names,)
    try:
        found = tuple(names)
    except TypeError:
        raise UsageError(
            f"{argument}: want a text or a list of texts, not {type(names).__name__}"
        ) from None
    for name in found:
        if not isinstance(name, str):
            raise UsageError(f"{argument}: want texts, not {name!r} ({type(name).__name__})")
    return found


def as_count(argument: str, count: int | None) -> int | None:
    """Return a count of 1 or more, or None; UsageError for anything else."""
    if count is None:
        return None
    try:
        found = operator.index(count)
    except TypeError:
        raise UsageError(f"{argument}: want a whole number, not {count!r}") from None
    if found < 1:
        raise UsageError(f"{argument}: {found}; want 1 or more")
    return found


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
