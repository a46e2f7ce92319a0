"""Makes the keys of an archive unique where units that were written separately share some.

Two jobs that run at the same time, or two parts of one table that states its keys, can commit rows
of one key. Before such commits are published, rows of a lower generation than a row of their key
that supersedes are left out: that row replaces them. The others are ordered by source URI. The
first keeps the key. A later row that repeats an earlier one (same source, bytes and labels) is left
out. Any other row gets a key with a hash of its source URI, and a note that says so.

    commits/U.json          stays: its dead letters count, its rows no longer do
    commits/U.keys1.json    replaces U: the same rows, without those left out, others under new keys

The outcome depends on the commits only, so it does not change with kills and repeated runs.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from underpaint.codec import limits
from underpaint.codec.archive.key_hashes import RepeatedKeys, hashes_of
from underpaint.codec.archive.parquet.ranges import RangeReader
from underpaint.codec.archive.records import Commit, Manifest
from underpaint.codec.archive.schema import label_fields
from underpaint.codec.archive.writer import ArchiveWriter
from underpaint.codec.errors import ArchiveDamaged, UnitConflict
from underpaint.codec.storage.files import Storage
from underpaint.codec.storage.redaction import redacted

RENAMED = "renamed: "
"""Begin of the note of a row that is stored under another key than its own."""

LONGEST_SUFFIX = 32
"""Longest file suffix that a new key keeps, in bytes."""

_REWRITTEN = re.compile(r"(?P<unit>.+)\.keys(?P<number>\d+)")


@dataclass(frozen=True, order=True)
class _Occurrence:
    """A row whose key occurs more than once."""

    source_uri: str
    sha256: str
    """Of the source, in hex; "" if unknown."""
    labels: str
    """Names and values of the labels as text, without nulls."""
    unit: str
    generation: int
    supersedes: bool
    """Whether the row replaces those of lower generations."""

    def repeats(self, other: _Occurrence) -> bool:
        """Return whether both rows hold the same record of the same source."""
        mine, theirs = ((r.source_uri, r.sha256, r.labels) for r in (self, other))
        return bool(self.sha256) and mine == theirs


def key_for(key: str, uri: str, digits: int = 8) -> str:
    """Return a key for a picture whose own key is taken: with a hash of its URI.

    "IMG_0001.jpg" becomes, for example, "IMG_0001-1a2b3c4d.jpg". The result is valid if `key` is.
    """
    stem, suffix = posixpath.splitext(key)
    if len(suffix.encode()) > LONGEST_SUFFIX:
        stem, suffix = key, ""
    digest = hashlib.blake2b(redacted(uri).encode("utf-8", "surrogateescape")).hexdigest()
    mark = f"-{digest[:digits]}{suffix}"
    room = limits.MAX_KEY_BYTES - len(mark.encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + mark


def note_of(key: str) -> str:
    """Return the note of a row that was stored under another key than `key`, its own."""
    return f"{RENAMED}the key {json.dumps(key, ensure_ascii=False)} belongs to another picture"


def rewrite_conflicting(
    storage: Storage,
    manifest: Manifest,
    published: Collection[str],
    report: Callable[[str], None],
) -> bool:
    """Commit replacements of units whose keys occur elsewhere; return whether there were any.

    Keys are read only of units whose ranges of keys overlap, and where at least one of them is not
    in `published`, the paths of data files whose keys are known to be unique. Memory is bounded
    except for the rows in conflict. A unit whose keys cannot be read is left alone.
    """
    units = _suspects(manifest.units, published)
    if not units:
        return False
    reader = RangeReader(storage)
    with RepeatedKeys() as keys:
        for unit in units:
            for _, hashes, _ in _key_groups(reader, unit):
                keys.add(hashes)
        repeated = keys.repeated()
    if not len(repeated):
        return False
    changes = _decided(_occurrences(reader, units, repeated), report)
    rewritten = [
        _rewrite(storage, reader, unit, changes[unit.unit], report)
        for unit in units
        if unit.unit in changes
    ]
    return any(rewritten)


def _suspects(units: Sequence[Commit], published: Collection[str]) -> list[Commit]:
    """Return the units whose range of keys overlaps that of another, unless all are published."""
    ordered = sorted(
        (unit.first_key, unit.last_key, unit.unit, unit)
        for unit in units
        if unit.data and unit.first_key is not None and unit.last_key is not None
    )
    suspects: list[Commit] = []
    cluster: list[Commit] = []
    end = ""

    def close() -> None:
        if len(cluster) > 1 and any(u.data and u.data.path not in published for u in cluster):
            suspects.extend(cluster)
        cluster.clear()

    for first, last, _, unit in ordered:
        if cluster and first > end:
            close()
        end = max(end, last) if cluster else last
        cluster.append(unit)
    close()
    return suspects


def _key_groups(
    reader: RangeReader, unit: Commit
) -> Iterator[tuple[int, np.ndarray, pa.ChunkedArray]]:
    """Yield the index, hashes and keys of each row group that can be read."""
    assert unit.data
    for group in range(len(unit.data.row_groups)):
        with suppress(ArchiveDamaged):
            keys = reader.read(unit.data, group, ["key"]).column("key")
            yield group, hashes_of(keys.to_pylist()), keys


def _occurrences(
    reader: RangeReader, units: Sequence[Commit], repeated: np.ndarray
) -> dict[str, list[_Occurrence]]:
    """Return the rows of each key that occurs more than once."""
    found: defaultdict[str, list[_Occurrence]] = defaultdict(list)
    for unit in units:
        assert unit.data
        columns = ["key", "source_uri", "source_sha256", *(name for name, _ in unit.labels)]
        for group, hashes, _ in _key_groups(reader, unit):
            hit = np.flatnonzero(np.isin(hashes, repeated))
            with suppress(ArchiveDamaged):
                rows = reader.read(unit.data, group, columns) if len(hit) else None
                for row in rows.take(pa.array(hit)).to_pylist() if rows else ():
                    key, uri, sha256 = (row.pop(name) for name in columns[:3])
                    digest = (sha256 or b"").hex()
                    labels = {name: value for name, value in row.items() if value is not None}
                    place = (unit.unit, unit.generation, unit.supersedes)
                    found[key].append(_Occurrence(uri, digest, repr(labels), *place))
    return {key: rows for key, rows in found.items() if len(rows) > 1}


def _decided(
    conflicts: Mapping[str, Sequence[_Occurrence]], report: Callable[[str], None]
) -> dict[str, dict[str, str | None]]:
    """Return unit -> key -> new key (None: leave the row out)."""
    changes: defaultdict[str, dict[str, str | None]] = defaultdict(dict)
    for key, rows in sorted(conflicts.items()):
        kept: list[_Occurrence] = []
        latest = max((row.generation for row in rows if row.supersedes), default=0)
        for row in sorted(rows):
            if row.generation < latest:
                changes[row.unit][key] = None
                continue
            if any(row.repeats(other) for other in kept):
                changes[row.unit][key] = None
                continue
            if kept:
                new = _new_key(key, row, kept)
                changes[row.unit][key] = new
                report(f"{key}: the key of several sources; {row.source_uri} is stored as {new}")
            kept.append(row)
    return dict(changes)


def _new_key(key: str, row: _Occurrence, kept: Sequence[_Occurrence]) -> str:
    basis = row.source_uri
    if any(other.source_uri == basis for other in kept):  # other records of the same shard
        basis = f"{basis} {row.sha256} {row.labels} {row.unit if not row.sha256 else ''}"
    new = key_for(key, basis)
    return new if new != key else key_for(key, f"{key} {basis}", digits=16)


def _rewrite(
    storage: Storage,
    reader: RangeReader,
    unit: Commit,
    changes: Mapping[str, str | None],
    report: Callable[[str], None],
) -> bool:
    """Commit a unit in place of another, with some rows renamed or left out.

    Returns False if the unit is damaged. If another publisher has committed the same name with
    other changes, that commit stands, and the caller has to compare the keys again.
    """
    assert unit.data
    target = replace(unit, unit=_next_name(unit.unit), retries=None, replaces=unit.unit)
    try:
        schema = reader.footer(unit.data).schema
        labels = label_fields(schema)
        writer = ArchiveWriter.like(storage.root, target, labels, options=storage.options)
        with suppress(UnitConflict), writer:
            for group in range(len(unit.data.row_groups)):
                table = _renamed(reader.read(unit.data, group, schema.names), changes)
                if table.num_rows:
                    writer.add_group(table)
    except ArchiveDamaged as error:
        report(f"keys of several rows stay: {error}")
        return False
    return True


def original_unit(name: str) -> str:
    """Return the unit that a rewritten unit stems from; the name itself for other units."""
    found = _REWRITTEN.fullmatch(name)
    return found["unit"] if found else name


def _next_name(unit: str) -> str:
    found = _REWRITTEN.fullmatch(unit)
    return f"{original_unit(unit)}.keys{int(found['number']) + 1 if found else 1}"


def _renamed(table: pa.Table, changes: Mapping[str, str | None]) -> pa.Table:
    """Return a row group with some rows renamed or left out."""
    kept = [changes.get(key, key) is not None for key in table.column("key").to_pylist()]
    table = table.filter(pa.array(kept))
    keys, notes = table.column("key").to_pylist(), table.column("notes").to_pylist()
    for row, key in enumerate(keys):
        if key in changes:
            keys[row], notes[row] = changes[key], [*notes[row], note_of(key)]
    for name, values in (("key", keys), ("notes", notes)):
        place = table.schema.get_field_index(name)
        item = table.schema.field(place)
        table = table.set_column(place, item, pa.array(values, item.type))
    return table
