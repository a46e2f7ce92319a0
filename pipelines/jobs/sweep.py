"""Removes leftovers: files of units that were never committed, and plans of finished runs."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from underpaint.codec.archive import committed_units, orphans
from underpaint.codec.archive.records import PLANS
from underpaint.codec.errors import NotAnArchive
from underpaint.codec.storage.files import Storage


def sweep_archive(root: str, *, older_than_s: float, dry_run: bool = False) -> dict[str, int]:
    """Remove leftovers that have not changed for `older_than_s` seconds; return names and sizes."""
    storage = Storage(root)
    committed, plans = committed_units(storage), _plans(storage)
    if not committed and not plans:
        raise NotAnArchive(f"{root}: no archive there")
    swept = {}
    for name, size in {**orphans(storage), **plans}.items():
        with suppress(FileNotFoundError):
            if time.time() - storage.modified(name) >= older_than_s:
                swept[name] = size
                if not dry_run:
                    storage.delete(name)
    if storage.is_local and not dry_run:
        for folder in {os.path.dirname(name) for name in swept if name.startswith(f"{PLANS}/")}:
            with suppress(OSError):
                os.rmdir(storage.path(folder))
    return swept


def _plans(storage: Storage) -> dict[str, int]:
    """Return the files of plans below the archive."""
    base = storage.path(PLANS)
    if not storage.fs.isdir(base):
        return {}
    found = storage.fs.find(base, detail=True)
    return {
        f"{PLANS}/{path[len(base) :].lstrip('/')}": int(info["size"] or 0)
        for path, info in sorted(found.items())
    }
