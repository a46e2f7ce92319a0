"""The units of an archive as a sequence that reads the columns that are asked for.

    Units ─ column(name), tables(names) ─> blocks of 65,536 units ─┬─ InMemory   made of commits
          └ units[n], iteration ─> Commit objects, one by one      ├─ UnitFile   unit_file
                                                                   └─ Merged     unit_merging

An archive can have a million units. Whatever needs all of them computes on columns; `Commit` and
`FileEntry` objects are made only for those that are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple, Protocol, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from underpaint.codec.archive.label_columns import Named
from underpaint.codec.archive.records import (
    DATA,
    FAILED,
    Commit,
    FileEntry,
    Shared,
    check_shared,
    unit_of_path,
)
from underpaint.codec.archive.unit_columns import (
    SCHEMA,
    commits_of,
    entries_of,
    file_columns,
    table_of,
    without_rows,
)
from underpaint.codec.errors import ArchiveDamaged

BLOCK_UNITS = 1 << 16
"""Number of units of a block: a row group of the stored columns."""

COMMITS_AT_ONCE = 1024
"""Number of commits that are objects at a time while columns are made of them."""


class Blocks(Protocol):
    """Columns of units, in blocks of BLOCK_UNITS; the last one may be shorter."""

    count: int
    """Number of units."""
    where: str
    """Begins the messages of errors."""

    def read(self, block: int, names: Sequence[str]) -> pa.Table:
        """Return columns of a block; ArchiveDamaged."""
        ...


class Groups(NamedTuple):
    """The row groups of all data files, in the order of the archive; int64 [row groups] each."""

    files: np.ndarray
    """Index of the data file in `Units.files`."""
    groups: np.ndarray
    """Index of the row group in its file."""
    rows: np.ndarray


class Units(Sequence[Commit]):
    """Commits of one archive, in the order of their names unless said otherwise.

    Columns are kept once they are read, and the block of the last unit that was asked for. Units
    are equal if all commits are. They can be pickled; columns that can be read again are left out.
    """

    def __init__(self, blocks: Blocks, shared: Shared, label_sets: Sequence[Named]) -> None:
        self.blocks = blocks
        self.shared = shared
        self.label_sets = tuple(label_sets)
        """The combinations of label columns, in the order in which units first have them."""
        self._columns: dict[str, pa.ChunkedArray] = {}
        self._block: tuple[int, pa.Table] | None = None

    @staticmethod
    def of(commits: Iterable[Commit], where: str = "units") -> Units:
        """Return some commits, in their order; units that others replace are without rows.

        Only `COMMITS_AT_ONCE` objects are held at a time. Raises ArchiveError if they do not belong
        to one archive; `where` begins the message.
        """
        first: Commit | None = None
        tables, label_sets = [SCHEMA.empty_table()], dict[Named, int]()
        commits = iter(commits)
        while some := list(islice(commits, COMMITS_AT_ONCE)):
            first = first or some[0]
            for each in some:
                check_shared(where, (first.unit, each.unit), first.shared, each.shared)
            tables.append(table_of(some, label_sets))
        table = pa.concat_tables(tables)
        replaced = pc.list_flatten(table.column("replaces")).combine_chunks()
        if len(replaced):
            table = without_rows(table, replaced)
        shared = first.shared if first else Shared()
        return Units(InMemory(table.combine_chunks(), where), shared, tuple(label_sets))

    def __getstate__(self) -> dict[str, Any]:
        computed = ("files", "groups", "retried", "replaced")
        kept = {name: value for name, value in self.__dict__.items() if name not in computed}
        return {**kept, "_columns": {}, "_block": None}

    def __len__(self) -> int:
        return self.blocks.count

    @overload
    def __getitem__(self, which: int) -> Commit: ...

    @overload
    def __getitem__(self, which: slice) -> list[Commit]: ...

    def __getitem__(self, which: int | slice) -> Commit | list[Commit]:
        if isinstance(which, slice):
            return [self[number] for number in range(*which.indices(len(self)))]
        block, at = divmod(range(len(self))[which], BLOCK_UNITS)
        if self._block is None or self._block[0] != block:
            self._block = (block, self.blocks.read(block, SCHEMA.names))
        return next(self._commits(self._block[1].slice(at, 1)))

    def __iter__(self) -> Iterator[Commit]:
        for table in self.tables():
            yield from self._commits(table)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Units) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} units>"

    def tables(self, names: Sequence[str] = SCHEMA.names) -> Iterator[pa.Table]:
        """Yield columns block by block; nothing is kept."""
        for block in range(-(-len(self) // BLOCK_UNITS)):
            yield self.blocks.read(block, names)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a column of all units; ArchiveDamaged."""
        if name not in self._columns:
            chunks = [chunk for t in self.tables([name]) for chunk in t.column(0).chunks]
            self._columns[name] = pa.chunked_array(chunks, SCHEMA.field(name).type)
        return self._columns[name]

    def where(self, names: Sequence[str], chosen: Callable[[pa.Table], Any]) -> Iterator[Commit]:
        """Yield the commits for which `chosen`, given a block of columns `names`, is true."""
        for block, table in enumerate(self.tables(names)):
            places = np.flatnonzero(np.asarray(chosen(table)))
            if len(places):
                whole = self.blocks.read(block, SCHEMA.names)
                yield from self._commits(whole.take(pa.array(places)))

    def position(self, name: str) -> int | None:
        """Return the position of the unit of a name; None if there is none."""
        found = int(pc.index(self.column("unit"), name).as_py())
        return found if found >= 0 else None

    def named(self, name: str) -> Commit:
        """Return the unit of a name; KeyError if there is none."""
        position = self.position(name)
        if position is None:
            raise KeyError(name)
        return self[position]

    def data_file(self, path: str) -> FileEntry:
        """Return the data file of a path below the archive; KeyError if no unit has it."""
        position = self.position(unit_of_path(path))
        for entry in () if position is None else self.entries_at(position):
            if entry.path == path:
                return entry
        raise KeyError(path)

    def labels_of(self, path: str) -> Named:
        """Return the label columns of a data file; KeyError if no unit has it."""
        if len(self.label_sets) == 1:
            return self.label_sets[0]
        position = self.position(unit_of_path(path))
        if position is None:
            raise KeyError(path)
        return self.label_sets[self.column("labels")[position].as_py()]

    def entries(self, folder: str = DATA, labels: int | None = None) -> Iterator[FileEntry]:
        """Yield the files of a folder, DATA or FAILED, in order; ArchiveDamaged.

        `labels`: only those of units of this combination of label columns.
        """
        more = ["labels"] if labels is not None else []
        for table in self.tables([*file_columns(folder), *more]):
            if labels is not None:
                table = table.filter(pc.equal(table.column("labels"), labels))
            yield from self._checked(entries_of(table, folder))

    def files_with(self, key: str) -> Iterator[FileEntry]:
        """Yield the data files whose keys begin at or before a key and end at or after it."""
        first, last = self.column("first_key"), self.column("last_key")
        there = self.column(f"{DATA}_bytes").is_valid()
        within = pc.and_(
            pc.less_equal(first, key).fill_null(True), pc.greater_equal(last, key).fill_null(True)
        )
        for place in np.flatnonzero(pc.and_(there, within).to_numpy()).tolist():
            yield from self.entries_at(place)

    def entries_at(self, place: int) -> Iterator[FileEntry]:
        """Yield the data file of the unit at a position, if it has one; ArchiveDamaged."""
        columns = {name: self.column(name).slice(place, 1) for name in file_columns(DATA)}
        yield from self._checked(entries_of(pa.table(columns)))

    @cached_property
    def files(self) -> DataFiles:
        """The data files, in order."""
        return DataFiles(self)

    @cached_property
    def groups(self) -> Groups:
        """The row groups of all data files."""
        lists = self.column(f"{DATA}_row_groups").drop_null().combine_chunks()
        rows = lists.flatten().to_numpy().astype(np.int64)
        lengths = lists.value_lengths().to_numpy().astype(np.int64)
        files = np.repeat(np.arange(len(lengths)), lengths)
        first = np.cumsum(lengths) - lengths
        return Groups(files, np.arange(len(rows)) - np.repeat(first, lengths), rows)

    def data_numbers(self, name: str) -> np.ndarray:
        """Return a column of numbers, or of lists of equal length, of the units with a data file.

        int64 [data files] or [data files, length of a list].
        """
        column = self.column(name).filter(self.column(f"{DATA}_bytes").is_valid())
        if not pa.types.is_list(column.type):
            return column.to_numpy().astype(np.int64)
        flat = pc.list_flatten(column).to_numpy().astype(np.int64)
        return flat.reshape(len(column), -1) if len(column) else flat.reshape(0, 0)

    @cached_property
    def retried(self) -> pa.Array:
        """Names of the units that others have retried: their letters and skips do not count."""
        return self.column("retries").drop_null().combine_chunks()

    @cached_property
    def replaced(self) -> pa.Array:
        """Names of the units whose rows others hold instead."""
        return pc.list_flatten(self.column("replaces")).combine_chunks()

    def is_current(self, table: pa.Table) -> np.ndarray:
        """Return which units of a table, with a column `unit`, no other unit has retried."""
        return ~pc.is_in(table.column("unit"), value_set=self.retried).to_numpy()

    def current(self) -> Iterator[Commit]:
        """Yield the commits whose dead letters and skipped inputs count."""
        yield from self.where(["unit"], self.is_current)

    def failed(self) -> Iterator[Commit]:
        """Yield the commits whose dead letters count, and that have any."""
        yield from self.where(["unit", f"{FAILED}_bytes"], self.has_letters)

    def has_letters(self, table: pa.Table) -> np.ndarray:
        """Return which units of a table have dead letters that count."""
        there = table.column(f"{FAILED}_bytes").is_valid().to_numpy()
        return np.asarray(there & self.is_current(table))

    def _commits(self, table: pa.Table) -> Iterator[Commit]:
        yield from self._checked(commits_of(table, self.shared, self.label_sets))

    def _checked(self, found: Iterable[Any]) -> Iterator[Any]:
        try:
            yield from (each for each in found if each is not None)
        except (ValueError, TypeError, AttributeError) as error:
            raise ArchiveDamaged(f"{self.blocks.where}: {error}") from None


class DataFiles(Sequence[FileEntry]):
    """The data files of some units, by index in the order of the archive."""

    def __init__(self, units: Units) -> None:
        self._units = units

    def __getstate__(self) -> dict[str, Any]:
        return {"_units": self._units}

    @cached_property
    def _places(self) -> np.ndarray:
        return np.flatnonzero(self._units.column(f"{DATA}_bytes").is_valid().to_numpy())

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, which: int) -> FileEntry: ...

    @overload
    def __getitem__(self, which: slice) -> list[FileEntry]: ...

    def __getitem__(self, which: int | slice) -> FileEntry | list[FileEntry]:
        if isinstance(which, slice):
            return [self[number] for number in range(*which.indices(len(self)))]
        return next(self._units.entries_at(int(self._places[which])))

    def __iter__(self) -> Iterator[FileEntry]:
        return self._units.entries()


class InMemory:
    """Columns of units that are in memory."""

    def __init__(self, table: pa.Table, where: str) -> None:
        self.table, self.where, self.count = table, where, table.num_rows

    def read(self, block: int, names: Sequence[str]) -> pa.Table:
        """Return columns of a block."""
        return self.table.slice(block * BLOCK_UNITS, BLOCK_UNITS).select(names)
