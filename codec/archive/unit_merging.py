"""Merges the stored units of an archive with new ones, block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from underpaint.codec.archive.label_columns import Named
from underpaint.codec.archive.records import check_shared
from underpaint.codec.archive.unit_columns import SCHEMA, is_sorted, without_rows
from underpaint.codec.archive.units import BLOCK_UNITS, Blocks, InMemory, Units
from underpaint.codec.errors import ArchiveDamaged


class Merged:
    """The columns of standing units and of new ones, together in the order of their names.

    Units whose rows others replace are without rows. Blocks of the standing units are read when
    they are asked for.
    """

    def __init__(self, standing: Units, new: Units, label_sets: Mapping[Named, int]) -> None:
        self._standing, self._new = standing, new
        self.where = standing.blocks.where
        self.count = len(standing) + len(new)
        names = pa.chunked_array(
            [*standing.column("unit").chunks, *new.column("unit").chunks], pa.string()
        )
        self._order = pc.sort_indices(names).to_numpy().astype(np.int64)
        if not is_sorted(names.take(pa.array(self._order))):
            raise ArchiveDamaged(f"{self.where}: a unit is named twice")
        self._replaced = pa.concat_arrays([standing.replaced, new.replaced])
        self._labels = pa.array([label_sets[each] for each in new.label_sets], pa.int64())
        self._held: tuple[int, Sequence[str], pa.Table] | None = None

    def read(self, block: int, names: Sequence[str]) -> pa.Table:
        """Return columns of a block."""
        order = self._order[block * BLOCK_UNITS : (block + 1) * BLOCK_UNITS]
        read = list(dict.fromkeys(["unit", *names]))
        standing = len(self._standing)
        old, new = order[order < standing], order[order >= standing] - standing
        tables = [self._new_rows(new, read)]
        for number in np.unique(old // BLOCK_UNITS).tolist():
            here = old[old // BLOCK_UNITS == number] - number * BLOCK_UNITS
            tables.append(self._standing_block(number, read).take(pa.array(here)))
        table = pa.concat_tables(tables)
        placed = np.concatenate(
            [np.flatnonzero(order >= standing), np.flatnonzero(order < standing)]
        )
        table = table.take(pa.array(np.argsort(placed)))
        if len(self._replaced):
            table = without_rows(table, self._replaced)
        return table.select(names).combine_chunks()

    def _standing_block(self, number: int, names: Sequence[str]) -> pa.Table:
        """Return columns of a standing block; two merged blocks in a row need the same one."""
        if self._held is None or self._held[:2] != (number, names):
            self._held = (number, names, self._standing.blocks.read(number, names))
        return self._held[2]

    def _new_rows(self, places: np.ndarray, names: Sequence[str]) -> pa.Table:
        blocks = self._new.blocks
        assert isinstance(blocks, InMemory)
        table = blocks.table.select(names).take(pa.array(places))
        if "labels" in names:
            at = table.schema.get_field_index("labels")
            numbers = self._labels.take(table.column("labels").combine_chunks())
            table = table.set_column(at, SCHEMA.field("labels"), numbers)
        return table


def merged(standing: Units, new: Units) -> Units:
    """Return the units of both, in the order of their names; ArchiveError if they do not fit."""
    where = standing.blocks.where
    if not len(new):
        return standing
    if len(standing):
        firsts = (standing.column("unit")[0].as_py(), new.column("unit")[0].as_py())
        check_shared(where, firsts, standing.shared, new.shared)
    label_sets = {each: number for number, each in enumerate(standing.label_sets)}
    for each in new.label_sets:
        label_sets.setdefault(each, len(label_sets))
    units = Units(Merged(standing, new, label_sets), new.shared, tuple(label_sets))
    return _renumbered(units)


def _renumbered(units: Units) -> Units:
    """Return units whose combinations of labels are numbered as units first have them."""
    used = pc.unique(units.column("labels")).to_pylist()
    if used == list(range(len(units.label_sets))):
        return units
    numbers = pa.array([used.index(n) if n in used else -1 for n in range(len(units.label_sets))])
    label_sets = tuple(units.label_sets[number] for number in used)
    return Units(_Renumbered(units.blocks, numbers), units.shared, label_sets)


class _Renumbered:
    """Columns of units with other numbers of their combinations of labels."""

    def __init__(self, blocks: Blocks, numbers: pa.Array) -> None:
        self._blocks, self._numbers = blocks, numbers
        self.count, self.where = blocks.count, blocks.where

    def read(self, block: int, names: Sequence[str]) -> pa.Table:
        """Return columns of a block."""
        table = self._blocks.read(block, names)
        if "labels" in names:
            at = table.schema.get_field_index("labels")
            numbers = self._numbers.take(table.column("labels").combine_chunks())
            table = table.set_column(at, SCHEMA.field("labels"), numbers)
        return table
