"""Checks of the folder that an archive or an export is written to."""

from __future__ import annotations

from collections.abc import Sequence

from underpaint.codec.archive.manifest import committed_units
from underpaint.codec.errors import UsageError
from underpaint.codec.storage.files import Storage


def check_target(source: Storage, target: Storage, planned: Sequence[str]) -> None:
    """Raise UsageError if `target` is the archive `source`, or holds units not in `planned`."""
    if source.path("") == target.path("") and type(source.fs) is type(target.fs):
        raise UsageError(f"{target.root}: an archive cannot be written over itself")
    other = set(committed_units(target)) - set(planned)
    if other:
        raise UsageError(f"{target.root}: holds other units already, such as {min(other)!r}")


def check_empty(target: Storage) -> None:
    """Raise UsageError if a folder holds anything, folders included."""
    if target.holds_anything():
        raise UsageError(f"{target.root}: the folder is not empty; choose another one")
