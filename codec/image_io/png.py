"""Checks of PNG files (ISO/IEC 15948 sections 5 and 11) before any pixel is decoded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from underpaint.codec.errors import PictureDamaged
from underpaint.codec.image_io.header import Header, check_size
from underpaint.codec.image_io.tiff import exif_orientation
from underpaint.codec.limits import MAX_PICTURE_PARTS, MAX_PROFILE_BYTES

_DEFLATE_RATIO = 1032
"""Most bytes that one byte of a deflate stream can expand to (258 bytes in two bits)."""

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
        elif name in (b"tRNS", b"iCCP", b"eXIf") and not _png_sound(data, start - 8, length):
            notes["damaged"] = f"damaged {name.decode()} chunk ignored"
            continue
        if name == b"iCCP":
            profile = _png_profile(content)
        elif name == b"eXIf":
            orientation = exif_orientation(content)
        elif name == b"acTL":
            notes["frames"] = "first frame of an animation"
        elif name == b"cICP":
            notes["cicp"] = "colour space of the cICP chunk not applied"
        elif name == b"gAMA" and length == 4:
            gamma = int.from_bytes(content, "big") / 100_000
            if not 0.43 < gamma < 0.48:
                notes["gamma"] = f"gamma {gamma:.3f} not applied"
        elif name == b"sRGB":
            notes["sRGB"] = ""
        if name in (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"):
            kept += memoryview(data)[start - 8 : start + length + 4]
    if not pixels_end:
        raise PictureDamaged("PNG has no IDAT chunk")
    if unpacked > packed * _DEFLATE_RATIO:
        raise PictureDamaged(f"PNG of {width} x {height} pixels has {packed} bytes for them")
    if "sRGB" in notes or profile:
        notes.pop("sRGB", None)
        notes.pop("gamma", None)
    return Header("PNG", bytes(kept), depth, orientation, profile, notes=tuple(notes.values()))


def _png_profile(content: bytes) -> bytes:
    """Return the profile of an iCCP chunk, cut one byte over the limit; b"" if it does not
    inflate.
    """
    try:
        packed = content[content.index(b"\0") + 2 :]
        return zlib.decompressobj().decompress(packed, MAX_PROFILE_BYTES + 1)
    except (ValueError, zlib.error):
        return b""
