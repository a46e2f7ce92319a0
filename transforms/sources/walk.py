"""Every file below a folder, in order of names, and what of it is left out.

Links to folders are followed where they lead out of the inputs. A link into a folder that is walked
anyway is reported instead: its files are listed under their own names, and a link to a parent has
no end.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import fsspec

from underpaint.codec.storage.retries import with_retries
from underpaint.transforms.records import UNKNOWN
from underpaint.transforms.sources.addresses import is_local
from underpaint.transforms.sources.kinds import reserved_name

BROKEN_LINK = "broken link"
LINK_LOOP = "link loop"
LINKED_TWICE = "link to a listed folder"
NOT_REGULAR = "not a regular file"

MOST_VERSION = 200
"""Most characters of a version's mark."""

_VERSIONS = ("generation", "ETag", "etag", "content_md5", "md5Hash", "LastModified", "mtime")
"""Members of fsspec's information on a file that change with its content, the best ones first."""


@dataclass(frozen=True)
class Entry:
    """A file, or something that is left out and why."""

    path: str
    """In the terms of its file system."""
    size: int = UNKNOWN
    skipped: str = ""
    version: str = ""
    """Mark of the file's version: its time of modification, or what the store has for it."""


def version_of(info: Mapping[str, Any]) -> str:
    """Return the mark of a file's version from what fsspec tells about it; "" if there is none."""
    for name in _VERSIONS:
        value = info.get(name)
        if value:
            return f"{name} {value}"[:MOST_VERSION]
    return ""


def walk(
    fs: fsspec.AbstractFileSystem,
    folder: str,
    *,
    hidden: bool = False,
    listed: Collection[str] = (),
) -> Iterator[Entry]:
    """The files below a folder, a folder at a time, so that memory does not grow with their number.

    `hidden` says that the folder itself is hidden, so that its files are skipped. `listed` are the
    folders of this machine, by paths without links, that are walked as well: a link into one is
    reported. A folder that cannot be listed is an entry itself: reading it gives the error.
    """
    folder = folder.rstrip("/") or "/"
    if is_local(fs):
        yield from _LocalWalk(folder, listed).entries(folder, hidden)
    else:
        yield from _remote(fs, folder, hidden)


class _LocalWalk:
    """The walk of a folder on a disk; all that is held are the names in the folders above."""

    def __init__(self, root: str, listed: Collection[str]) -> None:
        self._listed = listed
        self._roots = [os.path.realpath(root)]
        """The folder and those that links have led to."""

    def entries(self, folder: str, hidden: bool = False) -> Iterator[Entry]:
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            yield Entry(folder)
            return
        for name in names:
            path = posixpath.join(folder, name)
            reason = reserved_name(name) or ("dot file" if hidden else "")
            try:
                state = os.stat(path)
            except OSError:  # a link to nothing or to itself, or a file that has just gone
                yield Entry(path, skipped=reason or BROKEN_LINK)
                continue
            if stat.S_ISDIR(state.st_mode):
                yield from self._folder(path, bool(reason))
            elif not stat.S_ISREG(state.st_mode):
                yield Entry(path, skipped=reason or NOT_REGULAR)
            else:
                yield Entry(path, state.st_size, reason, f"mtime {state.st_mtime_ns}")

    def _folder(self, path: str, hidden: bool) -> Iterator[Entry]:
        if not os.path.islink(path):
            yield from self.entries(path, hidden)
            return
        target = os.path.realpath(path)
        above = os.path.realpath(posixpath.dirname(path))
        if _contains(target, above):
            yield Entry(path, skipped=LINK_LOOP)
        elif is_inside(target, self._listed) or any(
            _contains(root, target) or _contains(target, root) for root in self._roots
        ):
            yield Entry(path, skipped=LINKED_TWICE)
        elif hidden:
            yield Entry(path, skipped="dot file")
        else:
            self._roots.append(target)
            yield from self.entries(path)


def is_inside(place: str, folders: Iterable[str]) -> bool:
    """Return whether the walk of one of the folders comes to a folder, and it is not hidden there;
    all are paths without links.
    """
    return any(
        _contains(folder, place) and not reserved_name(place[len(folder) :].strip("/"))
        for folder in folders
    )


def _contains(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _remote(fs: fsspec.AbstractFileSystem, folder: str, hidden: bool) -> Iterator[Entry]:
    """The same on a store of objects; the few that have links report them."""
    try:
        listed = with_retries(lambda: fs.ls(folder, detail=True), fs.unstrip_protocol(folder))
        entries = sorted(listed, key=lambda entry: str(entry["name"]))
    except OSError:
        yield Entry(folder)
        return
    for entry in entries:
        path = str(entry["name"]).rstrip("/")
        if path.strip("/") == folder.strip("/"):
            continue  # the marker of the folder itself
        reason = reserved_name(posixpath.basename(path)) or ("dot file" if hidden else "")
        size = UNKNOWN if entry.get("size") is None else int(entry["size"])
        if entry.get("islink") or entry["type"] == "link":
            if fs.isfile(path):
                yield Entry(path, size, reason, version_of(entry))
            else:
                yield Entry(path, skipped=reason or "link to a folder")
        elif entry["type"] == "directory":
            yield from _remote(fs, path, bool(reason))
        elif entry["type"] == "file":
            yield Entry(path, size, reason, version_of(entry))
        else:
            yield Entry(path, skipped=reason or NOT_REGULAR)
