"""Texts that come from elsewhere, such as keys and labels, as people may see them."""

from __future__ import annotations

import re

_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters, and those that change the direction of text."""


def escaped(text: object) -> str:
    """Return a text on one line, with characters that control a terminal or a page escaped."""
    return _STEERING.sub(lambda found: ascii(found[0])[1:-1], str(text))


def clipped(text: object, longest: int) -> str:
    """Return what `escaped` returns, cut behind `longest` characters with an ellipsis."""
    line = escaped(text)
    return line if len(line) <= longest else line[:longest] + "…"
