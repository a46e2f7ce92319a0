"""A sample of an archive as a page with picture files, to be mailed or put on a web server.

    FOLDER/index.html      the grid, bytes by layers and size, failures by cause
    FOLDER/pictures/00001.jpg …

The page holds no script and loads nothing but its pictures; all text on it is escaped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from underpaint.codec.archive.reader import Archive, OnDamage
from underpaint.codec.archive.rows import Row
from underpaint.codec.archive.salvage import Damage
from underpaint.codec.archive.statistics import Statistics
from underpaint.codec.archive.tools.export import Exported
from underpaint.codec.archive.tools.sample import sampled_rows
from underpaint.codec.archive.tools.targets import check_empty
from underpaint.codec.codec import Codec
from underpaint.codec.errors import LayerDamaged, StreamError
from underpaint.codec.foreign_text import clipped
from underpaint.codec.image_io.read import write_picture
from underpaint.codec.runtime.pages import page_environment
from underpaint.codec.storage.files import Storage

PICTURES = 200
"""Default number of pictures of a sample."""

SIZE = 256
"""Default short side of its pictures in pixels."""

LONGEST_TEXT = 300
"""Characters of a key or of the labels that are shown."""

PAGE = "index.html"


@dataclass(frozen=True)
class Tile:
    """A picture of the page."""

    file: str
    """Its path below the folder of the page."""
    text: str
    labels: str
    width: int
    height: int


@dataclass(frozen=True)
class Table:
    """A table of the page."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def export_sheet(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    pictures: int = PICTURES,
    layers: int | None = None,
    size: int | None = None,
    weights: str | None = None,
    device: str = "cpu",
    on_damage: OnDamage | None = None,
    progress: Callable[[int], None] | None = None,
) -> Exported:
    """Write a sample of an archive, evenly spread over its rows, as a page with JPEG files.

    Args:
        target: empty folder, local or a URL.
        layers, weights, device: as in `export`.
        size: short side in pixels, as in `Codec.decode` (None: SIZE, or what the archive has).
        on_damage: called with each picture that is left out; None: the error is raised.
        progress: called with the number of pictures so far.

    Raises UsageError for an invalid choice and as `Archive.open` and `Codec.load_for` do.
    """
    archive = Archive.open(source)
    if size is None:
        size = min(SIZE, archive.sizes[-1] or SIZE)
    archive.layer_columns(layers, size)
    storage = Storage(target)
    check_empty(storage)
    codec = Codec.load_for(archive.weights_id, weights, device=device)
    tiles: list[Tile] = []
    written = 0
    for row in sampled_rows(archive, pictures, layers, size, on_damage):
        try:
            [pixels] = codec.decode([row.layers], size=size)
        except StreamError as error:
            if on_damage is None:
                raise
            layer = error.layer if isinstance(error, LayerDamaged) else None
            on_damage(Damage("", None, row.key, layer or None, str(error)))
            continue
        data = write_picture(np.ascontiguousarray(pixels), "jpeg", quality=90)
        tile = _tile(row, pixels, len(tiles) + 1)
        storage.put(tile.file, data)
        tiles.append(tile)
        written += len(data)
        if progress:
            progress(len(tiles))
    page = _page(archive, tiles, layers or len(archive.layer_names)).encode()
    storage.put(PAGE, page)
    return Exported(len(tiles), len(tiles) + 1, written + len(page))


def _tile(row: Row, pixels: np.ndarray, number: int) -> Tile:
    labels = ", ".join(f"{name}: {v}" for name, v in row.labels.items() if v is not None)
    height, width = pixels.shape[:2]
    return Tile(f"pictures/{number:05d}.jpg", _clipped(row.key), _clipped(labels), width, height)


def _page(archive: Archive, tiles: Sequence[Tile], layers: int) -> str:
    statistics = archive.statistics()
    shown = "all" if len(tiles) == len(archive) else f"{len(tiles):,} of"
    span = "layer 1" if layers == 1 else f"layers 1 to {layers}"
    summary = (
        f"{shown} {len(archive):,} pictures, decoded from {span}; "
        f"the archive has {statistics.file_bytes:,} bytes"
    )
    tables = [_bytes_table(statistics)] if len(archive) else []
    if statistics.failures:
        causes = [(_clipped(cause), f"{n:,}") for cause, n in statistics.failures.items()]
        tables.append(Table("Failed inputs by cause", ("cause", "inputs"), causes))
    return (
        page_environment("underpaint.codec.archive.tools")
        .get_template("sheet.html")
        .render(
            title=_clipped(archive.storage.root.rstrip("/").rpartition("/")[2]),
            summary=summary,
            tiles=tiles,
            tables=tables,
        )
    )


def _bytes_table(statistics: Statistics) -> Table:
    needed = np.cumsum(np.cumsum(statistics.size_bytes, 0), 1).T.tolist()
    rows = [
        (f"1 to {number}, {_clipped(name)}", *(f"{count:,}" for count in counts))
        for number, (name, counts) in enumerate(zip(statistics.layer_names, needed, strict=True), 1)
    ]
    heads = ["layers", *(f"{size} pixels" if size else "full size" for size in statistics.sizes)]
    return Table("Bytes that a job reads, by layers and size", heads, rows)


def _clipped(text: str) -> str:
    return clipped(text, LONGEST_TEXT)
