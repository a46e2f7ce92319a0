"""Checks of AVIF and HEIC files (ISO/IEC 23008-12) before any pixel is decoded.

Both are HEIF containers; the type of the primary picture's item tells them apart. Orientation comes
from the `irot` and `imir` properties alone (section 6.5.10 to 6.5.12): a decoder never sees an EXIF
orientation, and libheif applies the properties itself.
"""

from __future__ import annotations

import importlib.util
import re
import struct

from underpaint.codec.errors import PictureDamaged, UnsupportedFormat
from underpaint.codec.image_io.boxes import Item, Items, read_items
from underpaint.codec.image_io.colour_spaces import ColourSpace, of_code_points
from underpaint.codec.image_io.header import Header, check_size
from underpaint.codec.limits import MAX_EXIF_BYTES

_CODINGS = {
    b"av01": "AVIF",
    b"hvc1": "HEIC",
    b"hev1": "HEIC",
    b"jpeg": "JPEG",
    b"avc1": "H.264",
    b"vvc1": "H.266",
    b"j2k1": "JPEG 2000",
    b"unci": "uncompressed",
}
_DERIVED = (b"grid", b"iovl", b"iden")
_ORIENTATIONS = {
    (0, None): 1,
    (0, 1): 2,
    (2, None): 3,
    (0, 0): 4,
    (1, 0): 5,
    (3, None): 6,
    (1, 1): 7,
    (1, None): 8,
    (2, 0): 2,
    (2, 1): 4,
    (3, 0): 7,
    (3, 1): 5,
}
"""Quarter turns anticlockwise, then the axis of a mirror image -> EXIF orientation."""

MISSING = "HEIC is read with pillow-heif, which the extra `heif` installs"
"""Message about a HEIC picture without that package; it is stored, so it names no folder."""

_AVIF_EXIF_ITEM = re.compile(rb"(infe[\x02\x03].{3}.{4,6}?)Exif", re.DOTALL)
_MAX_DERIVATIONS = 8
MAX_EXTENTS = 16
"""Most extents of an EXIF block that are read."""


def scan_heif(data: bytes) -> Header:
    """Check a HEIF container.

    Raises UnsupportedFormat if the pictures are coded in another way than AVIF and HEIC, or are
    HEIC and the package `pillow-heif` is not installed.
    """
    length = min(struct.unpack_from(">I", data)[0], 4096)
    brands = {data[at : at + 4] for at in (8, *range(16, length, 4))}
    items = read_items(data)
    if items is None:
        if not brands & {b"avif", b"avis"}:
            raise UnsupportedFormat("HEIC sequences without a still picture are not read")
        return Header("AVIF", data)
    coding = _coding(items, items.primary)
    if coding not in ("AVIF", "HEIC"):
        raise UnsupportedFormat(f"HEIF with {coding} pictures is not read")
    if coding == "HEIC" and importlib.util.find_spec("pillow_heif") is None:
        raise UnsupportedFormat(MISSING)
    sizes = [
        struct.unpack(">II", content[4:12])
        for item in items.items.values()
        for kind, content in item.properties
        if kind == b"ispe" and len(content) >= 12
    ]
    if not sizes:
        raise PictureDamaged(f"{coding} announces no size")
    for width, height in sizes:
        check_size(coding, width, height)
    primary = items.items[items.primary]
    properties = dict(primary.properties)
    exif = _exif(data, items)
    pixi = properties.get(b"pixi", b"")
    orientation = _orientation(primary)
    notes = [] if orientation == 1 or coding == "AVIF" else [f"orientation {orientation} applied"]
    if coding == "AVIF":
        head = data[:65536]
        if _AVIF_EXIF_ITEM.search(head):
            data = _AVIF_EXIF_ITEM.sub(rb"\1none", head) + data[65536:]
    elif _others(items):
        notes.insert(0, "first picture of several")
    space, note = _colour_space(primary)
    if note:
        notes.append(note)
    depth = pixi[5] if len(pixi) > 5 else 8
    return Header(coding, data, depth, orientation, space=space, exif=exif, notes=tuple(notes))


def _exif(data: bytes, items: Items) -> bytes:
    """Return the EXIF block of the primary picture; b"" if there is none."""
    for number in items.referring(b"cdsc", items.primary):
        item = items.items.get(number)
        if item and item.type == b"Exif" and item.extents:
            block = b"".join(
                data[start : start + min(length, MAX_EXIF_BYTES)]
                for start, length in item.extents[:MAX_EXTENTS]
            )
            return block[4 + int.from_bytes(block[:4], "big") :]
    return b""


def _colour_space(picture: Item) -> tuple[ColourSpace | None, str]:
    """Return the space of the `colr` properties; None if an ICC profile is there, as that wins."""
    found: tuple[ColourSpace | None, str] = (None, "")
    for kind, content in picture.properties:
        if kind == b"colr" and content[:4] in (b"prof", b"rICC"):
            return None, ""
        if kind == b"colr" and content[:4] == b"nclx" and len(content) >= 10:
            found = of_code_points(*struct.unpack(">HH", content[4:8]))
    return found


def _coding(items: Items, number: int) -> str:
    """Return how a picture is coded, following derivations to its first tile."""
    for _ in range(_MAX_DERIVATIONS):
        item = items.items.get(number)
        if item is None:
            raise PictureDamaged("HEIF lacks its primary picture")
        if item.type not in _DERIVED:
            return _CODINGS.get(item.type, repr(item.type.decode("latin-1")))
        parts = items.referred(b"dimg", number)
        if not parts:
            raise PictureDamaged("HEIF has a grid without tiles")
        number = parts[0]
    raise PictureDamaged("HEIF derives its picture in too many steps")


def _orientation(item: Item) -> int:
    turns, mirror = 0, None
    for kind, content in item.properties:
        if kind == b"irot" and content:
            turns = content[0] & 3
        elif kind == b"imir" and content:
            mirror = content[0] & 1
    return _ORIENTATIONS[turns, mirror]


def _others(items: Items) -> bool:
    """Return whether there are pictures besides the primary one and its parts."""
    parts = {
        part
        for kind, source, targets in items.references
        for part in ((source,) if kind in (b"thmb", b"auxl", b"cdsc") else targets)
    }
    pictures = {n for n, item in items.items.items() if item.type in (*_CODINGS, *_DERIVED)}
    return bool(pictures - parts - {items.primary})
