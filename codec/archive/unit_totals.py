"""Totals of the units of an archive, summed column by column."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from underpaint.codec.archive.records import DATA, FAILED
from underpaint.codec.archive.unit_columns import counts_of
from underpaint.codec.archive.units import Units
from underpaint.codec.errors import ArchiveDamaged

_SUMMED = ("pixels", "source_bytes", f"{DATA}_bytes", f"{FAILED}_bytes")
_COLUMNS = ["unit", *_SUMMED, f"{FAILED}_row_groups", "layer_bytes", "size_bytes", "failures",
            "skipped"]  # fmt: skip


@dataclass
class Totals:
    """Sums over all units, and of dead letters and skipped inputs over those that count."""

    pixels: int = 0
    source_bytes: int = 0
    file_bytes: int = 0
    failed: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    layer_bytes: tuple[int, ...] = ()
    """By layer; () without units."""
    size_bytes: tuple[tuple[int, ...], ...] = ()
    """By size and layer; () without units, or if there is one size."""


def totals_of(units: Units) -> Totals:
    """Sum up the units, a block of them in memory at a time; ArchiveDamaged."""
    totals, layers = Totals(), len(units.shared.layer_names)
    by_layer, by_size = np.zeros(layers, object), np.zeros(len(units.shared.sizes) * layers, object)
    for table in units.tables(_COLUMNS):
        pixels, sources, data, failed = (_sum(table.column(name)) for name in _SUMMED)
        totals.pixels += pixels
        totals.source_bytes += sources
        totals.file_bytes += data + failed
        current = table.filter(pa.array(units.is_current(table)))
        totals.failed += _sum(pc.list_flatten(current.column(f"{FAILED}_row_groups")))
        try:
            totals.failures.update(counts_of(current.column("failures")))
            totals.skipped.update(counts_of(current.column("skipped")))
        except (ValueError, TypeError, AttributeError) as error:
            raise ArchiveDamaged(f"{units.blocks.where}: {error}") from None
        by_layer = by_layer + _sums(table.column("layer_bytes"), layers)
        if len(units.shared.sizes) > 1:
            by_size = by_size + _sums(table.column("size_bytes"), len(by_size))
    if len(units):
        totals.layer_bytes = tuple(map(int, by_layer))
    if len(units) and len(units.shared.sizes) > 1:
        rows = by_size.reshape(-1, layers).tolist()
        totals.size_bytes = tuple(tuple(map(int, row)) for row in rows)
    return totals


def _sum(column: pa.ChunkedArray) -> int:
    return int(pc.sum(column).as_py() or 0)


def _sums(column: pa.ChunkedArray, length: int) -> np.ndarray:
    """Return the sums, over units, of the items of lists of equal length, as Python integers."""
    items = pc.list_flatten(column).to_numpy().reshape(-1, length)
    return np.array(items.sum(0, dtype=np.int64).tolist(), object)
