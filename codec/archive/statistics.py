"""Totals of an archive, as `inspect` shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from underpaint.codec.archive.manifest import Manifest
from underpaint.codec.archive.unit_totals import totals_of


@dataclass(frozen=True)
class Statistics:
    """Totals of an archive, from its manifest alone."""

    images: int
    pixels: int
    source_bytes: int
    failed: int
    """Number of dead letters that count."""
    failures: Mapping[str, int]
    """Number of dead letters by cause, "stage: error class"."""
    skipped: Mapping[str, int]
    """Number of inputs that are not pictures, by reason, the most frequent first."""
    layer_names: tuple[str, ...]
    layer_bytes: tuple[int, ...]
    """Bytes of each layer's column: its blobs with their headers and checksums."""
    sizes: tuple[int, ...]
    """Short sides in pixels that have columns of their own, then 0 if the full size has."""
    size_bytes: tuple[tuple[int, ...], ...]
    """Bytes by size and layer: a row for each of `sizes`, a value for each layer."""
    file_bytes: int
    """Size of all files of the archive, Parquet's own bytes included."""
    weights_id: str


def statistics_of(manifest: Manifest) -> Statistics:
    """Return counts of images, pixels, bytes and failures; no data file is read."""
    totals = totals_of(manifest.units)
    layer_bytes = totals.layer_bytes or (0,) * len(manifest.layer_names)
    return Statistics(
        images=manifest.rows,
        pixels=totals.pixels,
        source_bytes=totals.source_bytes,
        failed=totals.failed,
        failures=_most_frequent(totals.failures),
        skipped=_most_frequent(totals.skipped),
        layer_names=manifest.layer_names,
        layer_bytes=layer_bytes,
        sizes=manifest.sizes,
        size_bytes=totals.size_bytes or (layer_bytes,),
        file_bytes=totals.file_bytes,
        weights_id=manifest.weights_id,
    )


def _most_frequent(counts: Counter[str]) -> dict[str, int]:
    """Return counts, the greatest first, equal ones by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
