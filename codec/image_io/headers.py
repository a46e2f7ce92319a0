"""Checks of a picture file before any pixel is decoded.

Each scanner walks the container of one format and checks what needs no decoding: size, truncation,
checksums. It returns the bytes for the decoder: the whole file, or only the parts of the first
frame. Text, thumbnails, further frames and other metadata never reach a decoder.

Sources: JPEG ITU-T T.81 annex B; PNG ISO/IEC 15948 section 5 and 11; GIF89a; WebP RFC 9649 section
2.7; JPEG 2000 ITU-T T.800 annex A and I; Netpbm manual pages.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

import numpy as np

from underpaint.codec.errors import PictureDamaged, PictureTooLarge, UnsupportedFormat
from underpaint.codec.image_io.colour_spaces import (
    ROMM_RGB,
    SRGB,
    ColourSpace,
    of_code_points,
    of_gamma,
)
from underpaint.codec.image_io.exif import tiff_colour_space
from underpaint.codec.image_io.header import Header, check_length, check_size
from underpaint.codec.image_io.heif import scan_heif
from underpaint.codec.image_io.png import scan_png
from underpaint.codec.image_io.raster import (
    is_tga,
    scan_dds,
    scan_pcx,
    scan_qoi,
    scan_sgi,
    scan_sun,
    scan_tga,
)
from underpaint.codec.image_io.tiff import (
    BITS,
    COMPRESSION,
    HEIGHT,
    ORIENTATION,
    PHOTOMETRIC,
    PROFILE,
    SAMPLE_FORMAT,
    SAMPLES,
    WIDTH,
    keep_structure,
    read_first_directory,
)
from underpaint.codec.image_io.unreadable import raw_photo, text_format, unreadable_format
from underpaint.codec.limits import (
    MAX_JPEG_SCANS,
    MAX_PICTURE_PARTS,
    MAX_PROFILE_BYTES,
    MAX_SOURCE_BYTES,
)


def scan(data: bytes) -> Header:
    """Recognise the format by the first bytes and check the header.

    Raises UnsupportedFormat, PictureTooLarge or PictureDamaged.
    """
    if len(data) > MAX_SOURCE_BYTES:
        raise PictureTooLarge(f"{len(data)} bytes: the limit is {MAX_SOURCE_BYTES} bytes")
    if not data:
        raise UnsupportedFormat("the file is empty")
    if data[8:10] == b"CR" and data.startswith(b"II*\0"):
        raise UnsupportedFormat("CR2 (Canon raw) is not read")
    for signature, scanner in _SCANNERS:
        if signature.match(data):
            try:
                return scanner(data)
            except (struct.error, IndexError) as error:
                raise PictureDamaged("the header is cut") from error
    name = unreadable_format(data)
    if name:
        raise UnsupportedFormat(f"{name} is not read")
    if is_tga(data):
        return scan_tga(data)
    text = text_format(data)
    raise UnsupportedFormat(
        f"no known picture format begins with the bytes {data[:8].hex(' ')}"
        + (f"; it is {text}" if text else "")
    )


def _scan_jpeg(data: bytes) -> Header:
    notes: tuple[str, ...] = ()
    start = data.index(b"\xff\xd8")
    if start:
        data, notes = data[start:], ("line end before the JPEG ignored",)
    at, segments, exifs, junk, components = 2, 0, 0, 0, 0
    jfif = baseline = False
    adobe: int | None = None
    while True:
        start = data.find(b"\xff", at)
        if start < 0:
            raise PictureDamaged("JPEG is cut before its first scan")
        junk += start - at
        marker = data[start + 1]
        at = start + 2
        if marker == 0xFF or marker == 0:
            at -= marker == 0xFF
            junk += 1
        elif marker == 0xDA:
            break
        elif not 0xD0 <= marker <= 0xD9 and marker != 1:
            (length,) = struct.unpack_from(">H", data, at)
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                height, width = struct.unpack_from(">HH", data, at + 3)
                check_size("JPEG", width, height)
                components, baseline = data[at + 7], marker in (0xC0, 0xC1)
            jfif |= marker == 0xE0 and data.startswith(b"JFIF\0", at + 2)
            if marker == 0xEE and data.startswith(b"Adobe", at + 2) and length >= 14:
                adobe = data[at + 13]
            exifs += marker == 0xE1 and data.startswith(b"Exif", at + 2)
            if marker == 0xE2 and data.startswith(b"MPF\0", at + 2):
                notes += ("first picture of several",)
            at += length
        segments += 1
        if segments > MAX_PICTURE_PARTS or exifs > 64 or junk > 1 << 16:
            raise PictureDamaged("JPEG header has too many segments")
    if components == 4 and adobe is None:
        notes += ("CMYK without an Adobe marker taken as inverted",)
    if components == 3 and adobe == 0 and jfif:
        notes += ("Adobe marker for RGB ignored beside JFIF",)
    scans = data.count(b"\xff\xda")
    if scans > MAX_JPEG_SCANS:
        raise PictureTooLarge(f"JPEG of {scans} scans: the limit is {MAX_JPEG_SCANS} scans")
    unclosed = baseline and scans == 1 and data.find(b"\xff\xd9", at) < 0
    return Header("JPEG", data, notes=notes, unclosed=unclosed)


def _scan_gif(data: bytes) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + _gif_table(flags)
    tables, control, frame = data[10:at], b"", b""
    profile: bytes | None = None
    while True:
        at = _ZEROS.match(data, at).end()  # type: ignore[union-attr]
        kind = data[at : at + 1]
        if kind == b"!":
            end = _gif_blocks_end(data, at + 2)
            if data[at + 1] == 0xF9:
                control = data[at:end]
            elif data[at + 1 : at + 14] == b"\xff\x0bICCRGBG1012" and not frame:
                profile = _gif_blocks(data, at + 14, end)
            at = end
        elif kind == b"," and not frame:
            x, y, w, h, flags = struct.unpack_from("<HHHHB", data, at + 1)
            width, height = max(width, x + w), max(height, y + h)
            check_size("GIF", width, height)
            end = _gif_blocks_end(data, at + 11 + _gif_table(flags))
            frame = control + data[at:end]
            at = end
        else:
            break
    if not frame:
        raise PictureDamaged("GIF has no frame")
    notes = ("first frame of an animation",) if kind == b"," else ()
    head = data[:6] + struct.pack("<HH", width, height)
    return Header("GIF", b"".join((head, tables, frame, b";")), profile=profile, notes=notes)


_ZEROS = re.compile(rb"\0*")


def _gif_table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _gif_blocks_end(data: bytes, at: int) -> int:
    """Return the position after the chain of sub-blocks that starts at `at`."""
    while at < len(data) and data[at]:
        at += data[at] + 1
    if at >= len(data):
        raise PictureDamaged("GIF is cut in its first frame")
    return at + 1


def _gif_blocks(data: bytes, at: int, end: int) -> bytes:
    """Return the contents of a chain of sub-blocks, cut where they exceed a profile's limit."""
    out = bytearray()
    while at < end and data[at] and len(out) <= MAX_PROFILE_BYTES:
        out += data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]
    return bytes(out)


