"""The files that make an archive: commit records, the manifest, and those that neither names.

data/….parquet   failed/….parquet     written first, named by their own SHA-256
           └──────────┬──────────┘
           commits/UNIT.json             then this record: the unit is committed, all or nothing
                      │  publish()
                manifest.json            gathered from all commit records; read by readers
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from underpaint.codec.archive.record_json import decode_commit, decode_manifest
from underpaint.codec.archive.records import COMMITS, DATA, FAILED, MANIFEST, Commit, Manifest
from underpaint.codec.errors import ArchiveDamaged, NotAnArchive
from underpaint.codec.storage.files import TEMPORARY_PREFIX, Storage


def read_manifest(storage: Storage) -> Manifest:
    """Read the manifest; NotAnArchive if there is none, else raises as `decode_manifest` does."""
    try:
        data = storage.read(MANIFEST)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        if storage.is_local and not os.path.lexists(storage.path("").rstrip("/") or "/"):
            raise NotAnArchive(f"{storage.root}: no such folder") from None
        raise NotAnArchive(f"{storage.root}: no archive there (no {MANIFEST})") from None
    return decode_manifest(data, f"{storage.root}/{MANIFEST}")


def committed_units(
    root: str | Storage, options: Mapping[str, Any] | None = None
) -> dict[str, Commit]:
    """Return the committed units, published or not, by name; empty if there are none.

    Reads the manifest and only those commit records that it lacks.
    """
    storage = opened(root, options)
    try:
        published = {unit.unit: unit for unit in read_manifest(storage).units}
    except (NotAnArchive, ArchiveDamaged):
        published = {}  # rebuilt from the commit records, which have their own checksums
    units = Manifest(gather(storage, published)).units
    return {unit.unit: unit for unit in units}


def orphans(root: str | Storage, options: Mapping[str, Any] | None = None) -> dict[str, int]:
    """Return the files that no commit names (left by killed writers), with their sizes in bytes."""
    storage = opened(root, options)
    found = {
        f"{folder}/{name}": size
        for folder in (DATA, FAILED, COMMITS)
        for name, size in storage.names(folder).items()
        if folder != COMMITS or name.startswith(TEMPORARY_PREFIX)
    }
    found |= {
        name: size
        for name, size in storage.names("").items()
        if name.startswith(TEMPORARY_PREFIX + MANIFEST)
    }
    # listed before the commits are read, so that a file committed meanwhile is no orphan
    counted = {
        entry.path
        for unit in committed_units(storage).values()
        for entry in (unit.data, unit.failed)
        if entry
    }
    return {name: size for name, size in found.items() if name not in counted}


def sweep(
    root: str | Storage, *, older_than_s: float = 86_400.0, options: Mapping[str, Any] | None = None
) -> dict[str, int]:
    """Delete orphans that have not changed for `older_than_s` seconds; return their names and
    sizes.

    Keep the age above the duration of one work unit: a running writer's files are orphans until it
    commits.
    """
    storage = opened(root, options)
    swept = {}
    for name, size in orphans(storage).items():
        try:
            age = time.time() - storage.modified(name)
        except FileNotFoundError:
            continue
        if age >= older_than_s:
            storage.delete(name)
            swept[name] = size
    return swept


def read_commit(storage: Storage, unit: str) -> Commit:
    """Read the commit record of a unit; FileNotFoundError if it is not committed."""
    name = f"{COMMITS}/{unit}.json"
    return decode_commit(storage.read(name), f"{storage.root}/{name}")


def gather(storage: Storage, known: Mapping[str, Commit]) -> tuple[Commit, ...]:
    """Return all commits in the order of their names; the records of `known` ones are not read."""
    names = [
        name.removesuffix(".json")
        for name in storage.names(COMMITS)
        if name.endswith(".json") and not name.startswith(TEMPORARY_PREFIX)
    ]
    missing = [name for name in names if name not in known]
    if len(missing) > 8:
        with ThreadPoolExecutor(8) as pool:
            read = list(pool.map(lambda unit: read_commit(storage, unit), missing))
    else:
        read = [read_commit(storage, unit) for unit in missing]
    for unit, commit in zip(missing, read, strict=True):
        if commit.unit != unit:
            raise ArchiveDamaged(
                f"{storage.root}/{COMMITS}/{unit}.json: names unit {commit.unit!r}"
            )
    everything = {**known, **{commit.unit: commit for commit in read}}
    return tuple(everything[name] for name in sorted(names))


def opened(root: str | Storage, options: Mapping[str, Any] | None) -> Storage:
    """Return the storage of an archive that is named by its location or given as such."""
    return root if isinstance(root, Storage) else Storage(root, options)
