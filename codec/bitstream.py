"""The frame of a part of a stream: the fields before its payload, and the checks against damage.

A stream is a sequence of *parts*, layer by layer, and within a layer size by size. A part holds the
wavelet levels by which its size goes beyond the next smaller one. Byte order is little endian. A
part consists of

    first part only:
      magic     1 byte   0xB7
      version   1 byte   5
    place     1 byte   layer (bits 0 to 3), size (4 and 5), 1 if it is the layer's last part (6)
    length    1 to 5 bytes  words of 4 bytes in the payload, LEB128, the shortest form
    check     4 bytes  CRC-32 of the part without these four bytes, continued from the checks of the
                       parts that it builds on: same size one layer coarser, next smaller size
    first part only:
      weights   8 bytes  first bytes of the SHA-256 of the weights file
      height    2 bytes  minus 1
      width     2 bytes  minus 1
      cuts      1 byte   finest levels that each size but the full one does without, base 5
    payload   the words of one rANS run, at least 2

Parts end where their length says, so that the parts of a picture in order are one file, and it does
not matter how they are joined to chunks. `docs/stream.md` is the specification; errors carry the
number of the broken rule.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from underpaint.codec.errors import LayerDamaged, PictureTooLarge, StreamError, UnknownVersion
from underpaint.codec.limits import MAX_LAYER_BYTES, MAX_LAYERS, MAX_PIXELS, MAX_SIDE
from underpaint.codec.transform.levels import DYADIC_LEVELS
from underpaint.codec.transform.sizes import MOST_SIZES

MAGIC = 0xB7
VERSION = 6

_MAGIC_BYTES = 2
_CHECK = struct.Struct("<I")
_CHECKS = struct.Struct("<II")
_PICTURE = struct.Struct("<8sHHB")
_LEB_BYTES = 5
_WORD_BYTES = 4
_LAST = 1 << 6
_SIZE_SHIFT = 4
_BASE = DYADIC_LEVELS + 1
_HEADERS_KEPT = 1024


@dataclass(frozen=True)
class PictureHeader:
    """Fields of the first part: sides in pixels, id of the weights, and the cuts.

    cuts   for each size but the full one, the number of finest levels that it does without
    """

    height: int
    width: int
    weights_id: str
    cuts: tuple[int, ...] = (0,) * MOST_SIZES

    def finest_level(self, size: int, last: bool) -> int:
        """Return the finest level that a part holds; 1 in the last part of a layer."""
        return 1 if last or size == MOST_SIZES else self.cuts[size] + 1

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The sizes that have levels which the next smaller one does without, from 0."""
        finest = [self.finest_level(size, False) for size in range(MOST_SIZES + 1)]
        return 0, *(size for size in range(1, MOST_SIZES + 1) if finest[size] < finest[size - 1])


class Frame(NamedTuple):
    """One part as it stands in a stream, not yet checked.

    layer, size   its place, from 0
    last          whether it holds all levels of its layer that coarser parts do not
    head, body    its bytes before and after the check; check  the check
    picture       fields of the first part; None in all others
    payload_at    where in `body` the payload begins
    """

    layer: int
    size: int
    last: bool
    head: bytes
    check: int
    body: memoryview
    picture: PictureHeader | None
    payload_at: int

    @property
    def payload(self) -> bytes:
        """The words of the rANS run."""
        return bytes(self.body[self.payload_at :])

    def tobytes(self) -> bytes:
        """Return the part as it stands in a stream."""
        return b"".join((self.head, _CHECK.pack(self.check), self.body))

    @property
    def nbytes(self) -> int:
        """Length of the part in bytes."""
        return len(self.head) + _CHECK.size + len(self.body)


def check_sides(height: int, width: int) -> None:
    """Raise PictureTooLarge unless the sides are within the limits of the format."""
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE and height * width <= MAX_PIXELS):
        raise PictureTooLarge(
            f"{width} x {height} pixels: sides are 1 to {MAX_SIDE}, at most {MAX_PIXELS} pixels"
        )


