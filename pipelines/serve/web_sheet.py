"""A sample of an archive as a page with picture files, to be mailed or put on a web server.

    FOLDER/index.html      the grid, bytes by layers and size, failures by cause
    FOLDER/pictures/00001.jpg …

The page holds no script and loads nothing but its pictures; all text on it is escaped. If it is
told the address of the archive, it also shows each picture from any number of layers, which the
browser fetches from there:

    FOLDER/sheet.json      that address, and where the layers of each picture are stored
    FOLDER/sheet.js …      the scripts, with the decoder
    FOLDER/weights.safetensors
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.row_numbers import Span
from underpaint.codec.archive.rows import Row
from underpaint.codec.archive.salvage import Damage, OnDamage
from underpaint.codec.archive.tools.bytes_table import bytes_table
from underpaint.codec.archive.tools.export import Exported
from underpaint.codec.archive.tools.sample import sampled_rows
from underpaint.codec.archive.tools.targets import check_inside, prepare
from underpaint.codec.codec import Codec
from underpaint.codec.counts import plural
from underpaint.codec.errors import ArchiveDamaged, LayerDamaged, StreamError, UsageError
from underpaint.codec.foreign_text import clipped
from underpaint.codec.image_io.read import write_picture
from underpaint.codec.runtime.pages import page_environment
from underpaint.codec.storage.files import Storage
from underpaint.codec.weights.header import fetch_weights
from underpaint.codec.weights.loading import matching
from underpaint.pipelines.serve.corpus import parts_of
from underpaint.pipelines.serve.static_files import media_type, static_files

PICTURES = 200
"""Default number of pictures of a sample."""

SIZE = 256
"""Default short side of its pictures in pixels."""

LONGEST_TEXT = 300
"""Characters of a key or of the labels that are shown."""

PAGE = "index.html"

PLACES = "sheet.json"
"""Where the layers of the pictures are stored."""

WEIGHTS = "weights.safetensors"
"""The weights of the decoder."""

_NOT_OF_THE_SHEET = ("gallery.", "grid.", "panels.", "picture.js")
"""Beginnings of the names of files that belong to the gallery alone."""

_HOST = r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"
"""A host and a port as they may stand in the content security policy of the page."""


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


class _Folder:
    """A folder that is written to; counts files and bytes."""

    def __init__(self, source: Storage, target: str | os.PathLike[str], overwrite: bool) -> None:
        self._storage = Storage(target)
        prepare(source, self._storage, overwrite=overwrite)
        self.files = self.bytes = 0

    def put(self, name: str, data: bytes) -> None:
        check_inside(self._storage, name)
        self._storage.put(name, data, media_type(name))
        self.files += 1
        self.bytes += len(data)


def export_sheet(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    pictures: int = PICTURES,
    layers: int | None = None,
    size: int | None = None,
    archive_url: str | None = None,
    overwrite: bool = False,
    weights: str | None = None,
    device: str = "cpu",
    on_damage: OnDamage | None = None,
    progress: Callable[[int], None] | None = None,
) -> Exported:
    """Write a sample of an archive, evenly spread over its rows, as a page with JPEG files.

    Args:
        target: folder, local or a URL.
        layers, overwrite, weights, device: as in `export`.
        size: short side in pixels, as in `Codec.decode` (None: SIZE, or what the archive has).
        archive_url: address of the archive for browsers, relative to the page or absolute; None:
            the page shows its JPEG files only.
        on_damage: called with each picture that is left out; None: the error is raised.
        progress: called with the number of pictures so far.

    Raises UsageError for an invalid choice and as `Archive.open` and `Codec.load_for` do.
    """
    origin = "" if archive_url is None else checked_origin(archive_url)
    archive = Archive.open(source)
    if size is None:
        size = min(SIZE, archive.sizes[-1] or SIZE)
    archive.layer_columns(layers, size)
    shown = layers or len(archive.layer_names)
    folder = _Folder(archive.storage, target, overwrite)
    codec = Codec.load_for(archive.weights_id, weights, device=device)
    tiles: list[Tile] = []
    places: list[dict[str, Any] | None] = []
    for span, row in sampled_rows(archive, pictures, layers, size, on_damage):
        try:
            [pixels] = codec.decode([row.layers], size=size)
        except StreamError as error:
            if on_damage is None:
                raise
            layer = error.layer if isinstance(error, LayerDamaged) else None
            on_damage(Damage("", None, row.key, layer or None, str(error)))
            continue
        tile = _tile(row, pixels, len(tiles) + 1)
        folder.put(tile.file, write_picture(np.ascontiguousarray(pixels), "jpeg", quality=90))
        tiles.append(tile)
        if archive_url is not None:
            places.append(_place(archive, span, row))
        if progress:
            progress(len(tiles))
    if archive_url is not None:
        for name, content in static_files().items():
            if not name.startswith(_NOT_OF_THE_SHEET):
                folder.put(name, content)
        folder.put(WEIGHTS, fetch_weights(matching(weights, archive.weights_id)))
        folder.put(PLACES, _places(archive, archive_url, shown, places))
    page = _page(archive, tiles, shown, archive_url, origin)
    folder.put(PAGE, page.encode())
    return Exported(len(tiles), folder.files, folder.bytes)


def checked_origin(archive_url: str) -> str:
    """Return the origin of an address that pages fetch from; "" for one relative to the page.

    Raises UsageError for an address that browsers do not open, or that should not be published.
    """
    parts = urlsplit(archive_url)
    if parts.scheme in ("gs", "s3"):
        example = {"gs": "https://storage.googleapis.com/BUCKET/ARCHIVE"}.get(
            parts.scheme, "https://BUCKET.s3.REGION.amazonaws.com/ARCHIVE"
        )
        raise UsageError(f"{archive_url}: browsers do not open {parts.scheme}://; give {example}")
    is_relative = not parts.scheme and not parts.netloc and bool(parts.path)
    if not is_relative and not (parts.scheme in ("http", "https") and parts.hostname):
        raise UsageError(
            f"{archive_url}: want https://HOST/ARCHIVE, or a path relative to the page (../archive)"
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageError(
            "the address of the archive has a user name or a query, which everybody who has the "
            "page could read; give the address of an archive that needs neither"
        )
    if not is_relative and not re.fullmatch(_HOST, parts.netloc):
        raise UsageError(f"{archive_url}: {parts.netloc!r} is no host, or host and port")
    return "" if is_relative else f"{parts.scheme}://{parts.netloc}"


def _place(archive: Archive, span: Span, row: Row) -> dict[str, Any] | None:
    """Return where the layers of a picture are stored; None if that cannot be read."""
    try:
        ranges = archive.data.layer_ranges(span.file, span.group, span.start)
    except ArchiveDamaged:
        return None
    return {
        "key": _clipped(row.key),
        "width": row.width,
        "height": row.height,
        "file": archive.files[span.file].path,
        "parts": parts_of(ranges),
    }


def _places(
    archive: Archive, archive_url: str, shown: int, places: Sequence[dict[str, Any] | None]
) -> bytes:
    return json.dumps(
        {
            "archive": archive_url.rstrip("/") + "/",
            "weights": WEIGHTS,
            "layers": [_clipped(name) for name in archive.layer_names],
            "sizes": archive.sizes,
            "shown": shown,
            "pictures": places,
        }
    ).encode()


def _tile(row: Row, pixels: np.ndarray, number: int) -> Tile:
    labels = ", ".join(f"{name}: {v}" for name, v in row.labels.items() if v is not None)
    height, width = pixels.shape[:2]
    return Tile(f"pictures/{number:05d}.jpg", _clipped(row.key), _clipped(labels), width, height)


def _page(
    archive: Archive, tiles: Sequence[Tile], layers: int, archive_url: str | None, origin: str
) -> str:
    statistics = archive.statistics()
    shown = "All" if len(tiles) == len(archive) else f"{len(tiles):,} of"
    span = "layer 1" if layers == 1 else f"layers 1 to {layers}"
    summary = (
        f"{shown} {plural(len(archive), 'picture')}, decoded from {span}; "
        f"the archive has {statistics.file_bytes:,} bytes"
    )
    heads, rows = bytes_table(statistics)
    tables = [Table("Bytes that a job reads, by layers and size", heads, rows)] if rows else []
    if statistics.failures:
        causes = [(_clipped(cause), f"{n:,}") for cause, n in statistics.failures.items()]
        tables.append(Table("Failed inputs by cause", ("cause", "inputs"), causes))
    return (
        page_environment("underpaint.pipelines.serve")
        .get_template("sheet.html")
        .render(
            title=_clipped(archive.storage.root.rstrip("/").rpartition("/")[2]),
            summary=summary,
            tiles=tiles,
            tables=tables,
            opens_archive=archive_url is not None,
            origin=origin,
        )
    )


def _clipped(text: str) -> str:
    return clipped(text, LONGEST_TEXT)
