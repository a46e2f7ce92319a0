"""Checks of output paths, made before any work."""

from __future__ import annotations

import os

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
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise UsageError(f"{option} {os.fspath(path)}: no permission to write there")


def check_folder(option: str, folder: str | os.PathLike[str] | None) -> None:
    """UsageError if a file lies at `folder` or above it; None and remote folders are not checked.

    The folder need not exist.
    """
    if folder is None:
        return
    storage = Storage(folder)
    if not storage.is_local:
        return
    path = os.path.abspath(storage.path("").rstrip("/") or "/")
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    if not os.path.isdir(path):
        raise UsageError(f"{option} {os.fspath(folder)}: {path} is a file, not a folder")
    if not os.access(path, os.W_OK):
        raise UsageError(f"{option} {os.fspath(folder)}: no permission to write in {path}")
