"""Capture metadata of a picture, from its EXIF block: date, camera, orientation, GPS presence.

Source: EXIF 3.0 (CIPA DC-008) sections 4.6.4 to 4.6.6.
"""

from __future__ import annotations

import re
from datetime import datetime

from underpaint.codec.errors import PictureDamaged
from underpaint.codec.image_io.tiff import EXIF, ORIENTATION, Directory, read_exif, sub_directory

_MAKE, _MODEL, _DATE, _GPS = 271, 272, 306, 34853
_DATES = ((36867, 36881), (36868, 36882))
"""Tags of date and time zone: of the exposure, then of digitisation."""
_DATE_ZONE = 36880
_LATITUDE, _LONGITUDE = 2, 4
_MOST_CHARACTERS = 64
_ZONE = re.compile(r"[+-]\d\d:\d\d")


def capture_metadata(block: bytes) -> dict[str, str | int | bool]:
    """Return what an EXIF block, or a TIFF file, says about how a picture was taken.

    `date` (ISO 8601, with a time zone if the block has one), `make`, `model` (at most 64 characters
    each), `orientation` (1 to 8), and `gps` (true if there is a position); a member that is absent
    or not valid is left out. The position itself is never returned.
    """
    found: dict[str, str | int | bool] = {}
    try:
        first = read_exif(block)
    except PictureDamaged:
        return found
    exif = sub_directory(first, EXIF)
    date = _date(first, exif)
    if date:
        found["date"] = date
    for name, tag in (("make", _MAKE), ("model", _MODEL)):
        text = _text(first, tag)
        if text:
            found[name] = text
    orientation = first.number(ORIENTATION, 0)
    if 1 <= orientation <= 8:
        found["orientation"] = orientation
    gps = sub_directory(first, _GPS)
    if gps and {_LATITUDE, _LONGITUDE} <= gps.fields.keys():
        found["gps"] = True
    return found


def _date(first: Directory, exif: Directory | None) -> str:
    candidates = [(exif, date, zone) for date, zone in _DATES if exif]
    for place, tag, zone_tag in (*candidates, (first, _DATE, _DATE_ZONE)):
        try:
            date = datetime.strptime(_text(place, tag), "%Y:%m:%d %H:%M:%S")
        except ValueError:
            continue
        zone = _text(exif, zone_tag) if exif else ""
        return date.isoformat() + (zone if _ZONE.fullmatch(zone) else "")
    return ""


def _text(directory: Directory | None, tag: int) -> str:
    """Return the printable text of a tag up to its first NUL; "" if there is none."""
    field = directory.fields.get(tag) if directory else None
    if directory is None or field is None or field.type not in (2, 129):
        return ""
    content = directory.data[field.offset : field.offset + min(field.length, 4 * _MOST_CHARACTERS)]
    text = content.split(b"\0")[0].decode("utf-8", "replace").strip()
    return "".join(character for character in text if character.isprintable())[:_MOST_CHARACTERS]
