"""Joins small data files of an archive into larger ones, in place; nothing is decoded.

    commits/U1.json, U2.json, …        stay: they say which inputs are done, and count dead letters
    commits/U1.pack1.json              replaces them: the same rows, in one data file

Rows, keys, their order and the bytes of layers stay as they are. The joined file is committed like
any unit, then the manifest is published, then the small files are deleted. A run that is killed
leaves the archive as it was before or after one of these steps, and the next run continues.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from underpaint.codec.archive.label_columns import parse_type
from underpaint.codec.archive.parquet.ranges import RangeReader, blob_bytes
from underpaint.codec.archive.publishing import publish
from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.records import DATA, Commit, original_unit, unit_of_path
from underpaint.codec.archive.schema import is_blob, label_fields
from underpaint.codec.archive.units import Units
from underpaint.codec.archive.writer import ROW_GROUP_BYTES, ROW_GROUP_LIMIT, ArchiveWriter
from underpaint.codec.errors import UsageError
from underpaint.codec.storage.files import Storage

TARGET_BYTES = 256 << 20
"""Default size of a joined data file."""

_LONGEST_NAME = 160


@dataclass(frozen=True)
class Compacted:
    """Numbers of data files."""

    before: int
    after: int
    joined: int
    """Files whose rows are in joined files now."""
    deleted: int
    """Files that were deleted, those included that an earlier run had left."""


def compact(
    root: str | os.PathLike[str],
    target_bytes: int = TARGET_BYTES,
    *,
    keep: bool = False,
    options: Mapping[str, Any] | None = None,
    report: Callable[[int, int], None] = lambda done, files: None,
) -> Compacted:
    """Join data files of less than half of `target_bytes` into files of at most `target_bytes`.

    Only neighbours in the order of the archive are joined, and only those with the same label
    columns; those that supersede others, only if they are of one generation. A joined unit has the
    latest generation of its parts, so that no row is replaced that was written after another run
    began. Jobs that add to the archive may run at the same time, another `compact` may not. A
    reader that opened the archive before has to open it again, unless `keep` leaves the small files
    to `sweep`, or to the next `compact` without it. `report` is called with the number of files
    joined so far, and of all that will be. Raises NotAnArchive, ArchiveDamaged for a file that
    cannot be read, or UsageError.
    """
    if target_bytes < 1:
        raise UsageError(f"a data file of {target_bytes} bytes")
    storage = Archive.open(root, options).storage
    units = publish(storage).units
    before = len(units.files)
    groups = list(_groups(units, target_bytes))
    files, done = sum(len(names) for _, names in groups), 0
    reader = RangeReader(storage)
    for name, names in groups:
        _join(storage, reader, units, name, names)
        done += len(names)
        report(done, files)
    units = publish(storage).units
    deleted = 0 if keep else _delete_replaced(storage, units)
    return Compacted(before, len(units.files), done, deleted)


def _groups(units: Units, target_bytes: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each joined unit and the names of the units that it replaces."""
    there = units.column(f"{DATA}_bytes").is_valid()
    columns = ("unit", f"{DATA}_bytes", "labels", "generation", "supersedes")
    names, *values = (units.column(name).filter(there).to_pylist() for name in columns)
    sizes, labels, generations, supersedes = values
    orders = [g if above else 0 for g, above in zip(generations, supersedes, strict=True)]
    kinds = list(zip(labels, orders, supersedes, strict=True))
    start = 0
    while start < len(names):
        stop, total = start, 0
        while (
            stop < len(names)
            and sizes[stop] < target_bytes / 2
            and kinds[stop] == kinds[start]
            and total + sizes[stop] <= target_bytes
        ):
            total += sizes[stop]
            stop += 1
        name = _joined_name(names, start, stop) if stop - start > 1 else ""
        if name:
            yield name, names[start:stop]
        start = stop if name else start + 1


def _joined_name(names: Sequence[str], start: int, stop: int) -> str:
    """Return a name whose place in the order is that of names[start:stop]; "" if there is none."""
    base, number = original_unit(names[start]), 1
    while f"{base}.pack{number:03d}" <= names[start] and number < 1000:
        number += 1
    name = f"{base}.pack{number:03d}"
    fits = names[start] < name and (stop == len(names) or name < names[stop])
    return name if fits and len(name) <= _LONGEST_NAME else ""


def _join(
    storage: Storage, reader: RangeReader, units: Units, name: str, names: Sequence[str]
) -> None:
    """Commit one unit with the rows of others."""
    wanted = pa.array(names, pa.string())
    commits = list(
        units.where(["unit"], lambda table: pc.is_in(table.column("unit"), value_set=wanted))
    )
    assert commits[0].data
    schema = _schema(reader, commits[0])
    joined = replace(
        commits[0],
        unit=name,
        retries=None,
        replaces=tuple(names),
        roots={},
        generation=max(commit.generation for commit in commits),
    )
    writer = ArchiveWriter.like(storage.root, joined, label_fields(schema), options=storage.options)
    with writer:
        for table in _row_groups(reader, commits, schema):
            writer.add_group(table)


def _schema(reader: RangeReader, commit: Commit) -> pa.Schema:
    """Return the columns of a unit's data file, labels with the types that its commit states.

    They have the same values: Parquet gives the items of lists another name.
    """
    assert commit.data
    schema = reader.footer(commit.data).schema
    for name, kind in commit.labels:
        with suppress(UsageError):
            stated = pa.field(name, parse_type(kind))
            if str(stated.type) == kind:
                schema = schema.set(schema.get_field_index(name), stated)
    return schema


def _row_groups(
    reader: RangeReader, commits: Sequence[Commit], schema: pa.Schema
) -> Iterator[pa.Table]:
    """Yield the rows of some units in row groups of the size that a writer gives them."""
    held: list[pa.Table] = []
    coarse = total = 0
    blobs = [name for name in schema.names if is_blob(name)]
    for commit in commits:
        assert commit.data
        for group in range(len(commit.data.row_groups)):
            table = reader.read(commit.data, group, schema.names).cast(schema)
            sizes = [blob_bytes(table, name) for name in blobs]
            if held and (
                coarse + sizes[0] > ROW_GROUP_BYTES or total + sum(sizes) > ROW_GROUP_LIMIT
            ):
                yield pa.concat_tables(held).combine_chunks()
                held, coarse, total = [], 0, 0
            held.append(table)
            coarse, total = coarse + sizes[0], total + sum(sizes)
    if held:
        yield pa.concat_tables(held).combine_chunks()


def _delete_replaced(storage: Storage, units: Units) -> int:
    """Delete the data files of units whose rows others hold; return their number."""
    rowless = units.column("unit").filter(units.column(f"{DATA}_bytes").is_null())
    replaced = rowless.filter(pc.is_in(rowless, value_set=units.replaced))
    paths = [f"{DATA}/{name}" for name in storage.file_names(DATA)]
    owners = pa.array([unit_of_path(path) for path in paths], pa.string())
    gone = pc.is_in(owners, value_set=replaced.combine_chunks()).to_pylist()
    for path, superseded in zip(paths, gone, strict=True):
        if superseded:
            storage.delete(path)
    return sum(gone)
