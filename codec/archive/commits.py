"""The files that make an archive: commit records, the manifest, and those that neither names.

data/….parquet   failed/….parquet     written first, named by their own SHA-256
           └──────────┬──────────┘
           commits/UNIT.json             then this record: the unit is committed, all or nothing
                      │  publish()
     units/….parquet, manifest.json      gathered from all commit records; read by readers
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from underpaint.codec.archive.manifest import read_manifest
from underpaint.codec.archive.record_json import decode_commit
from underpaint.codec.archive.records import (
    COMMITS,
    DATA,
    FAILED,
    MANIFEST,
    UNITS,
    Commit,
)
from underpaint.codec.archive.unit_merging import merged
from underpaint.codec.archive.units import Units
from underpaint.codec.errors import ArchiveDamaged, NotAnArchive
from underpaint.codec.storage.files import TEMPORARY_PREFIX, Storage

READ_AT_ONCE = 8
"""Number of commit records that are read at the same time."""


class Committed(Mapping[str, Commit]):
    """Committed units by name. Looking one up makes its `Commit`; `units` has their columns."""

    def __init__(self, units: Units) -> None:
        self.units = units

    def __len__(self) -> int:
        return len(self.units)

    def __iter__(self) -> Iterator[str]:
        for chunk in self.units.column("unit").chunks:
            yield from chunk.to_pylist()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.units.position(name) is not None

    def __getitem__(self, name: str) -> Commit:
        return self.units.named(name)


def committed_units(root: str | Storage, options: Mapping[str, Any] | None = None) -> Committed:
    """Return the committed units, published or not, by name; empty if there are none.

    Reads the manifest and only those commit records that it lacks.
    """
    storage = opened(root, options)
    try:
        published = read_manifest(storage).units
        return Committed(gather(storage, published))
    except (NotAnArchive, ArchiveDamaged):  # the commit records have their own checksums
        return Committed(gather(storage, Units.of(())))


def orphans(root: str | Storage, options: Mapping[str, Any] | None = None) -> dict[str, int]:
    """Return the files that neither a commit nor the manifest names, with their sizes in bytes.

    Killed writers have left them.

    Also the columns of earlier manifests, which readers that opened the archive then may still use.
    """
    storage = opened(root, options)
    found = {
        f"{folder}/{name}": size
        for folder in (DATA, FAILED, COMMITS, UNITS)
        for name, size in storage.names(folder).items()
        if folder != COMMITS or name.startswith(TEMPORARY_PREFIX)
    }
    found |= {
        name: size
        for name, size in storage.names("").items()
        if name.startswith(TEMPORARY_PREFIX + MANIFEST)
    }
    # listed before the commits are read, so that a file committed meanwhile is no orphan
    named = [committed_units(storage).units]
    with suppress(NotAnArchive, ArchiveDamaged):
        manifest = read_manifest(storage)
        found.pop(manifest.file, None)
        named.append(manifest.units)  # readers have it, even where a commit record is lost
    for units in named:
        for folder in (DATA, FAILED):
            for entry in units.entries(folder):
                found.pop(entry.path, None)
    return found


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


def listed(storage: Storage) -> pa.Array:
    """Return the names of all units that have a commit record, sorted; one listing."""
    names = storage.file_names(COMMITS)
    kept = (
        name[: -len(".json")]
        for name in names
        if name.endswith(".json") and not name.startswith(TEMPORARY_PREFIX)
    )
    found = pa.array(kept, pa.string())
    return found.take(pc.sort_indices(found))


def gather(storage: Storage, known: Units, names: pa.Array | None = None) -> Units:
    """Return all commits in the order of their names; the records of `known` ones are not read.

    If a known one has no commit record any more, all records are read anew. `names` is what
    `listed` has returned.
    """
    names = listed(storage) if names is None else names
    standing = known.column("unit")
    if len(known) and not pc.all(pc.is_in(standing, value_set=names)).as_py():
        known, standing = Units.of(()), pa.chunked_array([[]], pa.string())
    missing = names.filter(pc.invert(pc.is_in(names, value_set=standing.combine_chunks())))
    new = Units.of(_read(storage, missing.to_pylist()), storage.root)
    return merged(known, new)


def _read(storage: Storage, units: Sequence[str]) -> Iterator[Commit]:
    """Yield the commits of some units; a few records are read at the same time."""

    def read(unit: str) -> Commit:
        commit = read_commit(storage, unit)
        if commit.unit != unit:
            raise ArchiveDamaged(
                f"{storage.root}/{COMMITS}/{unit}.json: names unit {commit.unit!r}"
            )
        return commit

    if len(units) <= READ_AT_ONCE or storage.is_local:
        yield from map(read, units)
        return
    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        for start in range(0, len(units), 64 * READ_AT_ONCE):
            yield from pool.map(read, units[start : start + 64 * READ_AT_ONCE])


def opened(root: str | Storage, options: Mapping[str, Any] | None) -> Storage:
    """Return the storage of an archive that is named by its location or given as such."""
    return root if isinstance(root, Storage) else Storage(root, options)
