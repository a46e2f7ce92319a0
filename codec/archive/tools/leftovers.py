"""Finds the units of an archive whose records are damaged, from files that prove themselves.

A commit record and the manifest have a checksum. A file's name contains 16 digits of its SHA-256:
an
unreferenced file that matches its name was finished, and holds rows of its unit.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa

from underpaint.codec.archive.commits import read_commit
from underpaint.codec.archive.label_columns import names_of
from underpaint.codec.archive.layer_columns import by_layer, layer_column, sizes_in
from underpaint.codec.archive.manifest import read_manifest
from underpaint.codec.archive.parquet.footer import parse_footer
from underpaint.codec.archive.parquet.ranges import REQUEST_BYTES, RangeReader
from underpaint.codec.archive.records import COMMITS, DATA, FAILED, Commit, FileEntry, Shared
from underpaint.codec.archive.schema import (
    EMBEDDING,
    SOURCE,
    label_fields,
)
from underpaint.codec.archive.units import Units
from underpaint.codec.errors import ArchiveDamaged, ArchiveError, UsageError
from underpaint.codec.storage.files import TEMPORARY_PREFIX, Storage

Report = Callable[[str], None]

_NAME = re.compile(r"(?P<unit>[A-Za-z0-9][A-Za-z0-9._=+@-]{0,159})-(?P<sha>[0-9a-f]{16})\.parquet")


def find_units(storage: Storage, report: Report) -> tuple[list[Commit], list[Commit]]:
    """Return the units that an intact record names, and those known from intact files alone."""
    units: dict[str, Commit] = {}
    try:
        units = {unit.unit: unit for unit in read_manifest(storage).units}
    except (ArchiveError, UsageError) as error:
        report(f"manifest: {error}")
    for name in storage.names(COMMITS):
        unit = name.removesuffix(".json")
        if name.startswith(TEMPORARY_PREFIX) or unit in units:
            continue
        try:
            commit = read_commit(storage, unit)
            if commit.unit != unit:
                raise ArchiveDamaged(f"{COMMITS}/{name}: names unit {commit.unit!r}")
            units[unit] = commit
        except (ArchiveError, UsageError) as error:
            report(f"commit record: {error}")
    known = {entry.path for unit in units.values() for entry in (unit.data, unit.failed) if entry}
    replaced = {name for commit in units.values() for name in commit.replaces}
    adopted: list[Commit] = []
    for unit, found in sorted(_unnamed(storage, known, report).items()):
        if unit in units:
            if unit not in replaced:
                report(f"unit {unit}: files that its record does not name: left out")
            continue
        template = next(iter([*units.values(), *adopted]), None)
        try:
            adopted.append(_adopted(storage, unit, found, template))
            report(f"unit {unit}: its commit record is lost; its files are whole")
        except ArchiveDamaged as error:
            report(str(error))
    found_units = [*(units[name] for name in sorted(units)), *adopted]
    kept = list(Units.of(_of_one_archive(found_units, report)))
    return [unit for unit in kept if unit.unit in units], [u for u in kept if u.unit not in units]


def _of_one_archive(units: list[Commit], report: Report) -> list[Commit]:
    """Leave out units whose columns or weights differ from those of most rows."""
    rows: dict[Shared, int] = {}
    for unit in units:
        rows[unit.shared] = rows.get(unit.shared, 0) + unit.rows
    if not rows:
        return []
    shared = max(rows, key=lambda shared: rows[shared])
    for unit in units:
        if unit.shared != shared:
            report(f"unit {unit.unit}: of other weights, layers or columns: left out")
    return [unit for unit in units if unit.shared == shared]


def _unnamed(
    storage: Storage, known: set[str], report: Report
) -> dict[str, dict[str, list[FileEntry]]]:
    """Return the intact files that no intact record names: unit -> folder -> files."""
    found: dict[str, dict[str, list[FileEntry]]] = {}
    for folder in (DATA, FAILED):
        for name in storage.names(folder):
            path = f"{folder}/{name}"
            named = _NAME.fullmatch(name)
            if path in known:
                continue
            if not named:
                report(f"{path}: unfinished, or no file of an archive: left out")
                continue
            try:
                entry = entry_of(storage, path)
            except ArchiveDamaged as error:
                report(str(error))
                continue
            if not entry.sha256.startswith(named["sha"]):
                report(f"{path}: no record names it and it is not what its name says: left out")
                continue
            found.setdefault(named["unit"], {}).setdefault(folder, []).append(entry)
    return found


def entry_of(storage: Storage, path: str) -> FileEntry:
    """Return the entry that a commit record would have for a file; ArchiveDamaged if it is none."""
    size = storage.size(path)
    digest = hashlib.sha256()
    for start in range(0, size, REQUEST_BYTES):
        digest.update(storage.read_range(path, start, min(start + REQUEST_BYTES, size)))
    length = 8 + int.from_bytes(storage.read_range(path, max(0, size - 8), size)[:4], "little")
    if not 12 <= length <= size:
        raise ArchiveDamaged(f"{path}: cut, or no Parquet file: it has no footer")
    tail = storage.read_range(path, size - length, size)
    try:
        rows = tuple(group.rows for group in parse_footer(tail).groups)
    except ArchiveDamaged as error:
        raise ArchiveDamaged(f"{path}: {error}") from None
    return FileEntry(path, size, digest.hexdigest(), length, hashlib.sha256(tail).hexdigest(), rows)


def _adopted(
    storage: Storage, unit: str, found: dict[str, list[FileEntry]], template: Commit | None
) -> Commit:
    """Return a commit for files whose record is lost; names known only to the record come from
    `template`.

    Of several files of one folder (left by killed writers) the one with the most rows is taken.
    """
    data, failed = (
        max(found.get(folder, []), key=lambda entry: entry.rows, default=None)
        for folder in (DATA, FAILED)
    )
    base = template
    if base is None or data is not None:
        if data is None:
            raise ArchiveDamaged(f"unit {unit}: dead letters alone do not tell of what archive")
        reader = RangeReader(storage)
        schema = reader.footer(data).schema
        weights = reader.read(data, 0, ["weights_id"]).column("weights_id")[0].as_py()
        layers = len(by_layer(schema.names))
        names = tuple(layer_column(layer) for layer in range(layers))
        if template is not None and len(template.layer_names) == layers:
            names = template.layer_names
        size = schema.field(EMBEDDING).type.list_size if EMBEDDING in schema.names else None
        base = Commit(
            unit=unit,
            weights_id=weights,
            layer_names=names,
            labels=template.labels
            if template is not None and _are_labels(schema, template.labels)
            else names_of(label_fields(schema)),
            embedding_size=size,
            extractor=template.extractor if template is not None and size else None,
            keeps_source=SOURCE in schema.names,
            metadata=template.metadata if template is not None else "basic",
            sizes=sizes_in(schema.names),
            content="0" * 64,
        )
    plain = replace(base, retries=None, replaces=(), generation=0, supersedes=False)
    return replace(plain, unit=unit, data=data, failed=failed)


def _are_labels(schema: pa.Schema, labels: tuple[tuple[str, str], ...]) -> bool:
    """Return whether the labels of a data file are these; Parquet renames the items of lists."""
    found = [(label.name, _plain(str(label.type))) for label in label_fields(schema)]
    return found == [(name, _plain(kind)) for name, kind in labels]


def _plain(kind: str) -> str:
    return re.sub(r"<(item|element): ", "<", kind)
