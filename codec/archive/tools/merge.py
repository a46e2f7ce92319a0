"""Combines archives without decoding anything."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from underpaint.codec.archive.key_hashes import RepeatedKeys, hashes_of
from underpaint.codec.archive.manifest import Manifest
from underpaint.codec.archive.parquet.ranges import REQUEST_BYTES, RangeReader
from underpaint.codec.archive.publishing import publish
from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.records import (
    Commit,
    FileEntry,
    check_unit,
    difference,
)
from underpaint.codec.archive.tools.targets import checked_target
from underpaint.codec.archive.writer import commit_once
from underpaint.codec.errors import ArchiveDamaged, ArchivesDiffer, DuplicateKey, UsageError
from underpaint.codec.storage.files import Storage


def merge(sources: Sequence[str | os.PathLike[str]], target: str | os.PathLike[str]) -> Manifest:
    """Combine several archives of the same weights, layers and columns.

    Files are copied unchanged and checked against their SHA-256. A unit that several archives hold
    with equal content is taken once; different units of equal names get the number of their
    archive. Raises ArchivesDiffer if the archives' columns differ, DuplicateKey if two images have
    one key, UsageError if `target` holds other units.
    """
    archives = [Archive.open(source) for source in sources]
    if not archives:
        raise UsageError("no archive to merge")
    for root, times in Counter(archive.storage.root for archive in archives).items():
        if times > 1:
            raise UsageError(f"{root}: given {times} times; name each archive once")
    _check_shapes(archives)
    plan = _plan(archives)
    storage = Storage(target)
    done = checked_target([archive.storage for archive in archives], storage, list(plan))
    _check_keys(archives, plan)
    for name, (number, unit) in plan.items():
        if name in done and done[name].content == unit.content:
            continue
        if name in done:
            raise UsageError(
                f"{storage.root}: holds unit {name!r} with other content; choose another folder"
            )
        origin = archives[number].storage
        commit_once(
            storage,
            replace(
                unit,
                data=_copied(origin, storage, unit.data, f"data/{name}"),
                failed=_copied(origin, storage, unit.failed, f"failed/{name}"),
            ),
        )
    return publish(str(target))


def _check_shapes(archives: Sequence[Archive]) -> None:
    """Raise ArchivesDiffer if the rows of the archives differ in what all rows must share."""
    first = next((archive for archive in archives if archive.manifest.units), None)
    for archive in archives:
        if first is None or not archive.manifest.units:
            continue
        one, other = first.manifest.units.shared, archive.manifest.units.shared
        if found := difference(one, other):
            fewer = min(len(one.layer_names), len(other.layer_names))
            prefix = one.layer_names[:fewer] == other.layer_names[:fewer]
            advice = (
                f"; `underpaint trim --layers {fewer}` makes the layers equal"
                if found.startswith("layers") and prefix
                else ""
            )
            raise ArchivesDiffer(
                f"{first.storage.root} and {archive.storage.root} cannot be merged, because they "
                f"differ in {found}{advice}"
            )


def _plan(archives: Sequence[Archive]) -> dict[str, tuple[int, Commit]]:
    """Return name in the target -> archive and unit, under its new name."""
    plan: dict[str, tuple[int, Commit]] = {}
    for number, archive in enumerate(archives):
        names: dict[str, str] = {}
        units = list(archive.manifest.units)
        for unit in units:
            name = unit.unit
            if name in plan and plan[name][1].content != unit.content:
                name = check_unit(f"{name}.archive-{number}")
            names[unit.unit] = name
        for unit in units:
            name = names[unit.unit]
            retries = names.get(unit.retries, unit.retries) if unit.retries else None
            replaces = tuple(names.get(other, other) for other in unit.replaces)
            named = replace(unit, unit=name, retries=retries, replaces=replaces)
            plan.setdefault(name, (number, named))
    return plan


def _check_keys(archives: Sequence[Archive], plan: Mapping[str, tuple[int, Commit]]) -> None:
    """Raise DuplicateKey if two planned units share a key."""
    with RepeatedKeys() as found:
        for number, unit in plan.values():
            reader = RangeReader(archives[number].storage)
            for group in range(len(unit.data.row_groups) if unit.data else 0):
                assert unit.data
                keys = reader.read(unit.data, group, ["key"]).column("key").to_pylist()
                found.add(hashes_of(keys))
        repeated = found.repeated()
    if not len(repeated):
        return
    for archive in archives:
        for read in archive.row_groups(["key"]):
            keys = read.table.column("key").to_pylist()
            for row in np.flatnonzero(np.isin(hashes_of(keys), repeated)):
                raise DuplicateKey(
                    f"{keys[row]}: more than one of the archives has a picture of this key"
                )


def _copied(
    origin: Storage, target: Storage, entry: FileEntry | None, stem: str
) -> FileEntry | None:
    if entry is None:
        return None
    name = f"{stem}-{entry.sha256[:16]}.parquet"
    digest = hashlib.sha256()
    with target.scratch(name) as scratch:
        with open(scratch, "wb") as file:
            for start in range(0, entry.bytes, REQUEST_BYTES):
                stop = min(start + REQUEST_BYTES, entry.bytes)
                try:
                    part = origin.read_range(entry.path, start, stop)
                except FileNotFoundError:
                    raise ArchiveDamaged(f"{entry.path}: the file is missing") from None
                digest.update(part)
                file.write(part)
        if digest.hexdigest() != entry.sha256:
            raise ArchiveDamaged(f"{entry.path}: the content does not match its checksum")
        target.put_file(name, scratch)
    return replace(entry, path=name)
