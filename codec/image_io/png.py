"""Checks of PNG files (ISO/IEC 15948 sections 5 and 11) before any pixel is decoded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from underpaint.codec.errors import PictureDamaged
from underpaint.codec.image_io.colour_spaces import SRGB, ColourSpace, of_code_points, of_gamma
from underpaint.codec.image_io.exif import exif_colour_space
from underpaint.codec.image_io.header import Header, check_size
from underpaint.codec.image_io.tiff import exif_orientation
from underpaint.codec.limits import MAX_PICTURE_PARTS, MAX_PROFILE_BYTES

_DEFLATE_RATIO = 1032
"""Most bytes that one byte of a deflate stream can expand to (258 bytes in two bits)."""

_COLOUR_BYTES = {b"cICP": 4, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32}
_CHECKED = (b"tRNS", b"iCCP", b"eXIf", *_COLOUR_BYTES)
"""Chunks that are ignored, with a note, if their checksum is wrong."""

_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start of content and length of each chunk up to IEND; check critical
    checksums.
    """
    at = 8
    for _ in range(MAX_PICTURE_PARTS):
        if at + 12 > len(data):
            raise PictureDamaged("PNG is cut: its end is missing")
        length, name = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            raise PictureDamaged(f"PNG is cut in its {name.decode('latin-1')!r} chunk")
        if not name.isalpha():
            raise PictureDamaged(f"PNG chunk has the bad name {name!r}")
        if name[0] < 0x60 and not _png_sound(data, at, length):
            raise PictureDamaged(f"PNG chunk {name.decode()} fails its checksum")
        yield name, at + 8, length
        at += 12 + length
        if name == b"IEND":
            return
    raise PictureDamaged(f"PNG has more than {MAX_PICTURE_PARTS} chunks")


def _png_sound(data: bytes, start: int, length: int) -> bool:
    content = memoryview(data)[start + 4 : start + 8 + length]
    (expected,) = struct.unpack_from(">I", data, start + 8 + length)
    return zlib.crc32(content) == expected


def scan_png(data: bytes) -> Header:
    """Check a PNG; keep the parts that its first frame consists of."""
    if data[4:8] != b"\r\n\x1a\n":
        raise PictureDamaged("PNG signature was altered, as by a transfer in text mode")
    kept = bytearray(data[:8])
    profile: bytes | None = None
    orientation, depth, pixels_end, packed, unpacked = 1, 0, 0, 0, 0
    notes: dict[str, str] = {}
    colours: dict[bytes, bytes] = {}
    exif = b""
    for name, start, length in _png_chunks(data):
        content = data[start : start + length] if name != b"IDAT" else b""
        if (name == b"IHDR") != (depth == 0):
            raise PictureDamaged("PNG does not begin with one IHDR chunk")
        if name == b"IHDR":
            width, height, depth, colour, *methods = struct.unpack(">IIBBBBB", content)
            check_size("PNG", width, height)
            if depth not in _PNG_DEPTHS.get(colour, ()) or max(methods[:2]) or methods[2] > 1:
                raise PictureDamaged(f"PNG has no colour type {colour} of {depth} bits")
            unpacked = height * (width * depth * _PNG_SAMPLES[colour] // 8)
        elif name == b"IDAT":
            if pixels_end and pixels_end != start - 8:
                raise PictureDamaged("PNG has chunks between its IDAT chunks")
            pixels_end = start + length + 4
            packed += length
        elif name[0] < 0x60 and name not in (b"PLTE", b"IEND"):
            raise PictureDamaged(f"PNG has the unknown critical chunk {name.decode()}")
        elif name in _CHECKED and not _png_sound(data, start - 8, length):
            notes["damaged"] = f"damaged {name.decode()} chunk ignored"
            continue
        if name == b"iCCP":
            profile = _png_profile(content)
        elif name == b"eXIf":
            exif = content
            orientation = exif_orientation(content)
        elif name == b"acTL":
            notes["frames"] = "first frame of an animation"
        elif name in _COLOUR_BYTES and length == _COLOUR_BYTES[name]:
            colours[name] = content
        if name in (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"):
            kept += memoryview(data)[start - 8 : start + length + 4]
    if not pixels_end:
        raise PictureDamaged("PNG has no IDAT chunk")
    if unpacked > packed * _DEFLATE_RATIO:
        raise PictureDamaged(f"PNG of {width} x {height} pixels has {packed} bytes for them")
    space, profile, note = _colour_space(colours, profile)
    if exif and profile is None and space is None and not note:
        space, note = exif_colour_space(exif)
    if note:
        notes["colour"] = note
    return Header(
        "PNG",
        bytes(kept),
        depth,
        orientation,
        profile,
        space,
        exif=exif,
        narrow=b"cICP" in colours and space is not None and not colours[b"cICP"][3],
        notes=tuple(notes.values()),
    )


def _colour_space(
    chunks: dict[bytes, bytes], profile: bytes | None
) -> tuple[ColourSpace | None, bytes | None, str]:
    """Return space, profile and note by the precedence of chunks: cICP, iCCP, sRGB, gAMA and cHRM.

    Source: PNG, third edition, section 4.3 and 11.3.2.
    """
    note = ""
    if b"cICP" in chunks:
        primaries, transfer, matrix, full = chunks[b"cICP"]
        if matrix or full > 1:
            note = "damaged cICP chunk ignored"
        else:
            space, note = of_code_points(primaries, transfer)
            if space:
                return space, None, ""
    if profile is not None:
        return None, profile, note
    if b"sRGB" in chunks:
        return SRGB, None, note
    gamma = int.from_bytes(chunks.get(b"gAMA", b""), "big")
    points = struct.unpack(">8I", chunks[b"cHRM"]) if b"cHRM" in chunks else None
    if note or (points is None and b"gAMA" not in chunks):
        return None, None, note
    if b"gAMA" in chunks and not gamma:
        return None, None, "gamma 0.000 not applied"
    exponent = 100_000 / gamma if gamma else None
    named = tuple(value / 100_000 for value in (*points[2:], *points[:2])) if points else None
    space, note = of_gamma(exponent, named)
    return space, None, note


def _png_profile(content: bytes) -> bytes:
    """Return the profile of an iCCP chunk, cut one byte over the limit; b"" if it does not
    inflate.
    """
    try:
        packed = content[content.index(b"\0") + 2 :]
        return zlib.decompressobj().decompress(packed, MAX_PROFILE_BYTES + 1)
    except (ValueError, zlib.error):
        return b""
