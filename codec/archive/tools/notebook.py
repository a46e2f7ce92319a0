"""How archives, rows and states look in a notebook: HTML without scripts, all text escaped, and PNG
for tools that show no HTML.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO

import numpy as np
from PIL import Image

from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.rows import Row
from underpaint.codec.archive.tools.bytes_table import bytes_table
from underpaint.codec.archive.tools.sample import sampled_rows
from underpaint.codec.bitstream import picture_header
from underpaint.codec.codecs import SHARED
from underpaint.codec.counts import plural
from underpaint.codec.errors import LayerDamaged, UnderpaintError
from underpaint.codec.foreign_text import clipped
from underpaint.codec.reconstruct.backend import Latents
from underpaint.codec.runtime.pages import page_environment

SHEET_PICTURES = 12
"""Pictures on the contact sheet of an archive, evenly spread over its rows."""

SHEET_LAYERS = 2
"""Layers that the contact sheet is decoded from."""

TILE = 128
"""Side in pixels of a picture on the contact sheet."""

LONGEST_SIDE = 512
"""Pictures of a row are shown at about this many pixels."""

LONGEST_TEXT = 300
"""Characters of a text that are shown."""


def archive_html(archive: Archive) -> str:
    """Return a contact sheet of a few pictures, and a table of bytes by layers and size.

    Reads the coarse layers of the pictures shown. What cannot be read or decoded is named.
    """
    sheet, problem = b"", ""
    try:
        sheet = _png(_sheet(archive)) if len(archive) else b""
    except (UnderpaintError, OSError) as error:
        problem = f"The pictures cannot be shown: {error}"
    statistics = archive.statistics()
    heads, rows = bytes_table(statistics)
    return _render(
        title=f"{plural(len(archive), 'picture')}, {plural(statistics.file_bytes, 'byte')}",
        sheet=sheet,
        sheet_text="A few pictures of the archive",
        problem=problem,
        heads=heads,
        rows=rows,
    )


def archive_png(archive: Archive) -> bytes | None:
    """Return the contact sheet of `archive_html` as PNG; None if there is nothing to show."""
    if not len(archive):
        return None
    with suppress(UnderpaintError, OSError):
        return _png(_sheet(archive))
    return None


def row_html(row: Row) -> str:
    """Return a picture of a row from the layers that it holds, and a table of its facts."""
    sheet, problem = b"", ""
    try:
        sheet = _png(_pixels_of(row))
    except (UnderpaintError, OSError) as error:
        problem = f"The picture cannot be shown: {error}"
    source = [("source", row.source_uri)] if row.source_uri else []  # not every row is read with it
    facts = [
        ("size", f"{row.width} × {row.height}"),
        *source,
        *((name, str(value)) for name, value in row.labels.items() if value is not None),
        *(("note", note) for note in row.notes),
    ]
    lengths = [len(layer) for layer in row.layers]
    totals = np.cumsum(lengths).tolist()
    return _render(
        title=row.key,
        sheet=sheet,
        sheet_text=row.key,
        problem=problem,
        facts=[(_clipped(name), _clipped(value)) for name, value in facts],
        heads=["layer", "bytes", "bytes, layers 1 to N", "bits per pixel"],
        rows=[
            (n, f"{length:,}", f"{total:,}", f"{8 * total / (row.width * row.height):.4f}")
            for n, (length, total) in enumerate(zip(lengths, totals, strict=True), 1)
        ],
    )


def row_png(row: Row) -> bytes | None:
    """Return the picture of `row_html` as PNG; None if it cannot be decoded."""
    with suppress(UnderpaintError, OSError):
        return _png(_pixels_of(row))
    return None


def latents_html(latents: Latents) -> str:
    """Return the class map of a state, and the shapes of its arrays."""
    arrays = {name: getattr(latents, name) for name in ("class_map", "embedding", "coefficients")}
    classes = len(np.unique(latents.class_map))
    return _render(
        title=f"State of {latents.class_map.shape[1]} × {latents.class_map.shape[0]} positions",
        sheet=latents_png(latents),
        sheet_text=f"Class map of {classes} classes",
        facts=[(name, f"{array.dtype} {list(array.shape)}") for name, array in arrays.items()],
    )


def latents_png(latents: Latents) -> bytes:
    """Return the class map of a state as PNG."""
    return _png(_coloured(latents.class_map))


def _sheet(archive: Archive) -> np.ndarray:
    """Return a few pictures side by side, uint8 [H, W, 3], read page by page."""
    size = min(TILE, archive.sizes[0] or TILE)
    layers = min(SHEET_LAYERS, len(archive.layer_names))
    rows = [row for _, row in sampled_rows(archive, SHEET_PICTURES, layers, size)]
    codec = SHARED.reading(archive.weights_id)
    pictures = codec.decode([row.layers for row in rows], size=size, refine=False)
    columns = min(6, len(pictures))
    lines = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * TILE, lines * TILE), "white")
    for place, pixels in enumerate(pictures):
        image = Image.fromarray(pixels)
        image.thumbnail((TILE, TILE))
        left, top = place % columns * TILE, place // columns * TILE
        sheet.paste(image, (left + (TILE - image.width) // 2, top + (TILE - image.height) // 2))
    return np.asarray(sheet)


def _pixels_of(row: Row) -> np.ndarray:
    """Decode a row at a size whose sides are LONGEST_SIDE or a little more, if it is as large.

    A row that was read at a smaller size is decoded at the largest that its layers hold.
    """
    codec = SHARED.reading(picture_header(row.layers).weights_id)
    size = max(1, LONGEST_SIDE * min(row.width, row.height) // max(row.width, row.height))
    while True:
        try:
            return codec.decode([row.layers], size=size)[0]
        except LayerDamaged as error:
            if error.rule != "S9" or size == 1:  # S9: a part is missing
                raise
            size //= 2


def _coloured(class_map: np.ndarray) -> np.ndarray:
    """Return a class map, int64 [h, w], in a fixed colour for each class, enlarged."""
    palette = np.random.default_rng(0).integers(40, 230, (4096, 3), dtype=np.uint8)
    factor = max(1, 256 // max(class_map.shape))
    return palette[class_map].repeat(factor, 0).repeat(factor, 1)


def _png(pixels: np.ndarray) -> bytes:
    out = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "PNG")
    return out.getvalue()


def _clipped(text: str) -> str:
    return clipped(text, LONGEST_TEXT)


def _render(
    *,
    title: str,
    sheet: bytes,
    sheet_text: str,
    problem: str = "",
    facts: Sequence[tuple[str, str]] = (),
    heads: Sequence[str] = (),
    rows: Sequence[tuple[object, ...]] = (),
) -> str:
    environment = page_environment("underpaint.codec.archive.tools")
    return environment.get_template("notebook.html").render(
        title=_clipped(title),
        sheet=base64.b64encode(sheet).decode(),
        sheet_text=_clipped(sheet_text),
        problem=problem,
        facts=facts,
        heads=heads,
        rows=rows,
    )
