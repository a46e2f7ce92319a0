"""The columns that a reading of an archive needs, by its layers, size and other options."""

from __future__ import annotations

from underpaint.codec.archive.layer_columns import columns_for, sizes_for
from underpaint.codec.archive.manifest import Manifest
from underpaint.codec.archive.schema import EMBEDDING, FIXED_NAMES, SOURCE
from underpaint.codec.arguments import as_count
from underpaint.codec.errors import UsageError


def layer_columns(manifest: Manifest, layers: int | None, size: int | None) -> list[str]:
    """Return the columns of layers 1 to `layers` (None: all) for pictures of a size.

    `size` is a short side in pixels, as in `Codec.decode`; None is the largest that the archive
    has. Raises UsageError if either is out of range.
    """
    count = len(manifest.layer_names)
    layers = as_count("layers", layers)
    if layers is None:
        layers = count
    elif count and layers > count:
        raise UsageError(f"layers: {layers}; the archive has layers 1 to {count}")
    return columns_for(layers, sizes_for(manifest.sizes, as_count("size", size)))


def row_columns(
    manifest: Manifest,
    layers: int | None,
    size: int | None,
    *,
    labels: bool,
    source: bool = False,
    provenance: bool = True,
) -> list[str]:
    """Return the columns of a `Row`; arguments as in `Archive.get`.

    Raises UsageError for layers and sizes out of range, and where no source is kept.
    """
    names = list(FIXED_NAMES if provenance else ("key", "width", "height"))
    names += manifest.label_names if labels else ()
    if manifest.embedding_size is not None and provenance:
        names.append(EMBEDDING)
    names += layer_columns(manifest, layers, size)
    if source:
        if manifest.rows and not manifest.keeps_source:
            raise UsageError("source: this archive keeps no source bytes")
        names.append(SOURCE)
    return names
