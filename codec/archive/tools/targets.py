"""Checks of the folder that an archive or an export is written to."""

from __future__ import annotations

import os
from collections.abc import Sequence

from underpaint.codec.archive.commits import committed_units
from underpaint.codec.archive.records import (
    COMMITS,
    DATA,
    FAILED,
    JOB,
    MANIFEST,
    PLANS,
    UNITS,
    Commit,
)
from underpaint.codec.errors import UsageError
from underpaint.codec.storage.files import Storage


def checked_target(
    sources: Sequence[Storage], target: Storage, planned: Sequence[str]
) -> dict[str, Commit]:
    """Return the units that `target` holds.

    Raises UsageError if it is one of the archives `sources`, holds units not in `planned`, or other
    files.
    """
    for source in sources:
        if source.path("") == target.path("") and type(source.fs) is type(target.fs):
            raise UsageError(f"{target.root}: an archive cannot be written over itself")
    committed = {commit.unit: commit for commit in committed_units(target).units}
    other = committed.keys() - set(planned)
    if other:
        raise UsageError(f"{target.root}: holds other units already, such as {min(other)!r}")
    if not committed:
        check_no_other_files(target)
    return committed


def check_no_other_files(target: Storage) -> None:
    """Raise UsageError if a folder without commits holds what no unfinished archive has."""
    folder = target.path("").rstrip("/")
    if target.fs.isfile(folder):
        raise UsageError(f"{target.root}: a file, not a folder")
    if target.fs.isdir(folder):
        entries = target.fs.ls(folder, detail=False)
        names = {str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries}
        if names - {MANIFEST, JOB, DATA, FAILED, COMMITS, UNITS, PLANS}:
            raise UsageError(f"{target.root}: holds files, and no archive; choose another folder")


def prepare(target: Storage, *, overwrite: bool) -> None:
    """Raise UsageError if a folder holds anything, also folders, unless it is to be overwritten.

    Then the unfinished files of a run that was killed are removed. All others stay, until files of
    equal names take their place.
    """
    if overwrite:
        target.clear_unfinished()
    elif target.holds_anything():
        raise UsageError(
            f"{target.root}: the folder is not empty; choose another one, or give --overwrite to "
            "replace files of equal names"
        )


def leads_out(target: Storage, name: str) -> bool:
    """Return whether a link in a local folder leads the path `name` out of it."""
    if not target.is_local:
        return False
    root = os.path.realpath(target.path(""))
    folder = os.path.realpath(os.path.dirname(target.path(name)))
    return os.path.commonpath([root, folder]) != root


def check_inside(target: Storage, name: str) -> None:
    """Raise UsageError if a link in a local folder leads the path `name` out of it."""
    if leads_out(target, name):
        raise UsageError(
            f"{target.root}: {name!r} leads out of this folder by a link; remove the link, or "
            "choose another folder"
        )
