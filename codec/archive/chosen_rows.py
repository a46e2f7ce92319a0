"""Finds the rows of each row group that a condition or a set of keys chooses; no blob is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from underpaint.codec.archive.conditions import parse_condition
from underpaint.codec.archive.reader import Archive, OnDamage
from underpaint.codec.archive.schema import FIXED_NAMES
from underpaint.codec.errors import ArchiveDamaged


def chosen_rows(
    archive: Archive,
    *,
    where: pc.Expression | str | None = None,
    keys: Iterable[str] | None = None,
    on_damage: OnDamage | None = None,
) -> list[np.ndarray] | None:
    """Return the rows that `where` and `keys` choose: those of both if both are given.

    For each row group, in the order of the archive, its chosen rows as sorted int32; None without
    `where` and `keys`.

    Args:
        archive: the archive.
        where: an expression over small columns, or its text, as `parse_condition` reads it.
        keys: keys of images; the order does not matter.
        on_damage: called for each row group whose columns cannot be read; only intact rows of it
            are chosen. None: ArchiveDamaged is raised.

    Raises UsageError for a condition that names other columns or cannot be parsed, or NoSuchKey.
    """
    files, numbers, _ = (column.tolist() for column in archive.manifest.units.groups)
    groups = list(zip(files, numbers, strict=True))
    chosen: list[np.ndarray] | None = None
    if where is not None:
        expression = parsed(archive, where)
        names = archive.columns_of(expression) if groups else []
        chosen = [_matching(archive, *group, names, expression, on_damage) for group in groups]
    if keys is not None:
        rows: dict[tuple[int, int], list[int]] = {}
        for place in archive.places(keys):
            rows.setdefault((place.file, place.group), []).append(place.row)
        named = [np.array(rows.get(group, ()), np.int32) for group in groups]
        if chosen is None:
            return named
        chosen = [np.intersect1d(*both) for both in zip(chosen, named, strict=True)]
    return chosen


def parsed(archive: Archive, where: pc.Expression | str) -> pc.Expression:
    """Return a condition as an expression; UsageError if its text cannot be parsed."""
    if not isinstance(where, str):
        return where
    return parse_condition(where, archive.schema, (*FIXED_NAMES, *archive.label_names))


def _matching(
    archive: Archive,
    file: int,
    group: int,
    names: Sequence[str],
    where: pc.Expression,
    on_damage: OnDamage | None,
) -> np.ndarray:
    """Return the rows of a row group for which a condition holds."""
    try:
        table, rows = archive.read_group(file, group, names), None
    except ArchiveDamaged as error:
        if on_damage is None:
            raise
        found = archive.salvage_group(file, group, ["key", *names], error, on_damage)
        if found is None:
            return np.zeros(0, np.int32)
        table, rows = found
    numbers = np.arange(table.num_rows) if rows is None else np.asarray(rows)
    numbered = table.append_column("__row", pa.array(numbers, pa.int32()))
    matching: np.ndarray = numbered.filter(where).column("__row").to_numpy()
    return matching
