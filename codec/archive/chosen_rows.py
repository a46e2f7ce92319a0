"""Finds the rows of each row group that a condition, keys or a limit choose; no blob is read."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from underpaint.codec.archive.conditions import Where
from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.salvage import OnDamage
from underpaint.codec.arguments import as_count


def chosen_rows(
    archive: Archive,
    *,
    where: Where | None = None,
    keys: str | Iterable[str] | None = None,
    limit: int | None = None,
    on_damage: OnDamage | None = None,
) -> list[np.ndarray] | None:
    """Return the rows that `where`, `keys` and `limit` choose, as in `Archive.rows`.

    For each row group, in the order of the archive, its chosen rows as sorted int32; None if
    nothing is chosen. `on_damage` is called for each row group whose columns cannot be read; only
    intact rows of it are chosen. None: ArchiveDamaged is raised.

    Raises UsageError for a condition that names other columns or cannot be parsed, or NoSuchKey.
    """
    files, numbers, counts = (column.tolist() for column in archive.manifest.units.groups)
    groups = list(zip(files, numbers, strict=True))
    chosen: list[np.ndarray] | None = None
    condition = archive.condition(where)
    if condition is not None:
        chosen = [archive.data.matching(*group, condition, on_damage) for group in groups]
    if keys is not None:
        rows: dict[tuple[int, int], list[int]] = {}
        for place in archive.places(keys):
            rows.setdefault((place.file, place.group), []).append(place.row)
        named = [np.array(rows.get(group, ()), np.int32) for group in groups]
        if chosen is not None:
            named = [np.intersect1d(*both) for both in zip(chosen, named, strict=True)]
        chosen = named
    limit = as_count("limit", limit)
    if limit is None:
        return chosen
    if chosen is None:
        chosen = [np.arange(count, dtype=np.int32) for count in counts]
    return _first(chosen, limit)


def _first(chosen: list[np.ndarray], limit: int) -> list[np.ndarray]:
    """Return the first `limit` of the chosen rows."""
    kept = []
    for rows in chosen:
        kept.append(rows[:limit])
        limit -= len(kept[-1])
    return kept