def _scan_webp(data: bytes) -> Header:
    (length,) = struct.unpack_from("<I", data, 4)
    if length + 8 > len(data):
        raise PictureDamaged(f"WEBP is cut: {len(data)} of {length + 8} bytes")
    if data[12:16] == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        check_size("WEBP", width, height)
    return Header("WEBP", data)


def _scan_jpeg2000(data: bytes) -> Header:
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0:
        raise PictureDamaged("JPEG2000 has no codestream")
    x1, y1, x0, y0 = struct.unpack_from(">IIII", data, start + 8)
    tile_width, tile_height = struct.unpack_from(">II", data, start + 24)
    check_size("JPEG2000", x1 - x0, y1 - y0)
    parts = -(-x1 // max(tile_width, 1)) * -(-y1 // max(tile_height, 1))
    if parts > 65_535:
        raise PictureDamaged(f"JPEG2000 is cut into {parts} tiles")
    depth = (data[start + 42] & 0x7F) + 1
    profile, space, note = _jpeg2000_colour(data[:start])
    notes = (note,) if note else ()
    return Header("JPEG2000", data, depth, profile=profile, space=space, notes=notes)


_ENUMERATED = {16: SRGB, 17: None, 18: SRGB, 21: ROMM_RGB, 12: None, 14: None}


def _jpeg2000_colour(head: bytes) -> tuple[bytes | None, ColourSpace | None, str]:
    """Return profile, space and note of the first `colr` box that names a colour space."""
    note, at = "", head.find(b"colr")
    while at >= 4:
        (length,) = struct.unpack_from(">I", head, at - 4)
        content = head[at + 4 : at - 4 + length]
        method = content[0] if len(content) > 3 else 0
        if method in (2, 3):
            return content[3:], None, ""
        if method == 1 and len(content) >= 7:
            (number,) = struct.unpack_from(">I", content, 3)
            if number in _ENUMERATED:
                return None, _ENUMERATED[number], ""
            note = f"colour space {number} of JPEG 2000 not applied"
        if method == 5 and len(content) >= 7:
            space, note = of_code_points(*struct.unpack_from(">HH", content, 3))
            if space:
                return None, space, ""
        at = head.find(b"colr", at + 4)
    return None, None, note


_PNM = re.compile(rb"P([1-6f])" + rb"(?:\s|#[^\r\n]*[\r\n])+([^\s#]{1,12})" * 2)
_PNM_MAXVAL = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,5})\s")


