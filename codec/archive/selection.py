"""Selection: the rows of an archive that a command is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from underpaint.codec.archive.conditions import Where
from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.rows import Row
from underpaint.codec.archive.salvage import OnDamage


@dataclass(frozen=True)
class Selection:
    """Some rows of an archive, by default all: arguments of `Archive.rows`."""

    keys: tuple[str, ...] | None = None
    where: Where | None = None
    limit: int | None = None

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
        """Return the chosen rows; arguments and errors as in `Archive.rows`."""
        return archive.rows(
            layers,
            size=size,
            labels=labels,
            where=self.where,
            keys=self.keys,
            limit=self.limit,
            on_damage=on_damage,
        )


EVERYTHING = Selection()
"""All rows."""
