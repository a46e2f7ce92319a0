"""DataFiles: reads an archive by data file, row group and row, for tools, servers and data sets.

Those who read whole pictures use `Archive`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from underpaint.codec.archive.conditions import Condition
from underpaint.codec.archive.layer_columns import columns_for
from underpaint.codec.archive.parquet.pages import BlobPages
from underpaint.codec.archive.parquet.ranges import Range
from underpaint.codec.archive.parquet.values import PREFIX
from underpaint.codec.archive.records import FileEntry
from underpaint.codec.archive.row_index import Place, RowIndex
from underpaint.codec.archive.row_reader import RowReader
from underpaint.codec.archive.salvage import OnDamage, salvage
from underpaint.codec.archive.united_reader import UnitedReader
from underpaint.codec.archive.units import Units
from underpaint.codec.errors import ArchiveDamaged
from underpaint.codec.storage.files import Storage


class DataFiles:
    """The data files of an archive. A file is named by its index in `entries`.

    Checksums are verified on every read. It can be pickled and works after a fork.
    """

    def __init__(self, storage: Storage, units: Units) -> None:
        self.entries: Sequence[FileEntry] = units.files
        self.reader = UnitedReader(storage, units)
        self._units = units

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "rows"}

    @cached_property
    def rows(self) -> RowReader:
        """The reader of single rows, which keeps an index and small columns."""
        return RowReader(self.reader, self._units)

    @property
    def index(self) -> RowIndex:
        """The index of the rows by their keys."""
        return self.rows.index

    def read_group(self, file: int, group: int, columns: Sequence[str]) -> pa.Table:
        """Return columns of a row group; ArchiveDamaged."""
        return self.reader.read(self.entries[file], group, columns)

    def read_rows(
        self, file: int, group: int, rows: Sequence[int], columns: Sequence[str]
    ) -> pa.Table:
        """Return columns of some rows of a row group: small columns whole, which are kept, and
        blobs by their bytes; ArchiveDamaged.
        """
        return self.rows.rows(file, group, rows, columns)

    def read_blobs(
        self, file: int, group: int, row: int, columns: Sequence[str]
    ) -> dict[str, bytes | None]:
        """Return blob columns of one row of a row group, by their bytes; ArchiveDamaged."""
        return self.rows.blobs(Place(file, group, row), columns)

    def matching(
        self, file: int, group: int, condition: Condition, on_damage: OnDamage | None = None
    ) -> np.ndarray:
        """Return the rows of a row group for which a condition holds, int32, sorted.

        `on_damage` is called if its columns cannot be read; only intact rows are found then. None:
        ArchiveDamaged is raised.
        """
        try:
            table = self.read_group(file, group, condition.columns)
        except ArchiveDamaged as error:
            if on_damage is None:
                raise
            names = ["key", *condition.columns]
            found = self.salvage_group(file, group, names, error, on_damage)
            if found is None:
                return np.zeros(0, np.int32)
            table, rows = found
            return np.asarray(rows)[condition.rows(table)].astype(np.int32)
        return condition.rows(table).astype(np.int32)

    def read_matching(
        self, file: int, group: int, columns: Sequence[str], condition: Condition
    ) -> pa.Table | None:
        """Return columns of the rows of a row group for which a condition holds; ArchiveDamaged.

        None, without a read of other columns than those of the condition, if there are none.
        """
        known = self.read_group(file, group, condition.columns)
        chosen = condition.rows(known)
        if not len(chosen):
            return None
        rest = [name for name in columns if name not in condition.columns]
        others = self.read_group(file, group, rest) if rest else known
        found = [(others if name in rest else known).column(name) for name in columns]
        return pa.table(dict(zip(columns, found, strict=True))).take(chosen)

    def blob_pages(self, file: int, group: int, columns: Sequence[str]) -> dict[str, BlobPages]:
        """Return the pages of blob columns of a row group; ArchiveDamaged."""
        return self.reader.pages(self.entries[file], group, columns)

    def blob_page(self, file: int, pages: BlobPages, number: int) -> list[bytes | None]:
        """Return all values of one of these pages; ArchiveDamaged."""
        return self.reader.page(self.entries[file], pages, number)

    def layer_ranges(self, file: int, group: int, row: int) -> list[list[Range | None]]:
        """Return the byte ranges of the layers of one row in its data file, for other readers.

        A list for each size of the archive, and in it a range for each layer; None for a null. The
        four bytes in front of a range hold its length: compare them (rule A25 of docs/archive.md).
        Raises ArchiveDamaged if the lengths of the layers or the page index cannot be read.
        """
        entry = self.entries[file]
        positions = self.index.positions(Place(file, group, row))
        if positions is None:
            raise ArchiveDamaged(f"{entry.path}: row group {group}: no positions of its layers")
        shared = self._units.shared
        count = len(shared.layer_names)
        names = columns_for(count, shared.sizes)
        ranges = [positions[name].range(row) for name in names]
        if any(one and not PREFIX <= one[0] <= one[1] <= entry.bytes for one in ranges):
            raise ArchiveDamaged(f"{entry.path}: row group {group}: lengths beyond the file")
        return [ranges[at : at + count] for at in range(0, len(ranges), count)]

    def read_range(self, entry: FileEntry, start: int, stop: int) -> bytes:
        """Return bytes [start, stop) of a data file, in one request; ArchiveDamaged if cut."""
        [data] = self.reader.fetch_each(entry, [(start, stop)])
        return data

    def column_bytes(self, file: int, group: int, columns: Sequence[str]) -> int:
        """Return the bytes that columns take in a row group, from the footer; ArchiveDamaged."""
        chunks = self.reader.chunks(self.entries[file], group, columns)
        return sum(stop - start for start, stop in chunks.values())

    def salvage_group(
        self, file: int, group: int, columns: Sequence[str], error: Exception, report: OnDamage
    ) -> tuple[pa.Table, np.ndarray] | None:
        """Return the readable part of a damaged row group, as `salvage`; each loss goes to
        `report`.
        """
        return salvage(self.reader, self.entries[file], group, columns, error, report)
