"""Totals and histograms of an archive, as the page shows them."""

from __future__ import annotations

from typing import Any

import numpy as np

from underpaint.codec.archive.layer_columns import columns_for
from underpaint.pipelines.serve.corpus import Corpus, clipped

BITS_PER_PIXEL = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0)
"""Lower ends of the bins of bits per pixel."""

MEGAPIXELS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0, 48.0)
"""Lower ends of the bins of picture sizes."""

MOST_CAUSES = 200


def described(corpus: Corpus) -> dict[str, Any]:
    """Return what the page needs to know of an archive; the manifest alone is read."""
    archive, statistics = corpus.archive, corpus.archive.statistics()
    root = archive.storage.root.rstrip("/")
    return {
        "name": clipped(root.rpartition("/")[2]),
        "version": corpus.version,
        "count": statistics.images,
        "pixels": statistics.pixels,
        "source_bytes": statistics.source_bytes,
        "file_bytes": statistics.file_bytes,
        "weights": statistics.weights_id,
        "layers": [clipped(name) for name in statistics.layer_names],
        "sizes": list(statistics.sizes),
        "size_bytes": [list(row) for row in statistics.size_bytes],
        "labels": list(archive.label_names),
        "embeddings": archive.manifest.embedding_size is not None,
        "originals": archive.manifest.keeps_source,
        "failed": statistics.failed,
        "failures": list(statistics.failures.items())[:MOST_CAUSES],
        "skipped": list(statistics.skipped.items())[:MOST_CAUSES],
    }


def histograms(corpus: Corpus) -> dict[str, Any]:
    """Return counts of pictures by megapixels, and by the bits per pixel of their row group.

    Reads two small columns and the footers; no layer.
    """
    archive = corpus.archive
    sizes = np.zeros(len(MEGAPIXELS), np.int64)
    bits = np.zeros(len(BITS_PER_PIXEL), np.int64)
    columns = columns_for(len(archive.layer_names), archive.sizes)
    for span in corpus.numbers.groups():
        table = archive.data.read_group(span.file, span.group, ["width", "height"])
        width, height = (table.column(name).to_numpy() for name in ("width", "height"))
        pixels = width.astype(np.int64) * height
        places = np.searchsorted(MEGAPIXELS, pixels / 1e6, side="right") - 1
        sizes += np.bincount(places, minlength=len(MEGAPIXELS))
        stored = archive.data.column_bytes(span.file, span.group, columns)
        rate = 8 * stored / max(1, int(pixels.sum()))
        bits[np.searchsorted(BITS_PER_PIXEL, rate, side="right") - 1] += len(pixels)
    return {
        "megapixels": [list(MEGAPIXELS), sizes.tolist()],
        "bits": [list(BITS_PER_PIXEL), bits.tolist()],
    }
