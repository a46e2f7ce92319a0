"""The frame of a layer: every rule of docs/stream.md that it can break has its error."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from underpaint.codec.bitstream import (
    PictureHeader,
    check_sides,
    pack_layer,
    unpack_layer,
    unpack_stream,
)
from underpaint.codec.errors import LayerDamaged, PictureTooLarge, UnknownVersion
from underpaint.codec.limits import MAX_PIXELS, MAX_SIDE

HEADER = PictureHeader(48, 80, "0123456789abcdef")


def _stream(payloads=(b"coarsest", b"finer___payload_")):
    blobs, check = [], 0
    for index, payload in enumerate(payloads):
        blob, check = pack_layer(index, 1000 + index, payload, check, None if index else HEADER)
        blobs.append(blob)
    return blobs


@given(
    st.integers(1, MAX_SIDE),
    st.integers(1, MAX_SIDE),
    st.integers(0, 2**35 - 1),
    st.binary(min_size=2, max_size=20),
)
def test_round_trip(height, width, symbols, words):
    if height * width > MAX_PIXELS:
        with pytest.raises(PictureTooLarge):
            check_sides(height, width)
        return
    header = PictureHeader(height, width, "00ff00ff00ff00ff")
    blob, check = pack_layer(0, symbols, words * 4, 0, header)
    layer = unpack_layer(blob, 0, 0)
    assert (layer.picture, layer.symbols, layer.payload) == (header, symbols, words * 4)
    assert layer.check == check


def test_every_flipped_bit_is_noticed():
    blobs = _stream()
    for index, blob in enumerate(blobs):
        for bit in range(8 * len(blob)):
            damaged = bytearray(blob)
            damaged[bit // 8] ^= 1 << bit % 8
            with pytest.raises((LayerDamaged, UnknownVersion)):
                unpack_stream([*blobs[:index], bytes(damaged)])
            assert len(unpack_stream(blobs[:index] or blobs[:1])) == max(index, 1)


def test_every_cut_is_noticed():
    blobs = _stream()
    for index, blob in enumerate(blobs):
        for length in range(len(blob)):
            with pytest.raises(LayerDamaged):
                unpack_stream([*blobs[:index], blob[:length]])


def test_swapped_layers_and_layers_of_another_image_are_noticed():
    blobs, others = _stream(), _stream((b"another_", b"layer of another"))
    for wrong in ([blobs[1], blobs[0]], [blobs[0], others[1]], [blobs[0], blobs[0]], [blobs[1]]):
        with pytest.raises(LayerDamaged):
            unpack_stream(wrong)


def _refused(blobs: list[bytes]) -> str:
    """Return the rule that the layers break."""
    with pytest.raises(LayerDamaged) as caught:
        unpack_stream(blobs)
    return caught.value.rule


def test_no_layers_at_all():
    assert _refused([]) == "S9"


def test_an_unknown_version_is_named():
    blob = bytearray(_stream()[0])
    blob[1] = 1
    with pytest.raises(UnknownVersion, match="version 1"):
        unpack_layer(bytes(blob), 0, 0)


def _resealed(blob: bytes, **changes: bytes) -> bytes:
    """Change bytes at offsets named a<offset> and make the checksum right again."""
    out = bytearray(blob)
    for name, value in changes.items():
        at = int(name[1:])
        out[at : at + len(value)] = value
    out[3:7] = zlib.crc32(out[7:], zlib.crc32(out[:3])).to_bytes(4, "little")
    return bytes(out)


def test_rules_hold_behind_a_right_checksum():
    blob = _stream()[0]
    assert _refused([_resealed(blob, a2=b"\x03")]) == "S5"
    with pytest.raises(UnknownVersion):
        unpack_layer(_resealed(blob, a1=b"\x09"), 0, 0)
    assert _refused([_resealed(blob, a7=b"\xff" * 5)]) == "S6"
    assert _refused([_resealed(blob, a17=b"\xff\xff\xff\xff")]) == "S7"
    assert _refused([_resealed(blob + b"x")]) == "S8"
    assert unpack_layer(_resealed(blob), 0, 0).picture == HEADER
