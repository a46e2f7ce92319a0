"""Makes a sound archive from a damaged one: copies what is provably intact and names every loss.

    commit records, or the manifest's units ─┐
    unreferenced files that match the         ├─> units ─> row groups ─> rows ─> a new archive
    checksum in their own name               ─┘

Nothing is guessed. A row is kept if its key and its other fixed columns match their page checksums
and at least layer 1 passes the check of its own frame; the row keeps the layers before the first
bad one. Lost rows whose keys are readable become dead letters, so that a later run may retry their
sources.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from underpaint.codec.archive.commits import committed_units
from underpaint.codec.archive.layer_columns import by_layer
from underpaint.codec.archive.letters import read_letters
from underpaint.codec.archive.parquet.ranges import RangeReader
from underpaint.codec.archive.publishing import publish
from underpaint.codec.archive.records import Commit, FileEntry
from underpaint.codec.archive.rows import DeadLetter
from underpaint.codec.archive.salvage import Damage, salvage
from underpaint.codec.archive.schema import SOURCE, Columns
from underpaint.codec.archive.tools.leftovers import Report, find_units
from underpaint.codec.archive.tools.targets import check_no_other_files, is_same
from underpaint.codec.archive.united_reader import UnitedReader
from underpaint.codec.archive.writer import ArchiveWriter
from underpaint.codec.counts import plural
from underpaint.codec.errors import ArchiveDamaged, NotAnArchive, RowInvalid, UsageError
from underpaint.codec.storage.files import Storage

MENDED_BYTES = 100_000
"""Longest footer in which a flipped bit is searched for."""


@dataclass
class Repaired:
    """Counts of a repair: images kept whole, cut back to fewer layers, or lost; dead letters
    kept.
    """

    whole: int = 0
    cut: int = 0
    lost: int = 0
    """Only of units whose number of rows is known."""
    letters: int = 0
    """Dead letters kept, without those that represent lost rows."""
    units: int = 0
    lost_units: int = 0
    """Units of which nothing was readable: a later run encodes them again."""
    lost_keys: dict[str, str] = field(default_factory=dict, repr=False)
    """Keys of lost images, as far as they are readable, and the reasons."""
    failed: set[bytes] = field(default_factory=set, repr=False)
    """Hashes of the keys of dead letters."""
    _seen: set[bytes] = field(default_factory=set, repr=False)

    def take(self, key: str) -> bool:
        """Return whether the key is new."""
        digest = _digest(key)
        fresh = digest not in self._seen
        self._seen.add(digest)
        return fresh


def repair(
    source: str | os.PathLike[str], target: str | os.PathLike[str], report: Report
) -> Repaired:
    """Write to `target` all that is readable of the archive `source`, which is not changed.

    Each loss goes to `report` as one line. Raises NotAnArchive if nothing of an archive is found,
    UsageError if `target` is the archive itself or not empty.
    """
    storage, new = Storage(source), Storage(target)
    if is_same(storage, new):
        raise UsageError(f"{new.root}: an archive cannot be repaired in its own place")
    if committed_units(new):
        raise UsageError(f"{new.root}: holds an archive already")
    check_no_other_files(new)
    sound, adopted = find_units(storage, report)
    if not sound and not adopted:
        raise NotAnArchive(f"{storage.root}: nothing of an archive is left there")
    reader, done = UnitedReader(storage, [*sound, *adopted]), Repaired()
    labels = reader.labels
    retried = _keys(reader, adopted)
    for unit in sound:
        _repair_unit(reader, new, unit, labels, retried, done, report)
    for unit in adopted:  # its retried unit is unknown: of two rows with one key the first stays
        _repair_unit(reader, new, unit, labels, retried | done.failed, done, report)
    _write_lost(new, [*sound, *adopted], labels, done)
    publish(new)
    return done


def _keys(reader: RangeReader, units: Sequence[Commit]) -> set[bytes]:
    """Return hashes of the keys of all rows of some units, as far as they are readable."""
    found: set[bytes] = set()
    for unit in units:
        for group in range(len(unit.data.row_groups) if unit.data else 0):
            assert unit.data
            with suppress(ArchiveDamaged):
                keys = reader.read(unit.data, group, ["key"]).column("key").to_pylist()
                found.update(map(_digest, keys))
    return found


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=16).digest()


def _repair_unit(
    reader: RangeReader,
    target: Storage,
    unit: Commit,
    labels: pa.Schema,
    retried: set[bytes],
    done: Repaired,
    report: Report,
) -> None:
    """Copy the intact part of one unit; a unit without a readable file is left to be encoded again.

    Dead letters of the keys `retried` are left out.
    """
    entry = unit.data
    if entry and not _readable(reader, unit, report):
        done.lost += unit.rows
        done.lost_units += 1
        report(f"unit {unit.unit}: lost as a whole, {plural(unit.rows, 'picture')}")
        return
    done.units += 1
    with ArchiveWriter.like(target.root, unit, labels, options=target.options) as writer:
        for group in range(len(entry.row_groups) if entry else 0):
            assert entry
            table = _rescued(reader, entry, group, writer.columns, done, report)
            if table is not None and table.num_rows:
                try:
                    writer.add_group(table)
                except RowInvalid as error:
                    done.lost += table.num_rows
                    report(f"{entry.path}: row group {group}: {error}")
        for letter in _letters(reader, unit, report):
            if _digest(letter.key) not in retried:
                writer.fail(letter)
                done.failed.add(_digest(letter.key))
                done.letters += 1
        for reason, count in unit.skipped.items():
            writer.skip(reason, count)


def _write_lost(
    target: Storage, units: Sequence[Commit], labels: pa.Schema, done: Repaired
) -> None:
    """Write dead letters for lost images, in a unit of their own, which no earlier retry
    replaces.
    """
    lost = {key: why for key, why in done.lost_keys.items() if done.take(key)}
    if not lost:
        return
    name = "repair"
    while name in {unit.unit for unit in units}:
        name += "+"
    unit = replace(units[0], unit=name, retries=None, replaces=())
    with ArchiveWriter.like(target.root, unit, labels, options=target.options) as writer:
        for key, reason in lost.items():
            writer.fail(DeadLetter(key, "", "repair", "ArchiveDamaged", reason))


def _readable(reader: RangeReader, unit: Commit, report: Report) -> bool:
    """Return whether the data file has the committed footer, or differs from it by one flipped bit.

    A footer's numbers have no checksums of their own: with a wrong one, intact pages could be read
    as those of another column. So the footer is corrected to match its SHA-256, or not used.
    """
    assert unit.data
    try:
        reader.footer(unit.data)
        return True
    except ArchiveDamaged as error:
        report(str(error))
    with suppress(ArchiveDamaged, FileNotFoundError):
        size = reader.storage.size(unit.data.path)
        if size == unit.data.bytes:
            tail = reader.storage.read_range(unit.data.path, size - unit.data.footer_bytes, size)
            mended = mended_bit(tail, unit.data.footer_sha256)
            if mended is not None:
                reader.use_footer(unit.data, mended)
                report(f"{unit.data.path}: one bit of its footer was flipped, and is mended")
                return True
    return False


def mended_bit(data: bytes, sha256: str) -> bytes | None:
    """Return the bytes with the one bit flipped that gives them this SHA-256; None if there is
    none.

    Takes a few seconds for a footer of 20 kB, and is not tried for those over 100 kB.
    """
    if len(data) > MENDED_BYTES:
        return None
    trial = bytearray(data)
    before = hashlib.sha256()
    for at in range(len(trial)):
        for bit in range(8):
            trial[at] ^= 1 << bit
            digest = before.copy()
            digest.update(memoryview(trial)[at:])
            if digest.hexdigest() == sha256:
                return bytes(trial)
            trial[at] ^= 1 << bit
        before.update(trial[at : at + 1])
    return None


def _rescued(
    reader: RangeReader,
    entry: FileEntry,
    group: int,
    columns: Columns,
    done: Repaired,
    report: Report,
) -> pa.Table | None:
    """Return the intact rows of one row group in the columns of the archive; None if there are
    none.
    """
    schema = columns.schema()
    rows = entry.row_groups[group]
    cut: set[str] = set()

    def damage(found: Damage) -> None:
        report(str(found))
        if found.key is not None:
            if found.layer is None:
                done.lost_keys[found.key] = found.reason
            else:
                cut.add(found.key)

    optional = ["metadata", *columns.labels.names, *([SOURCE] if columns.keeps_source else [])]
    needed = [name for name in schema.names if name not in optional]
    error = ArchiveDamaged(f"{entry.path}: row group {group}: its keys cannot be read")
    found = salvage(reader, entry, group, needed, error, damage)
    if found is None:
        done.lost += rows
        return None
    table, places = found
    arrays = {name: table.column(name) for name in needed}
    for name in optional:
        try:
            arrays[name] = reader.read(entry, group, [name]).column(name).take(pa.array(places))
        except ArchiveDamaged as why:
            report(f"{entry.path}: row group {group}: column {name!r} is lost: {why}")
            arrays[name] = pa.nulls(table.num_rows, schema.field(name).type)
    whole = _with_states(pa.table([arrays[name] for name in schema.names], schema=schema))
    keys = whole.column("key").to_pylist()
    fresh = np.array([done.take(key) for key in keys], bool)
    for key in (key for key, new in zip(keys, fresh, strict=True) if not new):
        report(f"{entry.path}: picture {key!r} is there more than once: the first is kept")
    kept_cut = len(cut & {key for key, new in zip(keys, fresh, strict=True) if new})
    done.cut += kept_cut
    done.whole += int(fresh.sum()) - kept_cut
    done.lost += rows - len(keys)
    return whole.filter(pa.array(fresh))


def _with_states(table: pa.Table) -> pa.Table:
    """Return the table with `states`, the number of layers of each row, recomputed."""
    there = [
        [~np.asarray(table.column(name).is_null()) for name in names]
        for names in by_layer(table.column_names)
    ]
    states = sum(np.any(columns, 0).astype(np.int32) for columns in there)
    place = table.schema.get_field_index("states")
    return table.set_column(place, table.schema.field(place), pa.array(states, pa.int32()))


def _letters(reader: RangeReader, unit: Commit, report: Report) -> Iterator[DeadLetter]:
    """Yield the readable dead letters."""
    groups: Sequence[int] = range(len(unit.failed.row_groups)) if unit.failed else ()
    for group in groups:
        assert unit.failed
        try:
            yield from read_letters(reader, unit.failed, group)
        except ArchiveDamaged as error:
            report(f"{error}: {unit.failed.row_groups[group]:,} dead letters are lost")
