"""Gathers commit records into the manifest, which defines the files of an archive.

data/….parquet   failed/….parquet     written first, named by their own SHA-256
           └──────────┬──────────┘
           commits/UNIT.json             then this record: the unit is committed, all or nothing
                      │  publish()
                manifest.json            gathered from all commit records; read by readers
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from underpaint.codec.archive.records import (
    COMMITS,
    DATA,
    FAILED,
    MANIFEST,
    Commit,
    Manifest,
    decode_commit,
    decode_manifest,
    encode_manifest,
    manifest_of,
)
from underpaint.codec.errors import ArchiveDamaged, NotAnArchive
from underpaint.codec.storage.files import TEMPORARY_PREFIX, Storage


def read_manifest(storage: Storage) -> Manifest:
    """Read the manifest; NotAnArchive if there is none, else raises as `decode_manifest` does."""
    try:
        data = storage.read(MANIFEST)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise NotAnArchive(f"{storage.root}: no archive there (no {MANIFEST})") from None
    return decode_manifest(data, f"{storage.root}/{MANIFEST}")


def committed_units(
    root: str | Storage, options: Mapping[str, Any] | None = None
) -> dict[str, Commit]:
    """Return the committed units, published or not, by name; empty if there are none.

    Reads the manifest and only those commit records that it lacks.
    """
    storage = _storage(root, options)
    try:
        published = {unit.unit: unit for unit in read_manifest(storage).units}
    except (NotAnArchive, ArchiveDamaged):
        published = {}  # rebuilt from the commit records, which have their own checksums
    return {unit.unit: unit for unit in _gather(storage, published)}


def publish(root: str | Storage, options: Mapping[str, Any] | None = None) -> Manifest:
    """Gather all commit records into `manifest.json`.

    It may run repeatedly, and concurrently with other calls and with writers. After writing, it
    lists the folder again and repeats if a commit was added in between, so the call that writes
    last has seen every commit that existed when it wrote. Raises ArchiveError if commits disagree
    on weights, layers or labels.
    """
    storage = _storage(root, options)
    known: dict[str, Commit] = {}
    while True:
        units = _gather(storage, known)
        known = {unit.unit: unit for unit in units}
        manifest = manifest_of(units, storage.root)
        data = encode_manifest(manifest)
        if _stored(storage) != data:
            storage.put(MANIFEST, data)
        names = {name for name in storage.names(COMMITS) if name.endswith(".json")}
        if names == {f"{unit}.json" for unit in known} and _stored(storage) == data:
            return manifest


def orphans(root: str | Storage, options: Mapping[str, Any] | None = None) -> dict[str, int]:
    """Return the files that no commit names (left by killed writers), with their sizes in bytes."""
    storage = _storage(root, options)
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
    storage = _storage(root, options)
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


def _gather(storage: Storage, known: Mapping[str, Commit]) -> tuple[Commit, ...]:
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


def _stored(storage: Storage) -> bytes | None:
    try:
        return storage.read(MANIFEST)
    except FileNotFoundError:
        return None


def _storage(root: str | Storage, options: Mapping[str, Any] | None) -> Storage:
    return root if isinstance(root, Storage) else Storage(root, options)
