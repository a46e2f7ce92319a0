"""An archive as a data frame of Daft."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from underpaint.codec.archive.layer_columns import by_layer
from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.tables import joined

if TYPE_CHECKING:
    import daft


def read_daft(
    archive: Archive | str | os.PathLike[str], layers: int | None = None, size: int | None = None
) -> daft.DataFrame:
    """Return the images of an archive as a Daft frame: key, sides, labels and "image".

    Daft reads the columns that are used, and decodes where "image" is. `layers`, `size`: as in
    `LayerMap`. All files must have the same label columns; see `underpaint trim`.
    """
    import daft

    opened = archive if isinstance(archive, Archive) else Archive.open(archive)
    columns, weights = opened.layer_columns(layers, size), opened.weights_id
    groups, decoded_size = by_layer(columns), opened.decoded_size(size)

    @daft.func.batch(return_dtype=daft.DataType.image("RGB"))
    def decode(*series: daft.Series) -> list[object]:
        from underpaint.codec.codec import Codec

        rows = [dict(zip(columns, row, strict=True)) for row in zip(*series, strict=True)]
        parts = [[joined([row[name] for name in names]) for names in groups] for row in rows]
        streams = [[layer for layer in row if layer is not None] for row in parts]
        codec = Codec.load_for(weights, None)
        return list(codec.decode(streams, size=decoded_size, refine=False))

    frame = daft.read_parquet(opened.paths)
    image = decode(*(daft.col(name) for name in columns)).alias("image")
    return frame.select("key", "width", "height", *opened.label_names, image)
