"""A few rows of an archive, evenly spread, read page by page."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.row_numbers import RowNumbers, Span
from underpaint.codec.archive.rows import Row
from underpaint.codec.archive.salvage import Damage, OnDamage
from underpaint.codec.archive.schema import FIXED_NAMES
from underpaint.codec.archive.tables import rows_of, with_blobs
from underpaint.codec.errors import ArchiveDamaged


def sampled_rows(
    archive: Archive,
    count: int,
    layers: int | None = None,
    size: int | None = None,
    on_damage: OnDamage | None = None,
) -> Iterator[tuple[Span, Row]]:
    """Yield `count` rows, or all if there are fewer, evenly spread, with their places.

    `layers` and `size` are as in `Archive.rows`; so is `on_damage`, which is called for each row
    that cannot be read. Fetches the small columns of the rows' groups and the pages of the layers
    that hold them.
    """
    numbers = RowNumbers(archive.manifest.units.groups)
    names = archive.layer_columns(layers, size)
    small = [*FIXED_NAMES, *archive.label_names]
    chosen = np.unique(np.linspace(0, numbers.rows - 1, min(count, numbers.rows)).astype(int))
    for number in chosen.tolist():
        [span] = numbers.spans(number, number + 1)
        try:
            table = archive.data.read_group(span.file, span.group, small).slice(span.start, 1)
            blobs = archive.data.read_blobs(span.file, span.group, span.start, names)
        except ArchiveDamaged as error:
            if on_damage is None:
                raise
            on_damage(Damage(archive.files[span.file].path, span.group, None, None, str(error)))
            continue
        yield span, next(rows_of(with_blobs(table, blobs)))
