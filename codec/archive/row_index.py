"""Finds rows by key or by number, and the positions of their blobs.

    key ─> hash ─> data file, row ─> row group ─> positions of its blobs

The index of a data file is built when one of its rows is first asked for, from the columns `key`
and `blob_bytes` and from Parquet's page index. Only the lengths of blobs are stored for it: keys
are in the file anyway, and reading them once costs less than storing their hashes.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from underpaint.codec.archive.key_hashes import hashes_of
from underpaint.codec.archive.parquet.ranges import RangeReader
from underpaint.codec.archive.parquet.values import ValuePlaces, value_places
from underpaint.codec.archive.records import DATA, FileEntry
from underpaint.codec.archive.row_numbers import RowNumbers
from underpaint.codec.archive.schema import BLOB_BYTES, blob_lengths, is_blob
from underpaint.codec.archive.units import Units
from underpaint.codec.errors import ArchiveDamaged

INDEX_BYTES = 256 << 20
"""Memory of the indices of all files together; those used longest ago are dropped."""

FILES_AT_ONCE, GROUPS_AT_ONCE = 4, 8
"""Number of files, and of row groups in each, whose index is fetched at the same time."""

_T = TypeVar("_T")


@dataclass(frozen=True, order=True)
class Place:
    """Where a row is stored: index into the data files, row group in the file, row in the group."""

    file: int
    group: int
    row: int


@dataclass(frozen=True)
class FileIndex:
    """The index of one data file."""

    entry: FileEntry
    hashes: np.ndarray
    """uint64 [rows], sorted; rows of damaged row groups are missing."""
    order: np.ndarray
    """Unsigned [rows]: row in the file of each hash."""
    starts: tuple[int, ...]
    """First row of each row group."""
    places: tuple[Mapping[str, ValuePlaces] | None, ...]
    """For each row group, the positions of the values of its blob columns; None if unknown."""
    damage: ArchiveDamaged | None
    """Error of the first row group whose keys cannot be read."""

    @property
    def nbytes(self) -> int:
        """Memory of the arrays in bytes."""
        chunks = (one for group in self.places if group for one in group.values())
        return self.hashes.nbytes + self.order.nbytes + sum(one.nbytes for one in chunks)

    def rows_of(self, wanted: int) -> list[tuple[int, int]]:
        """Return row group and row of the rows whose keys have a hash."""
        first, last = (
            int(np.searchsorted(self.hashes, np.uint64(wanted), side=side))
            for side in ("left", "right")
        )
        return [self.row(int(one)) for one in self.order[first:last]]

    def row(self, number: int) -> tuple[int, int]:
        """Return row group, and row in it, of a row of the file."""
        group = bisect_right(self.starts, number) - 1
        return group, number - self.starts[group]


def load_index(reader: RangeReader, entry: FileEntry) -> FileIndex:
    """Build the index of a data file; ArchiveDamaged if its footer is damaged."""
    blobs = [name for name in reader.footer(entry).schema.names if is_blob(name)]
    pages = reader.blob_pages(entry, blobs)

    def load(group: int) -> tuple[np.ndarray, np.ndarray | None, ArchiveDamaged | None]:
        try:
            return _keys_and_lengths(reader, entry, group, blobs)
        except ArchiveDamaged as error:
            return np.zeros(0, np.uint64), None, error

    groups = range(len(entry.row_groups))
    read = _mapped(load, groups, 1 if reader.storage.is_local else GROUPS_AT_ONCE)
    starts = (0, *accumulate(entry.row_groups))[:-1]
    hashes = np.concatenate([found for found, _, _ in read])
    rows = np.concatenate([np.arange(len(r[0])) + at for r, at in zip(read, starts, strict=True)])
    order = np.argsort(hashes, kind="stable")
    places = [
        {
            name: value_places(lengths[:, at], pages_of[name])
            for at, name in enumerate(blobs)
        }
        if lengths is not None and pages_of is not None
        else None
        for (_, lengths, _), pages_of in zip(read, pages, strict=True)
    ]  # fmt: skip
    narrow = np.min_scalar_type(max(1, entry.rows - 1))
    damage = next((error for _, _, error in read if error), None)
    return FileIndex(
        entry, hashes[order], rows[order].astype(narrow), starts, tuple(places), damage
    )


def _keys_and_lengths(
    reader: RangeReader, entry: FileEntry, group: int, blobs: Sequence[str]
) -> tuple[np.ndarray, np.ndarray | None, None]:
    """Return hashes of the keys of a row group, and the lengths of its blobs if they are sound."""
    try:
        table = reader.read(entry, group, ["key", BLOB_BYTES])
        lengths = blob_lengths(table.column(BLOB_BYTES), len(blobs))
    except ArchiveDamaged:
        table, lengths = reader.read(entry, group, ["key"]), None
    return hashes_of(table.column("key").to_pylist()), lengths, None


class RowIndex:
    """Finds rows of an archive; the indices of its files are built at their first use.

    It is thread-safe.
    """

    def __init__(self, reader: RangeReader, units: Units) -> None:
        self._reader = reader
        self._units = units
        self._lock = threading.Lock()
        self._held: OrderedDict[int, FileIndex] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """Memory of the indices that are held, in bytes."""
        return sum(index.nbytes for index in self._held.values())

    def load(self, files: Iterable[int] | None = None) -> None:
        """Build the indices of some files (None: all) that are not held, several at a time."""
        wanted = range(len(self._units.files)) if files is None else files
        missing = [file for file in wanted if file not in self._held]
        local = self._reader.storage.is_local
        _mapped(self._index, missing, 1 if local else FILES_AT_ONCE)

    def find(self, key: str) -> Place | None:
        """Return the place of a key; None if the archive has no such key.

        Keys are compared by hashes of 64 bits, and by themselves where two hashes are equal.
        Raises ArchiveDamaged if the key may be in a row group whose keys cannot be read.
        """
        try:
            [wanted] = hashes_of([key]).tolist()
        except UnicodeEncodeError:
            return None
        candidates = self._files_with(key)
        self.load(candidates)
        found, damage = [], None
        for file in candidates:
            index = self._index(file)
            found += [Place(file, *place) for place in index.rows_of(wanted)]
            damage = damage or index.damage
        if len(found) > 1:
            found = [place for place in found if self._key(place) == key]
        if not found and damage is not None:
            raise damage
        return found[0] if found else None

    def at(self, number: int) -> Place:
        """Return the place of a row by its number, from 0; no file is read."""
        span = next(self._numbers.spans(number, number + 1))
        return Place(span.file, span.group, span.start)

    def entry(self, file: int) -> FileEntry:
        """Return the data file of an index."""
        held = self._held.get(file)
        return held.entry if held else self._units.files[file]

    def positions(self, place: Place) -> Mapping[str, ValuePlaces] | None:
        """Return the positions of the blobs of a row's group; None if they are damaged."""
        return self._index(place.file).places[place.group]

    def _index(self, file: int) -> FileIndex:
        with self._lock:
            if file in self._held:
                self._held.move_to_end(file)
                return self._held[file]
        index = load_index(self._reader, self.entry(file))
        with self._lock:
            self._held[file] = index
            while len(self._held) > 1 and self.nbytes > INDEX_BYTES:
                self._held.popitem(last=False)
        return index

    @cached_property
    def _numbers(self) -> RowNumbers:
        return RowNumbers(self._units.groups)

    @cached_property
    def _spans(self) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
        """The first and the last key of each data file."""
        there = self._units.column(f"{DATA}_bytes").is_valid()
        first, last = (self._units.column(name).filter(there) for name in ("first_key", "last_key"))
        return first, last

    def _files_with(self, key: str) -> list[int]:
        """Return the files whose keys begin at or before a key and end at or after it."""
        first, last = self._spans
        begun, open_ = pc.less_equal(first, key), pc.greater_equal(last, key)
        within = pc.and_(begun.fill_null(True), open_.fill_null(True))
        found: list[int] = np.flatnonzero(within.to_numpy()).tolist()
        return found

    def _key(self, place: Place) -> str:
        table: pa.Table = self._reader.read(self.entry(place.file), place.group, ["key"])
        key: str = table.column("key")[place.row].as_py()
        return key


def _mapped(function: Callable[[int], _T], items: Iterable[int], threads: int) -> list[_T]:
    """Return the results of a function for some items, in order."""
    if threads == 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
