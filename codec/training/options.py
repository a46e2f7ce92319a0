"""Options of a training run: fields of dataclasses with a help text and the values they may have.

The command line lists them, and every instance is checked when it is made, so that a mistake is one
line before any work. Needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from underpaint.codec.errors import UsageError

MOST_SEED = (1 << 63) - 1
"""Largest seed that both NumPy and torch take."""


@dataclass(frozen=True)
class Allowed:
    """Values that an option, or each number of it, may have.

    least, most     bounds, which are allowed themselves
    above, below    bounds, which are not
    multiple_of     a divisor of the values; 1 for any
    choices         the texts of an option that is a text; none for any
    lengths         how many numbers an option of several may have
    """

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    multiple_of: int = 1
    choices: tuple[str, ...] = ()
    lengths: tuple[int, ...] = ()

    def holds(self, number: float) -> bool:
        """Whether a number is finite, within the bounds and a multiple of the divisor."""
        within = self.least <= number <= self.most and self.above < number < self.below
        divides = self.multiple_of == 1 or number % self.multiple_of == 0
        return math.isfinite(number) and within and divides

    def __str__(self) -> str:
        parts = [f"above {self.above:g}"] if self.above > -math.inf else []
        if self.least > -math.inf and self.most < math.inf:
            parts.append(f"from {self.least:g} to {self.most:g}")
        elif self.least > -math.inf:
            parts.append(f"of {self.least:g} or more")
        elif self.most < math.inf:
            parts.append(f"of {self.most:g} or less")
        if self.below < math.inf:
            parts.append(f"below {self.below:g}")
        bounds = " and ".join(parts)
        return bounds + (f", a multiple of {self.multiple_of}" if self.multiple_of > 1 else "")


def option(default: Any, text: str, **allowed: Any) -> Any:
    """Return a field with a default, a help text and what `Allowed` says of its values."""
    if isinstance(default, tuple):
        allowed.setdefault("lengths", (len(default),))
    return field(default=default, metadata={"help": text, "allowed": Allowed(**allowed)})


def seed() -> Any:
    """Return the field of a seed; one option of the command line sets those of all parts."""
    return field(default=1, metadata={"allowed": Allowed(least=0, most=MOST_SEED)})


def check_options(settings: Any) -> None:
    """Raise UsageError for the first option of a dataclass whose value it may not have.

    The message names the option as the command line does.
    """
    for one in fields(settings):
        allowed = one.metadata.get("allowed")
        if allowed is not None:
            name = f"--{one.name.replace('_', '-')}"
            _check(name, getattr(settings, one.name), one.default, allowed)


def _check(name: str, value: Any, default: Any, allowed: Allowed) -> None:
    several = isinstance(default, tuple)
    values: Sequence[Any] = value if several and isinstance(value, tuple | list) else (value,)
    sample = default[0] if several else default
    shown = " ".join(map(str, values))
    if isinstance(sample, str | bool):
        right = isinstance(value, type(sample)) and (
            not allowed.choices or value in allowed.choices
        )
        kind = "one of " + ", ".join(allowed.choices) if allowed.choices else type(sample).__name__
    else:
        whole = isinstance(sample, int)
        numbers = int if whole else int | float
        right = all(
            isinstance(one, numbers) and not isinstance(one, bool) and allowed.holds(one)
            for one in values
        )
        kind = ("whole numbers" if whole else "numbers") if several else "a number"
        kind = f"{'a whole number' if whole and not several else kind} {allowed}".rstrip()
    if not right:
        raise UsageError(f"{name} {shown}: want {kind}")
    if several and len(values) not in allowed.lengths:
        counts = " or ".join(map(str, allowed.lengths))
        raise UsageError(f"{name} {shown}: want {counts} numbers, not {len(values)}")
