"""Checks of the folder that an archive or an export is written to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain

from underpaint.codec.archive.commits import committed_units
from underpaint.codec.archive.record_json import decode_json
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
from underpaint.codec.errors import ArchiveError, NotAnArchive, UsageError
from underpaint.codec.storage.files import Storage

_ELSEWHERE = "choose a folder outside of it"


def checked_target(
    sources: Sequence[Storage], target: Storage, planned: Sequence[str]
) -> dict[str, Commit]:
    """Return the units that `target` holds.

    Raises UsageError if it is one of the archives `sources`, lies in one or in another archive,
    holds units not in `planned`, or other files.
    """
    if any(is_same(source, target) for source in sources):
        raise UsageError(f"{target.root}: an archive cannot be written over itself")
    _check_outside(sources, target)
    committed = {commit.unit: commit for commit in committed_units(target).units}
    other = committed.keys() - set(planned)
    if other:
        raise UsageError(f"{target.root}: holds other units already, such as {min(other)!r}")
    if not committed:
        check_no_other_files(target)
    return committed


def check_no_other_files(target: Storage) -> None:
    """Raise UsageError if a folder without commits holds what no unfinished archive has.

    Also if it lies in an archive.
    """
    _check_outside([], target)
    folder = target.path("").rstrip("/")
    if target.fs.isfile(folder):
        raise UsageError(f"{target.root}: a file, not a folder")
    if target.fs.isdir(folder):
        entries = target.fs.ls(folder, detail=False)
        names = {str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries}
        if names - {MANIFEST, JOB, DATA, FAILED, COMMITS, UNITS, PLANS}:
            raise UsageError(f"{target.root}: holds files, and no archive; choose another folder")


def prepare(source: Storage, target: Storage, *, overwrite: bool) -> None:
    """Raise UsageError if a folder holds anything, also folders, unless it is to be overwritten.

    Then the unfinished files of a run that was killed are removed. All others stay, until files of
    equal names take their place. A folder that is an archive, or lies in one, is always refused.

    Args:
        source: the archive that is read.
        target: the folder for what is made of it.
    """
    if is_same(source, target) or _is_archive(target):
        raise UsageError(f"{target.root}: an archive, which other files would spoil; {_ELSEWHERE}")
    _check_outside([source], target)
    if overwrite:
        target.clear_unfinished()
    elif target.holds_anything():
        raise UsageError(
            f"{target.root}: the folder is not empty; choose another one, or give --overwrite to "
            "replace files of equal names"
        )


def _check_outside(sources: Sequence[Storage], target: Storage) -> None:
    """Raise UsageError if a folder lies in one of the archives `sources`.

    A local folder may lie in no other archive either.
    """
    around = (source for source in sources if _is_below(target, source))
    others = filter(_is_archive, _above(target))
    if (archive := next(chain(around, others), None)) is not None:
        raise UsageError(f"{target.root}: lies in the archive {archive.root}; {_ELSEWHERE}")


def _above(target: Storage) -> Iterator[Storage]:
    """Yield the folders above a local one, the nearest first; links are followed."""
    path = os.path.realpath(target.path("")) if target.is_local else ""
    while (folder := os.path.dirname(path)) != path:
        path = folder
        yield Storage(path)


def _is_below(folder: Storage, other: Storage) -> bool:
    if folder.is_local and other.is_local:
        return any(is_same(above, other) for above in _above(folder))
    below = folder.path("") != other.path("") and folder.path("").startswith(other.path(""))
    return below and type(folder.fs) is type(other.fs)


def is_same(folder: Storage, other: Storage) -> bool:
    """Return whether two addresses are those of one folder; links of local ones are followed."""
    if folder.is_local and other.is_local:
        try:
            return os.path.samefile(folder.path(""), other.path(""))
        except OSError:  # one of them is not there
            return False
    return folder.path("") == other.path("") and type(folder.fs) is type(other.fs)


def _is_archive(folder: Storage) -> bool:
    """Return whether a folder holds the manifest of an archive, or a commit record of a new one."""
    return _is_record(folder, MANIFEST) or any(
        _is_record(folder, f"{COMMITS}/{name}") for name in _names(folder, COMMITS)[:1]
    )


def _names(folder: Storage, inner: str) -> list[str]:
    with suppress(PermissionError):
        return folder.file_names(inner)
    return []


def _is_record(folder: Storage, name: str) -> bool:
    """Return whether a file is a record of an archive, also one that is damaged."""
    try:
        decode_json(folder.read(name), name)
    except (OSError, NotAnArchive):  # none, one that may not be read, or one of something else
        return False
    except ArchiveError:
        return True
    return True


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
