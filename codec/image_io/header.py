"""The checked header of a picture file, and the checks that all formats share."""

from __future__ import annotations

from dataclasses import dataclass

from underpaint.codec.errors import PictureDamaged, PictureTooLarge
from underpaint.codec.image_io.colour_spaces import ColourSpace
from underpaint.codec.limits import MAX_PIXELS, MAX_SIDE


@dataclass(frozen=True)
class Header:
    """A scanned picture: its format, the bytes for the decoder, and facts that the decoder
    omits.
    """

    format: str
    data: bytes
    depth: int = 8
    orientation: int = 1
    profile: bytes | None = None
    space: ColourSpace | None = None
    """The colour space that the file names by other means than an ICC profile."""
    narrow: bool = False
    """Samples go from 16 to 235 instead of 0 to 255."""
    exif: bytes = b""
    """The EXIF block, where the decoder does not return it as it was."""
    unsigned: bool = True
    white_is_zero: bool = False
    unclosed: bool = False
    """A JPEG of one scan lacks its end marker; its pixels may be complete."""
    opaque: bool = False
    """The header says that a fourth channel is no alpha."""
    notes: tuple[str, ...] = ()


def check_size(format: str, width: int, height: int) -> None:
    """Raise PictureTooLarge if sides or pixels exceed the limits, PictureDamaged if a side is 0."""
    if width < 1 or height < 1:
        raise PictureDamaged(f"{format} of {width} x {height} pixels has no pixels")
    if max(width, height) > MAX_SIDE:
        raise PictureTooLarge(
            f"{format} of {width} x {height} pixels: sides go up to {MAX_SIDE} pixels"
        )
    if width * height > MAX_PIXELS:
        raise PictureTooLarge(
            f"{format} of {width} x {height} pixels: the limit is {MAX_PIXELS} pixels"
        )


def check_length(format: str, length: int, needed: int) -> None:
    """Raise PictureDamaged if fewer bytes of pixels are there than needed."""
    if length < needed:
        raise PictureDamaged(f"{format} is cut: {length} of {needed} bytes of pixels")
