"""Selection: the rows of an archive that a command is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from underpaint.codec.archive.chosen_rows import parsed
from underpaint.codec.archive.reader import Archive, OnDamage
from underpaint.codec.archive.rows import Row
from underpaint.codec.errors import UsageError


@dataclass(frozen=True)
class Selection:
    """Some rows of an archive; by default all."""

    keys: tuple[str, ...] | None = None
    """Only rows of these keys."""
    where: str | None = None
    """Only rows for which a condition holds; see `parse_condition`."""
    limit: int | None = None
    """Only so many rows, the first ones."""

    def __post_init__(self) -> None:
        if self.keys is not None and self.where is not None:
            raise UsageError("choose rows by their keys or by a condition, not by both")

    def most(self, rows: int) -> int:
        """Return a bound on the number of chosen rows of an archive of `rows`."""
        bounds = [rows, self.limit, None if self.keys is None else len(set(self.keys))]
        return min(bound for bound in bounds if bound is not None)

    def rows(
        self,
        archive: Archive,
        layers: int | None,
        *,
        size: int | None = None,
        labels: bool = True,
        on_damage: OnDamage | None = None,
    ) -> Iterator[Row]:
        """Return the chosen rows in the order of the archive; arguments as in `Archive.rows`.

        Raises UsageError for a condition that cannot be parsed, and NoSuchKey, before any row.
        """
        where = parsed(archive, self.where) if self.where is not None else None
        for key in self.keys or ():
            archive.check_key(key)
        rows = archive.rows(
            layers, size=size, labels=labels, where=where, keys=self.keys, on_damage=on_damage
        )
        return islice(rows, self.limit)


EVERYTHING = Selection()
"""All rows."""
