"""Makes new archives from old ones without decoding: trim and merge."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from underpaint.codec.archive.manifest import committed_units, publish
from underpaint.codec.archive.parquet.ranges import REQUEST_BYTES, RangeReader
from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.records import Commit, FileEntry, Manifest, check_unit
from underpaint.codec.archive.schema import DEAD_LETTER_SCHEMA, DeadLetter, is_blob
from underpaint.codec.archive.writer import ArchiveWriter, commit_once
from underpaint.codec.errors import ArchiveDamaged, ArchiveError, DuplicateKey, UsageError
from underpaint.codec.storage.files import Storage


def trim(source: str | os.PathLike[str], target: str | os.PathLike[str], layers: int) -> Manifest:
    """Copy an archive with layers 1 to `layers` only.

    The finer columns are never fetched and nothing is encoded again; row groups and dead letters
    stay. Units are committed one by one, so a killed run resumes where it stopped. Raises
    UsageError if `layers` is out of range or `target` holds other units.
    """
    archive = Archive.open(source)
    columns = archive.layer_columns(layers)
    _check_target(archive.storage, Storage(target), [unit.unit for unit in archive.manifest.units])
    reader = RangeReader(archive.storage)
    done = committed_units(str(target))
    kept = [name for name in archive.schema.names if not is_blob(name) or name in columns]
    kept += ["source"] if "source" in archive.schema.names else []
    labels = pa.schema([archive.schema.field(name) for name in archive.label_names])
    for unit in archive.manifest.units:
        if unit.unit in done:
            continue
        with ArchiveWriter(
            target,
            unit.unit,
            layers=unit.layer_names[:layers],
            weights_id=unit.weights_id,
            label_schema=labels,
            embedding_size=unit.embedding_size,
            extractor=unit.extractor,
            keep_source=unit.keeps_source,
            retries=unit.retries,
        ) as writer:
            for group in range(len(unit.data.row_groups) if unit.data else 0):
                assert unit.data
                writer.add_group(_with_states(reader.read(unit.data, group, kept), layers))
            for letter in _letters(reader, unit):
                writer.fail(letter)
            for reason, count in unit.skipped.items():
                writer.skip(reason, count)
    return publish(str(target))


def merge(sources: Sequence[str | os.PathLike[str]], target: str | os.PathLike[str]) -> Manifest:
    """Combine several archives of the same weights, layers and columns.

    Files are copied unchanged and checked against their SHA-256. A unit that several archives hold
    with equal content is taken once; different units of equal names get the number of their
    archive. Raises ArchiveError if the archives' columns differ, DuplicateKey if two images have
    one key, UsageError if `target` holds other units.
    """
    archives = [Archive.open(source) for source in sources]
    if not archives:
        raise UsageError("no archive to merge")
    shapes = {unit.shape for archive in archives for unit in archive.manifest.units}
    if len(shapes) > 1:
        raise ArchiveError(
            "the archives differ in weights, layers, labels, embedding or kept sources; "
            "`underpaint trim` makes layers equal"
        )
    plan = _plan(archives)
    storage = Storage(target)
    for archive in archives:
        _check_target(archive.storage, storage, list(plan))
    _check_keys(archives, plan)
    done = committed_units(str(target))
    for name, (number, unit) in plan.items():
        if name in done and done[name].content == unit.content:
            continue
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


def _with_states(group: pa.Table, layers: int) -> pa.Table:
    place = group.schema.get_field_index("states")
    states = pc.min_element_wise(group.column(place), pa.scalar(layers, pa.int32()))
    return group.set_column(place, group.schema.field(place), states)


def _letters(reader: RangeReader, unit: Commit) -> list[DeadLetter]:
    if unit.failed is None:
        return []
    groups = range(len(unit.failed.row_groups))
    tables = [reader.read(unit.failed, group, DEAD_LETTER_SCHEMA.names) for group in groups]
    return [
        DeadLetter(*values)
        for table in tables
        for values in zip(*(column.to_pylist() for column in table.columns), strict=True)
    ]


def _check_target(source: Storage, target: Storage, planned: Sequence[str]) -> None:
    if source.path("") == target.path("") and type(source.fs) is type(target.fs):
        raise UsageError(f"{target.root}: an archive cannot be written over itself")
    other = set(committed_units(target)) - set(planned)
    if other:
        raise UsageError(f"{target.root}: holds other units already, such as {min(other)!r}")


def _plan(archives: Sequence[Archive]) -> dict[str, tuple[int, Commit]]:
    """Return name in the target -> archive and unit, under its new name."""
    plan: dict[str, tuple[int, Commit]] = {}
    for number, archive in enumerate(archives):
        names: dict[str, str] = {}
        for unit in archive.manifest.units:
            name = unit.unit
            if name in plan and plan[name][1].content != unit.content:
                name = check_unit(f"{name}.archive-{number}")
            names[unit.unit] = name
        for unit in archive.manifest.units:
            name = names[unit.unit]
            retries = names.get(unit.retries, unit.retries) if unit.retries else None
            plan.setdefault(name, (number, replace(unit, unit=name, retries=retries)))
    return plan


def _check_keys(archives: Sequence[Archive], plan: Mapping[str, tuple[int, Commit]]) -> None:
    """DuplicateKey if two planned units share a key; takes 8 bytes of memory a row."""
    parts: list[np.ndarray] = []
    for number, unit in plan.values():
        if unit.data:
            reader = RangeReader(archives[number].storage)
            for group in range(len(unit.data.row_groups)):
                keys = reader.read(unit.data, group, ["key"]).column("key").to_pylist()
                hashed = (hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys)
                parts.append(np.frombuffer(b"".join(hashed), dtype="<u8"))
    if not parts:
        return
    values, counts = np.unique(np.concatenate(parts), return_counts=True)
    if (counts > 1).any():
        twice = int(values[counts > 1][0])
        for archive in archives:
            keys = archive.keys()
            for key in keys:
                digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
                if int.from_bytes(digest, "little") == twice:
                    raise DuplicateKey(f"{key}: more than one image of the archives has this key")


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
