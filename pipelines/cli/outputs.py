"""Checks of output paths, made before any work.

Each path is tried, because permissions do not tell everything: a name may be too long, and a file
system read-only, or one that takes no files, such as /proc. Nothing of a trial stays.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from underpaint.codec.errors import UsageError
from underpaint.codec.storage.files import Storage


def check_file(option: str, path: str | os.PathLike[str] | None) -> None:
    """UsageError unless a local file can be written at `path`; None is not checked.

    The message starts with `option`, such as "--html".
    """
    if path is None:
        return
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path):
        raise UsageError(f"{option} {os.fspath(path)}: a folder, not a file")
    if not os.path.isdir(folder):
        raise UsageError(f"{option} {os.fspath(path)}: no such folder: {folder}")
    with _refused(option, path, os.fspath(path)):
        if os.path.lexists(path):
            if not os.access(path, os.W_OK):
                raise PermissionError(0, "no permission")
        else:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            os.unlink(path)


def check_folder(option: str, folder: str | os.PathLike[str] | None) -> None:
    """UsageError unless a local folder can be written to; None and remote ones are not checked.

    The folder need not exist, nor those above it.
    """
    if folder is None:
        return
    storage = Storage(folder)
    if not storage.is_local:
        return
    path = os.path.abspath(storage.path("").rstrip("/") or "/")
    missing = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    if not os.path.isdir(path):
        raise UsageError(f"{option} {os.fspath(folder)}: {path} is a file, not a folder")
    made = []
    with _refused(option, folder, path):
        try:
            for inner in reversed(missing):
                path = inner
                os.mkdir(inner)
                made.append(inner)
            tempfile.TemporaryFile(dir=path).close()
        finally:
            for inner in reversed(made):
                os.rmdir(inner)


def check_archive(archive: str) -> None:
    """UsageError unless files of a local archive can be changed in their place."""
    from underpaint.codec.archive.records import COMMITS, DATA, MANIFEST, UNITS

    storage = Storage(archive)
    if storage.is_local and os.path.exists(storage.path(MANIFEST)):
        check_folder("ARCHIVE", archive)
        for name in (DATA, UNITS, COMMITS):
            check_folder("ARCHIVE", storage.path(name))


@contextmanager
def _refused(option: str, path: str | os.PathLike[str], place: str) -> Iterator[None]:
    """Say in one line that a path cannot be written to, and why."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        where = "" if place == os.fspath(path) else f" in {place}"
        raise UsageError(
            f"{option} {os.fspath(path)}: cannot write there{where}: {reason}"
        ) from None
