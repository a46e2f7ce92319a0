"""Colour spaces that EXIF blocks and TIFF files name.

Sources: EXIF 3.0 (CIPA DC-008) sections 4.6.4 to 4.6.6; DCF 2.0 (CIPA DC-009) section 3.2, which
marks Adobe RGB by the interoperability index R03; TIFF 6.0 section 20.
"""

from __future__ import annotations

import struct

from underpaint.codec.errors import PictureDamaged
from underpaint.codec.image_io.colour_spaces import ADOBE_RGB, SRGB, ColourSpace, of_gamma
from underpaint.codec.image_io.tiff import EXIF, Directory, read_exif, sub_directory

_WHITE_POINT, _PRIMARIES = 318, 319
_COLOUR_SPACE, _INTEROPERABILITY, _GAMMA = 40961, 40965, 42240
_SRGB, _ADOBE_RGB, _UNCALIBRATED = 1, 2, 0xFFFF
_UNNAMED = "colour space not named (EXIF: uncalibrated), taken as sRGB"


def exif_colour_space(exif: bytes) -> tuple[ColourSpace | None, str]:
    """Return the colour space that an EXIF block names, and a note if it names none that is known.

    The block may have its `Exif` prefix. (None, "") if it says nothing, or is damaged.
    """
    try:
        return tiff_colour_space(read_exif(exif))
    except PictureDamaged:
        return None, ""


def tiff_colour_space(first: Directory) -> tuple[ColourSpace | None, str]:
    """Return the colour space that the first directory of a TIFF file names, as above."""
    exif = sub_directory(first, EXIF)
    space = exif.number(_COLOUR_SPACE, 0) if exif else 0
    if exif and space in (_UNCALIBRATED, _ADOBE_RGB):
        interoperability = sub_directory(exif, _INTEROPERABILITY)
        if space == _ADOBE_RGB or (
            interoperability and interoperability.content(1).startswith(b"R03")
        ):
            return ADOBE_RGB, ""
    if space == _SRGB:
        return SRGB, ""
    white, primaries = _fractions(first, _WHITE_POINT, 2), _fractions(first, _PRIMARIES, 6)
    gamma = _fractions(exif, _GAMMA, 1) if exif else None
    if primaries or gamma:
        named = (*primaries, *(white or SRGB.primaries[6:])) if primaries else None
        return of_gamma(gamma[0] if gamma else 2.2, named)
    return None, _UNNAMED if space else ""


def _fractions(directory: Directory, tag: int, count: int) -> tuple[float, ...] | None:
    """Return the unsigned fractions of a tag; None unless there are `count` sound ones."""
    field = directory.fields.get(tag)
    if field is None or field.type != 5 or field.count != count:
        return None
    numbers = struct.unpack(f"{directory.order}{count * 2}I", directory.content(tag))
    if not all(numbers[1::2]):
        return None
    return tuple(a / b for a, b in zip(numbers[::2], numbers[1::2], strict=True))
