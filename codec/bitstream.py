"""The frame of one layer: the fields before its payload, and the checks that detect damage.

Byte order is little endian. A layer consists of

    magic     1 byte   0xB7
    version   1 byte   4
    layer     1 byte   its index in the stream, 0 the coarsest
    check     4 bytes  CRC-32 of the layer without these four bytes, continued from the check of
                       the layer before (0 for layer 0): a layer fits its own picture only
    symbols   1 to 5 bytes  number of entropy-coded symbols, LEB128, the shortest form
    layer 0 only:
      weights   8 bytes  first bytes of the SHA-256 of the weights file
      height    2 bytes  minus 1
      width     2 bytes  minus 1
    payload   the rest: at least 2 rANS words of 4 bytes

`docs/stream.md` is the specification; errors carry the number of the broken rule.
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
    """Fields of layer 0: sides of the picture in pixels, and the id of the weights."""

    height: int
    width: int
    weights_id: str


@dataclass(frozen=True)
class Layer:
    """One layer that passed all checks; `picture` is None but for layer 0."""

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
    """Return one framed layer and its check, from which the check of the next layer continues.

    `picture` is given for layer 0 only. Raises PictureTooLarge for sides over the limits.
    """
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
    """Check one layer and return its parts; `check_before` is the check of the layer before it.

    Raises UnknownVersion if the version of the format is unknown, and LayerDamaged if the layer is
    truncated, corrupt, of another picture, out of order or over a limit.
    """
    head = _FRAME.size + _CHECK.size
    if len(blob) < head + 1 + 2 * _WORD_BYTES:
        raise LayerDamaged(index, "S1", f"truncated to {len(blob)} bytes")
    if len(blob) > MAX_LAYER_BYTES:
        raise LayerDamaged(index, "S1", f"{len(blob)} bytes, limit is {MAX_LAYER_BYTES}")
    magic, version, found = _FRAME.unpack_from(blob)
    if magic != MAGIC:
        raise LayerDamaged(index, "S2", "does not begin with the mark of a layer")
    (check,) = _CHECK.unpack_from(blob, _FRAME.size)
    computed = zlib.crc32(blob[head:], zlib.crc32(blob[: _FRAME.size], check_before))
    if version != VERSION:
        raise UnknownVersion(f"layer {index + 1}: format version {version}, expected {VERSION}")
    if computed != check:
        raise LayerDamaged(
            index, "S4", "checksum mismatch: damaged, out of order, or of another picture"
        )
    if found != index:
        raise LayerDamaged(index, "S5", f"contains layer {found + 1}")
    symbols, at = _read_leb128(blob, head, index)
    picture = None
    if index == 0:
        if len(blob) < at + _PICTURE.size:
            raise LayerDamaged(index, "S8", "truncated in its header")
        weights, height, width = _PICTURE.unpack_from(blob, at)
        at += _PICTURE.size
        picture = PictureHeader(height + 1, width + 1, weights.hex())
        if picture.height * picture.width > MAX_PIXELS:
            raise LayerDamaged(
                index, "S7", f"{picture.width} x {picture.height} pixels, limit is {MAX_PIXELS}"
            )
    payload = blob[at:]
    if len(payload) < 2 * _WORD_BYTES or len(payload) % _WORD_BYTES:
        raise LayerDamaged(index, "S8", f"payload of {len(payload)} bytes is not whole words")
    return Layer(index, picture, symbols, payload, check)


def _read_leb128(blob: bytes, at: int, index: int) -> tuple[int, int]:
    value = 0
    for position in range(_LEB_BYTES):
        if at + position >= len(blob):
            break
        byte = blob[at + position]
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            if position and byte == 0:
                raise LayerDamaged(index, "S6", "symbol count is not in the shortest form")
            return value, at + position + 1
    raise LayerDamaged(index, "S6", "symbol count does not end")


def unpack_stream(blobs: Iterable[bytes]) -> list[Layer]:
    """Check the layers of one picture, coarsest first, and return their parts.

    Raises as `unpack_layer`.
    """
    layers: list[Layer] = []
    for index, blob in enumerate(blobs):
        layers.append(unpack_layer(bytes(blob), index, layers[-1].check if layers else 0))
    if not layers:
        raise LayerDamaged(0, "S9", "missing")
    return layers