def pack_part(
    layer: int,
    size: int,
    last: bool,
    payload: bytes,
    checks_before: tuple[int, int],
    picture: PictureHeader | None = None,
) -> tuple[bytes, int]:
    """Return one framed part and its check.

    `checks_before` are the checks of the parts that it builds on, the same size one layer coarser
    and the next smaller size; 0 where there is none. `picture` is given for the first part only.
    Raises PictureTooLarge for sides over the limits.
    """
    place = layer | size << _SIZE_SHIFT | (_LAST if last else 0)
    head = bytes([place]) + _leb128(len(payload) // _WORD_BYTES)
    body = payload
    if picture is not None:
        check_sides(picture.height, picture.width)
        head = bytes([MAGIC, VERSION]) + head
        weights = bytes.fromhex(picture.weights_id)
        cuts = sum(cut * _BASE**place for place, cut in enumerate(picture.cuts))
        body = _PICTURE.pack(weights, picture.height - 1, picture.width - 1, cuts) + payload
    check = _check(head, body, checks_before)
    return head + _CHECK.pack(check) + body, check


def _check(head: bytes, body: bytes | memoryview, before: tuple[int, int]) -> int:
    return zlib.crc32(body, zlib.crc32(head, zlib.crc32(_CHECKS.pack(*before))))


def _leb128(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def frames(chunks: Iterable[bytes]) -> Iterator[Frame]:
    """Yield the parts of one picture in order; each chunk holds whole parts.

    Raises UnknownVersion if the version of the format is unknown, and LayerDamaged if a part is
    truncated, malformed, out of order or over a limit. `unpack_stream` compares the checks.
    """
    before: Frame | None = None
    picture: PictureHeader | None = None
    for chunk in chunks:
        view = memoryview(chunk)
        if not len(view):
            layer = _next_layer(before)
            raise LayerDamaged(layer, "S1", "truncated to 0 bytes")
        while len(view):
            frame = _frame(view, before)
            picture = picture or frame.picture
            if picture is not None:
                _check_levels(frame, picture)
            yield frame
            view, before = view[frame.nbytes :], frame


def _next_layer(before: Frame | None) -> int:
    """Return the layer of the part that follows, as far as the parts before it tell."""
    if before is None:
        return 0
    return before.layer + before.last


def _frame(view: memoryview, before: Frame | None) -> Frame:
    """Return the part at the start of a chunk; `before` is the part before it."""
    expected, at = _next_layer(before), 0
    if before is None:
        if view[0] != MAGIC:
            raise LayerDamaged(0, "S2", "does not begin with the mark of a stream")
        if len(view) < _MAGIC_BYTES:
            raise LayerDamaged(0, "S1", f"truncated to {len(view)} bytes")
        if view[1] != VERSION:
            raise UnknownVersion(f"layer 1: format version {view[1]}, expected {VERSION}")
        at = _MAGIC_BYTES
    if at >= len(view):
        raise LayerDamaged(expected, "S1", f"truncated to {len(view)} bytes")
    place = view[at]
    layer, size = place & (MAX_LAYERS - 1), place >> _SIZE_SHIFT & MOST_SIZES
    last = bool(place & _LAST)
    _check_order(place, layer, size, before)
    words, at = _read_leb128(view, at + 1, layer)
    head = bytes(view[:at])
    end = at + _CHECK.size + words * _WORD_BYTES + (_PICTURE.size if before is None else 0)
    if words < 2:
        raise LayerDamaged(layer, "S8", f"payload of {words} words, at least 2")
    if end > MAX_LAYER_BYTES:
        raise LayerDamaged(layer, "S1", f"a part of {end} bytes, limit is {MAX_LAYER_BYTES}")
    if end > len(view):
        raise LayerDamaged(layer, "S1", f"truncated to {len(view)} of {end} bytes")
    (check,) = _CHECK.unpack_from(view, at)
    body = view[at + _CHECK.size : end]
    picture, payload_at = None, 0
    if before is None:
        picture, payload_at = _picture(bytes(body[: _PICTURE.size])), _PICTURE.size
    return Frame(layer, size, last, head, check, body, picture, payload_at)


def _check_order(place: int, layer: int, size: int, before: Frame | None) -> None:
    """Raise LayerDamaged unless a part may follow the one before it.

    Larger sizes may be left out; a layer must begin with its smallest size, and the layers must
    follow each other.
    """
    expected = _next_layer(before)
    if place >= _LAST << 1:
        raise LayerDamaged(expected, "S5", "the place of the part is malformed")
    follows = before is not None and layer == before.layer and size > before.size
    begins = size == 0 and layer == (before.layer + 1 if before else 0)
    if not begins and (not follows or (before is not None and before.last)):
        name = f"layer {layer + 1}" + (f", size {size + 1}" if size else "")
        raise LayerDamaged(expected, "S5", f"out of order: holds {name}")


def _check_levels(frame: Frame, picture: PictureHeader) -> None:
    """Raise LayerDamaged unless a part holds a level, and is marked as the last if it is."""
    if frame.size not in picture.sizes:
        raise LayerDamaged(frame.layer, "S5", f"size {frame.size + 1} has no level of its own")
    if picture.finest_level(frame.size, False) == 1 and not frame.last:
        raise LayerDamaged(frame.layer, "S5", "its last part is not marked as such")


@lru_cache(_HEADERS_KEPT)
def _picture(header: bytes) -> PictureHeader:
    weights, height, width, code = _PICTURE.unpack(header)
    picture = PictureHeader(
        height + 1,
        width + 1,
        weights.hex(),
        tuple(code // _BASE**place % _BASE for place in range(MOST_SIZES)),
    )
    if picture.height * picture.width > MAX_PIXELS:
        raise LayerDamaged(
            0, "S7", f"{picture.width} x {picture.height} pixels, limit is {MAX_PIXELS}"
        )
    if code >= _BASE**MOST_SIZES or list(picture.cuts) != sorted(picture.cuts, reverse=True):
        raise LayerDamaged(0, "S14", "the cuts of the sizes are malformed")
    return picture


def _read_leb128(view: memoryview, at: int, layer: int) -> tuple[int, int]:
    value = 0
    for position in range(_LEB_BYTES):
        if at + position >= len(view):
            raise LayerDamaged(layer, "S1", f"truncated to {len(view)} bytes")
        byte = view[at + position]
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            if position and byte == 0:
                raise LayerDamaged(layer, "S6", "its length is not in the shortest form")
            return value, at + position + 1
    raise LayerDamaged(layer, "S6", "its length does not end")


@dataclass(frozen=True)
class Stream:
    """The parts of a picture that a decoder needs, which passed all checks.

    layers   the parts of each layer, smallest size first
    """

    picture: PictureHeader
    layers: tuple[tuple[Frame, ...], ...]


def picture_header(chunks: Sequence[bytes]) -> PictureHeader:
    """Return the header of the first part, unchecked. Raises as `frames`."""
    for frame in frames(chunks):
        if frame.picture is not None:
            return frame.picture
    raise LayerDamaged(0, "S9", "missing")


def unpack_stream(
    chunks: Iterable[bytes], shrink_level: int | Callable[[PictureHeader], int] = 0
) -> Stream:
    """Check the parts that a picture without its finest levels needs, and return them.

    Args:
        chunks: whole parts in order, joined in any way; what is not needed may be missing. If parts
            of the last layer are missing, that layer is left out.
        shrink_level: number of finest levels to do without, or a function of the header.

    Raises as `frames`, and LayerDamaged if a needed part is missing or does not match its check.
    """
    picture, layers, trouble = _layers(chunks)
    level = shrink_level if isinstance(shrink_level, int) else shrink_level(picture)
    needed: list[tuple[Frame, ...]] = []
    checks: dict[int, int] = {}
    for index, layer in enumerate(layers):
        parts, complete = _needed(picture, layer, level)
        checks = _verified(parts, checks)
        if not complete:
            ends_here = index + 1 == len(layers) and parts == tuple(layer)
            if trouble is None and ends_here and index:
                break
            raise trouble or LayerDamaged(
                index, "S9", "its part for this size is missing; a smaller size may be there"
            )
        needed.append(parts)
    if trouble is not None:
        raise trouble
    return Stream(picture, tuple(needed))


def complete_layers(chunks: Iterable[bytes], shrink_level: int = 0) -> int:
    """Return the number of layers of which all parts that a size needs are there, unchecked."""
    picture, layers, _ = _layers(chunks)
    complete = [_needed(picture, layer, shrink_level)[1] for layer in layers]
    return complete.index(False) if False in complete else len(complete)


def _layers(
    chunks: Iterable[bytes],
) -> tuple[PictureHeader, list[list[Frame]], StreamError | None]:
    """Return the header, the parts of each layer, and the error that ended them, if any.

    The error is not raised, because its cause may be an earlier part whose check does not hold.
    """
    layers: list[list[Frame]] = []
    trouble: StreamError | None = None
    try:
        for frame in frames(chunks):
            if frame.size == 0:
                layers.append([])
            layers[-1].append(frame)
    except StreamError as error:
        trouble = error
    picture = layers[0][0].picture if layers else None
    if picture is None:
        raise trouble or LayerDamaged(0, "S9", "missing")
    return picture, layers, trouble


def whole_parts(data: bytes) -> bytes:
    """Return the whole parts at the beginning of a file of joined parts that may be cut anywhere.

    Raises as `frames` if not even the first part is whole.
    """
    end = 0
    try:
        for frame in frames([data]):
            end += frame.nbytes
    except StreamError:
        if end == 0:
            raise
    return data[:end]


def _needed(
    picture: PictureHeader, layer: Sequence[Frame], level: int
) -> tuple[tuple[Frame, ...], bool]:
    """Return the parts of a layer for a picture without `level` levels, and whether all are there.

    Parts behind a missing one are left out.
    """
    there = {frame.size: frame for frame in layer}
    parts: list[Frame] = []
    for size in picture.sizes:
        frame = there.get(size)
        if frame is None:
            break
        parts.append(frame)
        if picture.finest_level(size, frame.last) <= level + 1:
            return tuple(parts), True
    return tuple(parts), False


def _verified(parts: Sequence[Frame], coarser: dict[int, int]) -> dict[int, int]:
    """Compare the checks of the parts of a layer; return the check that each size builds on.

    `coarser` is the result for the layer before, empty for the first.
    """
    checks: dict[int, int] = {}
    check = 0
    for frame in parts:
        before = check_of(coarser, frame.size), check
        check = _check(frame.head, frame.body, before)
        if check != frame.check:
            raise LayerDamaged(
                frame.layer, "S4", "checksum mismatch: damaged, out of order, or of another picture"
            )
        checks[frame.size] = check
    return checks


def check_of(checks: dict[int, int], size: int) -> int:
    """Return the check of the largest part that is no larger than a size; 0 if there is none."""
    return checks[max(known for known in checks if known <= size)] if checks else 0
