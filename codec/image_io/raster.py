"""Checks of simple raster formats before any pixel is decoded: TGA, PCX, SGI, Sun, QOI and DDS.

Sources: Truevision TGA File Format Specification 2.0 (1991); ZSoft PCX technical reference manual
(1991); The SGI Image File Format 1.00; Sun rasterfile(5); The Quite OK Image Format 1.0 (2022);
Microsoft's programming guide for DDS.
"""

from __future__ import annotations

import struct

from underpaint.codec.errors import PictureDamaged, UnsupportedFormat
from underpaint.codec.image_io.header import Header, check_length, check_size

_TGA_DEPTHS = {1: (8,), 2: (16, 24, 32), 3: (8, 16)}
_TGA_FOOTER = b"TRUEVISION-XFILE.\0"
_QOI_RUN = 62
"""Most pixels that one byte of a QOI file stands for."""
_DDS_BLOCK_BYTES = {b"DXT1": 8, b"DXT3": 16, b"DXT5": 16, b"ATI1": 8, b"BC4U": 8}
_DDS_BLOCK_BYTES |= {b"ATI2": 16, b"BC5U": 16}
_DXGI_BLOCK_BYTES = {70: 8, 71: 8, 73: 16, 74: 16, 76: 16, 77: 16, 79: 8, 80: 8, 82: 16, 83: 16}
_DXGI_BLOCK_BYTES |= {97: 16, 98: 16, 99: 16}
_DDS_RGB, _DDS_LUMINANCE, _DDS_FOURCC = 0x40, 0x20000, 4


def is_tga(data: bytes) -> bool:
    """Return whether the header is that of a TGA file.

    TGA has no signature. All fields must have values of the specification; only a file with the
    footer of version 2 may have any values in the colour map fields of a picture without one.
    """
    if len(data) < 18:
        return False
    mapped, kind = data[1], data[2]
    if mapped > 1 or kind & ~8 not in _TGA_DEPTHS or (kind & 7 == 1) != (mapped == 1):
        return False
    width, height, depth, flags = struct.unpack_from("<HHBB", data, 12)
    if not (width and height) or depth not in _TGA_DEPTHS[kind & 7] or flags & 0xC0:
        return False
    if flags & 15 > {16: 8 if kind & 7 == 3 else 1, 32: 8}.get(depth, 0):
        return False
    if data.endswith(_TGA_FOOTER):
        return True
    return data[7] in (16, 24, 32) if mapped else not any(data[3:8])


def scan_tga(data: bytes) -> Header:
    """Check a TGA file whose header `is_tga` accepted."""
    kind = data[2]
    width, height, depth = struct.unpack_from("<HHB", data, 12)
    check_size("TGA", width, height)
    (colours,) = struct.unpack_from("<H", data, 5)
    start = 18 + data[0] + (colours * ((data[7] + 7) // 8) if data[1] else 0)
    pixel = depth // 8
    # a packet of at least 1 + `pixel` bytes stands for at most 128 pixels
    packed = -(-width * height // 128) * (1 + pixel)
    needed = packed if kind & 8 else width * height * pixel
    check_length("TGA", len(data) - start, needed)
    return Header("TGA", data, opaque=not data[17] & 15)


def scan_pcx(data: bytes) -> Header:
    """Check a PCX file."""
    x0, y0, x1, y1 = struct.unpack_from("<HHHH", data, 4)
    width, height = x1 - x0 + 1, y1 - y0 + 1
    check_size("PCX", width, height)
    row = (width * data[3] + 7) // 8 * max(data[65], 1)
    # a pair of bytes stands for at most 63 bytes
    check_length("PCX", len(data) - 128, row * height * 2 // 63)
    if data[1] == 5 and data[3] == 8 and data[65] == 1 and data[-769] != 12:
        raise PictureDamaged("PCX is cut: its palette is missing")
    return Header("PCX", data)


def scan_sgi(data: bytes) -> Header:
    """Check an SGI file."""
    compressed, depth, dimensions, width, height, channels = struct.unpack_from(">BBHHHH", data, 2)
    if dimensions == 1:
        height, channels = 1, 1
    elif dimensions == 2:
        channels = 1
    check_size("SGI", width, height)
    if channels not in (1, 3, 4) or depth not in (1, 2):
        raise PictureDamaged(f"SGI has {channels} channels of {depth} bytes")
    # compressed: offset and length of each row
    needed = height * channels * (8 if compressed else width * depth)
    check_length("SGI", len(data) - 512, needed)
    return Header("SGI", data, depth * 8)


def scan_sun(data: bytes) -> Header:
    """Check a Sun raster file."""
    width, height, depth, _, kind, _, colours = struct.unpack_from(">7I", data, 4)
    check_size("SUN", width, height)
    row = (width * depth + 15) // 16 * 2
    # run lengths: three bytes stand for at most 256
    needed = row * height * 3 // 256 if kind == 2 else row * height
    check_length("SUN", len(data) - 32 - colours, needed)
    return Header("SUN", data)


def scan_qoi(data: bytes) -> Header:
    """Check a QOI file."""
    width, height, channels = struct.unpack_from(">IIB", data, 4)
    check_size("QOI", width, height)
    if channels not in (3, 4):
        raise PictureDamaged(f"QOI has {channels} channels")
    check_length("QOI", len(data) - 14, -(-width * height // _QOI_RUN))
    return Header("QOI", data)


def scan_dds(data: bytes) -> Header:
    """Check a DDS file; its first face and largest level are read.

    Raises UnsupportedFormat for normal maps, floating point and video formats.
    """
    height, width = struct.unpack_from("<II", data, 12)
    flags, coding, bits = struct.unpack_from("<I4sI", data, 80)
    check_size("DDS", width, height)
    start, blocks = 128, (width + 3) // 4 * ((height + 3) // 4)
    if flags & _DDS_FOURCC:
        size = _DDS_BLOCK_BYTES.get(coding)
        if coding == b"DX10":
            (number,) = struct.unpack_from("<I", data, 128)
            start, size, coding = 148, _DXGI_BLOCK_BYTES.get(number), b"DXGI %d" % number
        if size is None:
            raise UnsupportedFormat(f"DDS of kind {coding.decode('latin-1')!r} is not read")
        needed = blocks * size
    elif flags & (_DDS_RGB | _DDS_LUMINANCE) and bits in (8, 16, 24, 32):
        needed = width * height * bits // 8
    else:
        raise UnsupportedFormat(f"DDS with pixels of flags {flags:#x} is not read")
    check_length("DDS", len(data) - start, needed)
    return Header("DDS", data)
