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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from underpaint.codec import limits
from underpaint.codec.archive.key_hashes import RepeatedKeys, hashes_of
from underpaint.codec.archive.parquet.ranges import RangeReader
from underpaint.codec.archive.records import Commit
from underpaint.codec.archive.schema import label_fields
from underpaint.codec.archive.units import Units
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


class _Renaming(NamedTuple):
    """A row that gets another key: its source, and the key that it gets if that is free."""

    source_uri: str
    key: str


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
    storage: Storage, units: Units, published: Units, report: Callable[[str], None]
) -> bool:
    """Commit replacements of units whose keys occur elsewhere; return whether there were any.

    Keys of `published` units are known to be unique. Keys are read only of other units, and of
    those whose ranges of keys overlap theirs. Memory is bounded except for the rows in conflict. A
    unit whose keys cannot be read is left alone.
    """
    names = overlapping(units, published)
    if not len(names):
        return False

    def suspects() -> Iterator[Commit]:
        return units.where(["unit"], lambda table: pc.is_in(table.column("unit"), value_set=names))

    reader = RangeReader(storage)
    with RepeatedKeys() as keys:
        for unit in suspects():
            for _, hashes, _ in _key_groups(reader, unit):
                keys.add(hashes)
        repeated = keys.repeated()
    if not len(repeated):
        return False
    changes = _decided(_occurrences(reader, suspects(), repeated))
    rewritten = [
        _rewrite(storage, reader, unit, changes[unit.unit], report)
        for unit in suspects()
        if unit.unit in changes
    ]
    return any(rewritten)


def overlapping(units: Units, published: Units) -> pa.Array:
    """Return the names of the units whose keys have to be compared.

    These are the units that are not published and whose range of keys overlaps that of another, and
    the units with which they overlap.
    """
    there = pc.and_(units.column("data_bytes").is_valid(), units.column("first_key").is_valid())
    names = units.column("unit").filter(there)
    known = published.column("unit").filter(published.column("data_bytes").is_valid())
    new = ~pc.is_in(names, value_set=known.combine_chunks()).to_numpy()
    if not new.any():
        return pa.array([], pa.string())
    first, last = (units.column(name).filter(there) for name in ("first_key", "last_key"))
    ranks = pc.rank(pa.chunked_array([*first.chunks, *last.chunks]), tiebreaker="dense").to_numpy()
    first, last = ranks[: len(names)].astype(np.int64), ranks[len(names) :].astype(np.int64)
    starts, ends = _joined(first[new], last[new])
    begin, end = np.searchsorted(ends, first), np.searchsorted(starts, last, side="right")
    inside = begin < end  # ranges that overlap the joined ranges number `begin` to `end`
    steps = np.zeros(len(starts) + 1, np.int64)
    np.add.at(steps, begin[inside], 1)
    np.add.at(steps, end[inside], -1)
    shared = np.cumsum(steps)[:-1] > 1
    before = np.concatenate([[0], np.cumsum(shared)])
    chosen = inside & (before[end] > before[np.minimum(begin, end)])
    return names.filter(pa.array(chosen)).combine_chunks()


def _joined(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the starts and ends, in order, of the unions of ranges that overlap."""
    order = np.argsort(first, kind="stable")
    first, reach = first[order], np.maximum.accumulate(last[order])
    begins = np.flatnonzero(np.concatenate([[True], first[1:] > reach[:-1]]))
    return first[begins], reach[np.concatenate([begins[1:], [len(first)]]) - 1]


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
    reader: RangeReader, units: Iterable[Commit], repeated: np.ndarray
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
    conflicts: Mapping[str, Sequence[_Occurrence]],
) -> dict[str, dict[str, _Renaming | None]]:
    """Return unit -> key -> its renaming (None: leave the row out)."""
    changes: defaultdict[str, dict[str, _Renaming | None]] = defaultdict(dict)
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
                changes[row.unit][key] = _Renaming(row.source_uri, _new_key(key, row, kept))
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
    changes: Mapping[str, _Renaming | None],
    report: Callable[[str], None],
) -> bool:
    """Commit a unit in place of another, with some rows renamed or left out.

    Returns False if the unit is damaged. If another publisher has committed the same name with
    other changes, that commit stands, and the caller has to compare the keys again.
    """
    assert unit.data
    target = replace(unit, unit=_next_name(unit.unit), retries=None, replaces=(unit.unit,))
    try:
        schema = reader.footer(unit.data).schema
        labels = label_fields(schema)
        writer = ArchiveWriter.like(storage.root, target, labels, options=storage.options)
        keys = _new_keys(changes, reader, unit, report)
        with suppress(UnitConflict), writer:
            for group in range(len(unit.data.row_groups)):
                table = _renamed(reader.read(unit.data, group, schema.names), keys)
                if table.num_rows:
                    writer.add_group(table)
    except ArchiveDamaged as error:
        report(f"keys of several rows stay: {error}")
        return False
    return True


def _new_keys(
    changes: Mapping[str, _Renaming | None],
    reader: RangeReader,
    unit: Commit,
    report: Callable[[str], None],
) -> dict[str, str | None]:
    """Return key -> new key (None: leave the row out); no other row of the unit has a new key."""
    taken = {key for *_, keys in _key_groups(reader, unit) for key in keys.to_pylist()}
    found: dict[str, str | None] = {}
    for key, renaming in sorted(changes.items()):
        if renaming is None:
            found[key] = None
            continue
        new, number = renaming.key, 1
        while new in taken:
            number += 1
            new = key_for(key, f"{renaming.key} {number}")
        taken.add(new)
        found[key] = new
        report(f"{key}: the key of several sources; {renaming.source_uri} is stored as {new}")
    return found


def _next_name(unit: str) -> str:
    found = _REWRITTEN.fullmatch(unit)
    return f"{found['unit']}.keys{int(found['number']) + 1}" if found else f"{unit}.keys1"


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