def _scan_pnm(data: bytes) -> Header:
    head = _PNM.match(data)
    if head is None or not (head[2] + head[3]).isdigit():
        raise PictureDamaged("PPM header is cut or wrong")
    kind, width, height = head[1], int(head[2]), int(head[3])
    check_size("PPM", width, height)
    start = b"P%s\n%d %d" % (kind, width, height)
    if kind not in b"2356":
        body = data[head.end() :]
        row = {b"1": width, b"4": (width + 7) // 8, b"f": width * 4}[kind]
        check_length("PPM", len(body), row * height)
        body = _without_comments(body) if kind == b"1" else body
        return Header("PPM", start + body, 32 if kind == b"f" else 8)
    highest = _PNM_MAXVAL.match(data, head.end())
    if highest is None or not 0 < int(highest[1]) < 65536:
        raise PictureDamaged("PPM header has no highest value in 1 to 65535")
    maxval = int(highest[1])
    depth = 8 if maxval < 256 else 16
    samples = np.dtype("u1" if maxval < 256 else ">u2")
    count = width * height * (3 if kind in b"36" else 1)
    needed = count * samples.itemsize if kind in b"56" else 2 * count - 1
    check_length("PPM", len(data) - highest.end(), needed)
    if kind in b"23":
        return Header(
            "PPM", start + b"\n%d\n" % maxval + _without_comments(data[highest.end() :]), depth
        )
    if maxval != 255:
        values = np.frombuffer(data, samples, count, highest.end()).astype(np.uint32)
        scaled = (np.minimum(values, maxval) * 255 + maxval // 2) // maxval
        return Header("PPM", start + b"\n255\n" + scaled.astype(np.uint8).tobytes(), depth)
    return Header("PPM", start + b"\n255\n" + data[highest.end() :])


def _without_comments(text: bytes) -> bytes:
    if text.count(b"#") > MAX_PICTURE_PARTS:
        raise PictureDamaged(f"PPM has more than {MAX_PICTURE_PARTS} comments")
    return re.sub(rb"#[^\r\n]*", b"", text)


def _scan_tiff(data: bytes) -> Header:
    page = read_first_directory(data)
    raw = raw_photo(page)
    if raw:
        raise UnsupportedFormat(f"{raw} is not read")
    check_size("TIFF", page.number(WIDTH, 0), page.number(HEIGHT, 0))
    if page.number(COMPRESSION, 1) == 1:
        bits = max(page.numbers(BITS) or (1,)) * page.number(SAMPLES, 1)
        # half of it, because uncompressed YCbCr may store chroma at a quarter of the resolution
        check_length("TIFF", len(data), page.number(WIDTH, 0) * page.number(HEIGHT, 0) * bits // 16)
    orientation = page.number(ORIENTATION, 1)
    profile = page.content(PROFILE) or None
    space, note = tiff_colour_space(page) if profile is None else (None, "")
    return Header(
        "TIFF",
        keep_structure(page),
        max(page.numbers(BITS) or (1,)),
        orientation if 1 <= orientation <= 8 else 1,
        profile,
        space,
        unsigned=page.number(SAMPLE_FORMAT, 1) == 1,
        white_is_zero=page.number(PHOTOMETRIC, 0) == 0,
        notes=(*(["first page of several"] if page.next else []), *([note] if note else [])),
    )


def _scan_bmp(data: bytes) -> Header:
    (size,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    check_size("BMP", width, abs(height))
    bits, compression = struct.unpack_from("<HI", data, 28)
    if size == 12:
        (bits,), compression = struct.unpack_from("<H", data, 24), 0
    if compression in (0, 3):
        check_length("BMP", len(data), (width * bits + 31) // 32 * 4 * abs(height))
    profile, space, note = _bmp_colour(data, size)
    return Header("BMP", data, profile=profile, space=space, notes=(note,) if note else ())


def _bmp_colour(data: bytes, size: int) -> tuple[bytes | None, ColourSpace | None, str]:
    """Return profile, space and note of a BITMAPV4HEADER or BITMAPV5HEADER."""
    if size < 108:
        return None, None, ""
    kind = data[70:74][::-1]
    if kind == b"MBED" and size >= 124:
        at, length = struct.unpack_from("<II", data, 126)
        return data[14 + at : 14 + at + length], None, ""
    if kind == b"LINK":
        return None, None, "linked profile not applied"
    if kind != bytes(4):
        return None, None, ""
    points = np.array(struct.unpack_from("<9i", data, 74)).reshape(3, 3) / (1 << 30)
    gammas = np.array(struct.unpack_from("<3I", data, 110)) / (1 << 16)
    if not points.any():
        return None, None, ""
    xyz = np.vstack([points, points.sum(0)])
    if (xyz.sum(1) <= 0).any() or not gammas.all():
        return None, None, "chromaticities not applied"
    if np.ptp(gammas) > 0.05:
        return None, None, "different gammas of the channels not applied"
    named = (xyz[:, :2] / xyz.sum(1, keepdims=True)).ravel().tolist()
    space, note = of_gamma(float(gammas.mean()), tuple(named))
    return None, space, note


_SCANNERS: tuple[tuple[re.Pattern[bytes], Callable[[bytes], Header]], ...] = tuple(
    (re.compile(signature, re.DOTALL), scanner)
    for signature, scanner in (
        (rb"[\r\n]{0,2}\xff\xd8\xff", _scan_jpeg),
        (rb"\x89PNG", scan_png),
        (rb"RIFF....WEBPVP8", _scan_webp),
        (rb"....ftyp(avi[fs]|mi(f[12]|af)|msf1|hei[cxms]|hev[cxms])", scan_heif),
        (rb"GIF8[79]a", _scan_gif),
        (rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]", _scan_tiff),
        (rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n", _scan_jpeg2000),
        (rb"P[1-6f][\s#]", _scan_pnm),
        (rb"qoif", scan_qoi),
        (rb"DDS \x7c\0\0\0", scan_dds),
        (rb"\x59\xa6\x6a\x95", scan_sun),
        (rb"\x01\xda[\0\x01][\x01\x02]", scan_sgi),
        (rb"\n[\0-\x05]\x01[\x01\x02\x04\x08]", scan_pcx),
        (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", _scan_bmp),
    )
)
