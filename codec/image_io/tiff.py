"""A minimal reader of TIFF directories.

The EXIF orientation of JPEG, PNG and WebP files is stored in such a directory, and a TIFF file is a
chain of them. Every count and offset is checked against the available bytes. The decoder gets a
TIFF file whose directory holds only the structural tags of its first page, so that no metadata,
thumbnail or further page reaches it.

Source: TIFF revision 6.0 section 2 (Adobe, 1992); BigTIFF design (libtiff).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from underpaint.codec.errors import PictureDamaged
from underpaint.codec.limits import MAX_PICTURE_PARTS

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, ORIENTATION, SAMPLES, STRIP_BYTES, PLANES = 273, 274, 277, 279, 284
COLOUR_MAP, TILE_OFFSETS, TILE_BYTES, SAMPLE_FORMAT, PROFILE = 320, 324, 325, 339, 34675
EXIF = 34665
"""Tag of the directory of EXIF fields."""

_SINGLE = {WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, 266, SAMPLES, 278, PLANES, 292, 293, 317}
_SINGLE |= {322, 323, 332, 512, 513, 514, 515, 531}
_MANY = {BITS, STRIP_OFFSETS, STRIP_BYTES, COLOUR_MAP, TILE_OFFSETS, TILE_BYTES, 338, SAMPLE_FORMAT}
_MANY |= {347, 519, 520, 521, 529, 530, 532}
_PARTS = {STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES}

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TYPE_BYTES |= {16: 8, 17: 8, 18: 8}
_UNSIGNED = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
_MAX_SAMPLES = 6


@dataclass(frozen=True)
class Field:
    """One tag: its type, its number of values and their position in the file."""

    type: int
    count: int
    offset: int

    @property
    def length(self) -> int:
        """Number of bytes of all values."""
        return self.count * _TYPE_BYTES[self.type]


@dataclass(frozen=True)
class Directory:
    """One directory of a TIFF file; its values are still in `data`."""

    data: bytes
    order: str
    big: bool
    start: int
    fields: dict[int, Field]
    next: int

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Return the values of an unsigned tag; empty if it is absent or of another type."""
        field = self.fields.get(tag)
        if field is None or field.type not in _UNSIGNED:
            return ()
        return struct.unpack_from(
            f"{self.order}{field.count}{_UNSIGNED[field.type]}", self.data, field.offset
        )

    def number(self, tag: int, default: int) -> int:
        """Return the first value of an unsigned tag, or `default`."""
        return (self.numbers(tag) or (default,))[0]

    def content(self, tag: int) -> bytes:
        """Return the bytes of a tag; empty if it is absent."""
        field = self.fields.get(tag)
        return self.data[field.offset : field.offset + field.length] if field else b""


def read_first_directory(data: bytes) -> Directory:
    """Parse the first directory of a TIFF file or EXIF block.

    Tags of unknown types and tags whose values lie outside of `data` are left out. Raises
    PictureDamaged if the directory itself lies outside.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        raise PictureDamaged("TIFF header is cut or wrong")
    (version,) = struct.unpack_from(order + "H", data, 2)
    big = version == 43
    try:
        (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    except struct.error as error:
        raise PictureDamaged("TIFF header is cut or wrong") from error
    return read_directory(data, order, big, start)


def read_directory(data: bytes, order: str, big: bool, start: int) -> Directory:
    """Parse the directory at an offset, as `read_first_directory` does."""
    entry_format, pointer = (order + "HHQ", "Q") if big else (order + "HHI", "I")
    entry_bytes, inline = (20, 8) if big else (12, 4)
    try:
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
        first = start + (8 if big else 2)
        if count > 0xFFFF or first + count * entry_bytes > len(data):
            raise PictureDamaged("TIFF directory lies outside of the file")
        fields: dict[int, Field] = {}
        for at in range(first, first + count * entry_bytes, entry_bytes):
            tag, kind, values = struct.unpack_from(entry_format, data, at)
            length = values * _TYPE_BYTES.get(kind, 0)
            offset = at + entry_bytes - inline
            if length > inline:
                (offset,) = struct.unpack_from(order + pointer, data, offset)
            if length and offset + length <= len(data):
                fields.setdefault(tag, Field(kind, values, offset))
        end = first + count * entry_bytes
        following = data[end : end + struct.calcsize(pointer)]
    except (struct.error, OverflowError) as error:
        raise PictureDamaged("TIFF directory lies outside of the file") from error
    return Directory(data, order, big, start, fields, int(any(following)))


def sub_directory(directory: Directory, tag: int) -> Directory | None:
    """Return the directory that a tag points to; None if there is none, or it is damaged."""
    start = directory.number(tag, 0)
    if not start:
        return None
    try:
        return read_directory(directory.data, directory.order, directory.big, start)
    except PictureDamaged:
        return None


def read_exif(block: bytes) -> Directory:
    """Parse the first directory of an EXIF block with or without its `Exif` prefix.

    Raises as `read_first_directory`.
    """
    return read_first_directory(block.removeprefix(b"Exif\0\0"))


def exif_orientation(exif: bytes) -> int:
    """Return the orientation, 1 to 8, of an EXIF block; 1 if it has none."""
    try:
        orientation = read_exif(exif).number(ORIENTATION, 1)
    except PictureDamaged:
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def keep_structure(page: Directory) -> bytes:
    """Return the file of `page` with its directory rewritten: structural tags only, no next page.

    Raises PictureDamaged for a tag whose count is unsafe for a decoder.
    """
    kept = sorted(set(page.fields) & (_SINGLE | _MANY))
    if page.number(SAMPLES, 1) > _MAX_SAMPLES:
        raise PictureDamaged(f"TIFF has {page.number(SAMPLES, 1)} samples a pixel")
    for tag in kept:
        field = page.fields[tag]
        if tag in _SINGLE and field.count != 1:
            raise PictureDamaged(f"TIFF tag {tag} has {field.count} values")
        if tag in _PARTS and field.count > MAX_PICTURE_PARTS:
            raise PictureDamaged(f"TIFF is cut into {field.count} strips or tiles")
    for offsets, lengths in ((STRIP_OFFSETS, STRIP_BYTES), (TILE_OFFSETS, TILE_BYTES)):
        ends = map(int.__add__, page.numbers(offsets), page.numbers(lengths))
        if max(ends, default=0) > len(page.data):
            raise PictureDamaged("TIFF is cut: its strips or tiles end outside of the file")
    inline, pointer = (8, "Q") if page.big else (4, "I")
    directory = struct.pack(page.order + ("Q" if page.big else "H"), len(kept))
    for tag in kept:
        field = page.fields[tag]
        directory += struct.pack(page.order + "HH" + pointer, tag, field.type, field.count)
        if field.length <= inline:
            directory += page.content(tag).ljust(inline, b"\0")
        else:
            directory += struct.pack(page.order + pointer, field.offset)
    directory += bytes(inline)
    file = bytearray(page.data)
    file[page.start : page.start + len(directory)] = directory
    return bytes(file)
