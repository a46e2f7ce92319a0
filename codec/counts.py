"""Counts as people read them."""

from __future__ import annotations


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: "1 picture", "2,000 pictures"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
