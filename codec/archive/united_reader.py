"""Reads row groups of any unit with the label columns of the whole archive (rule A21)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property

import pyarrow as pa

from underpaint.codec.archive.label_columns import (
    conformed,
    joined_names,
    joined_schema,
    parse_type,
)
from underpaint.codec.archive.parquet.footer import ARROW_ERRORS, first_line
from underpaint.codec.archive.parquet.ranges import RangeReader
from underpaint.codec.archive.records import Commit, FileEntry
from underpaint.codec.archive.schema import FIXED_NAMES
from underpaint.codec.archive.units import Units
from underpaint.codec.errors import ArchiveDamaged, UsageError
from underpaint.codec.storage.files import Storage


class UnitedReader(RangeReader):
    """A reader of the data files of some units.

    A label column that a file lacks is null in its rows, and one of another type is converted.
    """

    def __init__(self, storage: Storage, units: Iterable[Commit], *, threads: int = 4) -> None:
        super().__init__(storage, threads=threads)
        self.units = units if isinstance(units, Units) else Units.of(units)
        self._names = joined_names(self.units.label_sets)
        self._alike = len(self.units.label_sets) < 2
        self._labels_held: dict[str, set[str]] = {}

    @cached_property
    def labels(self) -> pa.Schema:
        """The label columns of all units, from one footer for each combination of columns."""
        found: list[pa.Schema] = []
        for number, labels in enumerate(self.units.label_sets):
            for entry in self.units.entries(labels=number):
                with suppress(ArchiveDamaged):
                    schema = self.footer(entry).schema
                    names = [name for name, _ in labels if name in schema.names]
                    found.append(pa.schema([schema.field(name) for name in names]))
                    break
        joined = joined_schema(found)
        return pa.schema([(name, _type(joined, name, kind)) for name, kind in self._names])

    def _own(self, path: str) -> set[str]:
        """Return the names of the labels of a data file."""
        if path not in self._labels_held:
            self._labels_held[path] = {name for name, _ in self.units.labels_of(path)}
        return self._labels_held[path]

    def read(
        self, entry: FileEntry, group: int, columns: Sequence[str], *, checked: bool = True
    ) -> pa.Table:
        """Return columns of one row group; labels come in the order and types of `labels`.

        Raises ArchiveDamaged as `RangeReader.read` does.
        """
        if self._alike or not (wanted := [item for item in self.labels if item.name in columns]):
            return super().read(entry, group, columns, checked=checked)
        names = {item.name for item in wanted}
        missing = names - self._own(entry.path)
        present = [name for name in columns if name not in missing]
        table = super().read(entry, group, present or ["key"], checked=checked)
        others = [item for item in table.schema if item.name in columns and item.name not in names]
        # labels lie between the other small columns and the embedding and blobs
        at = sum(item.name in FIXED_NAMES for item in others)
        try:
            return conformed(table, pa.schema([*others[:at], *wanted, *others[at:]]))
        except ARROW_ERRORS as error:
            raise ArchiveDamaged(
                f"{entry.path}: row group {group}: labels: {first_line(error)}"
            ) from None


def _type(joined: pa.Schema, name: str, kind: str) -> pa.DataType:
    """Return the type of a label; that of its name if no file with the column is readable."""
    if name in joined.names:
        return joined.field(name).type
    try:
        return parse_type(kind)
    except UsageError:
        return pa.string()
