"""The frame of one layer: what stands before its payload, and how damage is noticed.

Byte order is little endian. A layer is

    magic     1 byte   0xB7
    version   1 byte   4
    layer     1 byte   its place in the stream, 0 the coarsest
    check     4 bytes  CRC-32 of the layer without these four bytes, begun with the check of the
                       layer before it (0 for layer 0), so that a layer fits only its own image
    symbols   1 to 5 bytes  number of entropy-coded symbols, LEB128, the shortest form
    layer 0 only:
      weights   8 bytes  first bytes of the SHA-256 of the weights file
      height    2 bytes  less 1
      width     2 bytes  less 1
    payload   the rest: rANS words of 4 bytes, at least 2 of them

`docs/stream.md` is the specification; the tests name its rules.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from underpaint.codec.errors import LayerDamaged, PictureTooLarge, UnknownVersion
from underpaint.codec.limits import MAX_LAYER_BYTES, MAX_PIXELS, MAX_SIDE

MAGIC = 0xB7
VERSION = 4

_FRAME = struct.Struct("<BBB")
_CHECK = struct.Struct("<I")
_PICTURE = struct.Struct("<8sHH")
_LEB_BYTES = 5
_WORD_BYTES = 4


@dataclass(frozen=True)
class PictureHeader:
    """What layer 0 says of the picture: sides in pixels, and the weights that made the stream."""

    height: int
    width: int
    weights_id: str


@dataclass(frozen=True)
class Layer:
    """One layer, checked: its place, the header if it is layer 0, symbols and payload."""

    index: int
    picture: PictureHeader | None
    symbols: int
    payload: bytes
    check: int


def check_sides(height: int, width: int) -> None:
    """Raise PictureTooLarge unless the sides are within the limits of the format."""
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE and height * width <= MAX_PIXELS):
        raise PictureTooLarge(
            f"{width} x {height} pixels: sides are 1 to {MAX_SIDE}, at most {MAX_PIXELS} pixels"
        )


def _leb128(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def pack_layer(
    index: int, symbols: int, payload: bytes, check_before: int, picture: PictureHeader | None
) -> tuple[bytes, int]:
    """Frame one layer; return it and its check, which the next layer's check begins with."""
    body = _leb128(symbols)
    if picture is not None:
        check_sides(picture.height, picture.width)
        weights = bytes.fromhex(picture.weights_id)
        body += _PICTURE.pack(weights, picture.height - 1, picture.width - 1)
    body += payload
    frame = _FRAME.pack(MAGIC, VERSION, index)
    check = zlib.crc32(body, zlib.crc32(frame, check_before))
    return frame + _CHECK.pack(check) + body, check


def unpack_layer(blob: bytes, index: int, check_before: int) -> Layer:
    """Check and open the layer that should stand at `index`.

    Raises UnknownVersion for another version of the format, LayerDamaged for everything else that
    is wrong: cut, flipped, of another image, out of order, over a limit.
    """
    head = _FRAME.size + _CHECK.size
    if len(blob) < head + 1 + 2 * _WORD_BYTES:
        raise LayerDamaged(index, f"cut short at {len(blob)} bytes")
    if len(blob) > MAX_LAYER_BYTES:
        raise LayerDamaged(index, f"{len(blob)} bytes, over the limit of {MAX_LAYER_BYTES}")
    magic, version, place = _FRAME.unpack_from(blob)
    if magic != MAGIC:
        raise LayerDamaged(index, "does not begin like a layer")
    (check,) = _CHECK.unpack_from(blob, _FRAME.size)
    computed = zlib.crc32(blob[head:], zlib.crc32(blob[: _FRAME.size], check_before))
    if computed != check:
        if version != VERSION:
            raise UnknownVersion(f"layer {index}: version {version} of the format, not {VERSION}")
        raise LayerDamaged(index, "checksum mismatch: damaged, out of order, or of another image")
    if version != VERSION:
        raise UnknownVersion(f"layer {index}: version {version} of the format, not {VERSION}")
    if place != index:
        raise LayerDamaged(index, f"holds layer {place}")
    symbols, at = _read_leb128(blob, head, index)
    picture = None
    if index == 0:
        if len(blob) < at + _PICTURE.size:
            raise LayerDamaged(index, "cut in its header")
        weights, height, width = _PICTURE.unpack_from(blob, at)
        at += _PICTURE.size
        picture = PictureHeader(height + 1, width + 1, weights.hex())
        if picture.height * picture.width > MAX_PIXELS:
            raise LayerDamaged(
                index, f"{picture.width} x {picture.height} pixels is over the limit"
            )
    payload = blob[at:]
    if len(payload) < 2 * _WORD_BYTES or len(payload) % _WORD_BYTES:
        raise LayerDamaged(index, f"payload of {len(payload)} bytes is no whole number of words")
    return Layer(index, picture, symbols, payload, check)


def _read_leb128(blob: bytes, at: int, index: int) -> tuple[int, int]:
    value = 0
    for place in range(_LEB_BYTES):
        if at + place >= len(blob):
            break
        byte = blob[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            if place and byte == 0:
                raise LayerDamaged(index, "symbol count is written longer than it needs")
            return value, at + place + 1
    raise LayerDamaged(index, "symbol count does not end")


def unpack_stream(blobs: Iterable[bytes]) -> list[Layer]:
    """Check and open the layers of one image, coarsest first; raises as `unpack_layer` does."""
    layers: list[Layer] = []
    for index, blob in enumerate(blobs):
        layers.append(unpack_layer(bytes(blob), index, layers[-1].check if layers else 0))
    if not layers:
        raise LayerDamaged(0, "missing")
    return layers
