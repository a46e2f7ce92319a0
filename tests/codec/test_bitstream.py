"""The frame of a part: every rule of docs/stream.md that it can break has its error."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.streams import framed
from underpaint.codec.bitstream import (
    PictureHeader,
    check_sides,
    complete_layers,
    frames,
    pack_part,
    unpack_stream,
    whole_parts,
)
from underpaint.codec.errors import LayerDamaged, PictureTooLarge, UnknownVersion
from underpaint.codec.limits import MAX_PIXELS, MAX_SIDE

HEADER = PictureHeader(48, 80, "0123456789abcdef")
CUT = PictureHeader(48, 80, "0123456789abcdef", (2, 1, 0))


def _stream(payloads=(b"coarsest", b"finer___payload_")):
    return framed(payloads, HEADER)


def _cut_stream() -> list[bytes]:
    """Three layers, one part each: the first in one part, the others in three for sizes 0 to 2."""
    first, before = pack_part(0, 0, True, b"coarsest", (0, 0), CUT)
    layers, coarser = [first], [before] * 3
    for layer in (1, 2):
        parts, checks = [], []
        check = 0
        for size in range(3):
            payload = bytes([16 * layer + size]) * 12
            part, check = pack_part(layer, size, size == 2, payload, (coarser[size], check))
            parts.append(part)
            checks.append(check)
        layers.append(b"".join(parts))
        coarser = checks
    return layers


@given(
    st.integers(1, MAX_SIDE),
    st.integers(1, MAX_SIDE),
    st.binary(min_size=2, max_size=20),
    st.lists(st.integers(0, 4), min_size=3, max_size=3),
)
def test_round_trip(height, width, words, cuts):
    if height * width > MAX_PIXELS:
        with pytest.raises(PictureTooLarge):
            check_sides(height, width)
        return
    header = PictureHeader(height, width, "00ff00ff00ff00ff", tuple(sorted(cuts, reverse=True)))
    blob, check = pack_part(0, 0, True, words * 4, (0, 0), header)
    [[part]] = unpack_stream([blob]).layers
    assert (part.picture, part.payload, part.check) == (header, words * 4, check)
    assert part.tobytes() == blob
    assert part.nbytes == len(blob)


@pytest.mark.parametrize("blobs", [_stream(), _cut_stream()], ids=["whole", "cut"])
def test_every_flipped_bit_is_noticed(blobs):
    for index, blob in enumerate(blobs):
        for bit in range(8 * len(blob)):
            damaged = bytearray(blob)
            damaged[bit // 8] ^= 1 << bit % 8
            with pytest.raises((LayerDamaged, UnknownVersion)) as caught:
                unpack_stream([*blobs[:index], bytes(damaged)])
            if isinstance(caught.value, LayerDamaged):
                assert caught.value.layer == index
            assert len(unpack_stream(blobs[:index] or blobs[:1]).layers) == max(index, 1)


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


def test_any_division_into_chunks_of_whole_parts_is_the_same_stream():
    layers = _cut_stream()
    parts = [frame.tobytes() for frame in frames(layers)]
    assert len(parts) == 7
    expected = unpack_stream(layers)
    assert unpack_stream(parts) == unpack_stream([b"".join(parts)]) == expected
    assert [len(layer) for layer in expected.layers] == [1, 3, 3]


def test_a_size_needs_its_parts_only():
    layers = _cut_stream()
    for level, count in ((2, 1), (3, 1), (1, 2), (0, 3)):
        found = unpack_stream(layers, level).layers
        assert [len(layer) for layer in found] == [1, count, count]
        kept = [frame.tobytes() for frame in frames(layers) if frame.size < count]
        assert unpack_stream(kept, level).layers == found


def test_a_missing_part_is_noticed_unless_it_ends_the_stream():
    parts = list(frames(_cut_stream()))
    small = [part.tobytes() for part in parts if part.size < 2]
    with pytest.raises(LayerDamaged, match="layer 2: its part for this size is missing") as caught:
        unpack_stream(small)
    assert caught.value.rule == "S9"
    for count in range(1, len(parts) + 1):  # a beginning of a file
        beginning = [part.tobytes() for part in parts[:count]]
        assert len(unpack_stream(beginning).layers) == 1 + (count - 1) // 3
        assert complete_layers(beginning) == 1 + (count - 1) // 3
        assert len(unpack_stream(beginning, 2).layers) == 1 + -(-(count - 1) // 3)


def test_a_file_cut_anywhere_keeps_its_whole_parts():
    joined = b"".join(_cut_stream())
    ends = []
    for frame in frames([joined]):
        ends.append((ends[-1] if ends else 0) + frame.nbytes)
    for length in range(len(joined) + 1):
        whole = [end for end in ends if end <= length]
        if whole:
            assert whole_parts(joined[:length]) == joined[: whole[-1]]
        else:
            with pytest.raises(LayerDamaged):
                whole_parts(joined[:length])


def test_damage_in_a_larger_part_leaves_smaller_sizes_alone():
    layers = _cut_stream()
    parts = [frame.tobytes() for frame in frames(layers)]
    for number, frame in enumerate(frames(layers)):
        damaged = list(parts)
        damaged[number] = parts[number][:-1] + bytes([parts[number][-1] ^ 1])
        for level, size in ((2, 0), (1, 1), (0, 2)):
            if frame.size > size:
                assert unpack_stream(damaged, level) == unpack_stream(layers, level)
                continue
            with pytest.raises(LayerDamaged) as caught:
                unpack_stream(damaged, level)
            assert (caught.value.layer, caught.value.rule) == (frame.layer, "S4")


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
        unpack_stream([bytes(blob)])


def _resealed(blob: bytes, **changes: bytes) -> bytes:
    """Change bytes of a first part at offsets named a<offset> and make the checksum right."""
    out = bytearray(blob)
    for name, value in changes.items():
        at = int(name[1:])
        out[at : at + len(value)] = value
    out[4:8] = zlib.crc32(out[8:], zlib.crc32(out[:4], zlib.crc32(bytes(8)))).to_bytes(4, "little")
    return bytes(out)


def test_rules_hold_behind_a_right_checksum():
    blob = _stream()[0]
    assert unpack_stream([_resealed(blob)]).picture == HEADER
    for place in (0x43, 0x50, 0xC0, 0x10):  # layer 3, size 1, bit 7, size 1 without layer 0
        assert _refused([_resealed(blob, a2=bytes([place]))]) == "S5"
    with pytest.raises(UnknownVersion):
        unpack_stream([_resealed(blob, a1=b"\x09")])
    assert _refused([blob[:3] + b"\xff" * 5 + blob[4:]]) == "S6"
    assert _refused([_resealed(blob, a16=b"\xff\xff\xff\xff")]) == "S7"
    assert _refused([_resealed(blob, a20=b"\x7d")]) == "S14"  # 125
    assert _refused([_resealed(blob, a20=b"\x05")]) == "S14"  # 0, 1, 0
    assert _refused([_resealed(blob, a3=b"\x01")]) == "S8"
    assert _refused([_resealed(blob) + b"x"]) == "S5"


def test_a_part_without_a_level_is_refused():
    """Size 1 of cuts 2, 2, 0 has no level of its own; a part of the full size ends its layer."""
    alike = PictureHeader(48, 80, "0123456789abcdef", (2, 2, 0))
    first, check = pack_part(0, 0, False, bytes(8), (0, 0), alike)
    for size, last, rule in ((1, True, "S5"), (2, False, "S5"), (3, True, "S5"), (2, True, None)):
        second, _ = pack_part(0, size, last, bytes(8), (0, check))
        if rule is None:
            assert len(unpack_stream([first, second]).layers[0]) == 2
        else:
            assert _refused([first, second]) == rule
    whole, _ = pack_part(0, 0, False, bytes(8), (0, 0), HEADER)
    assert _refused([whole]) == "S5"


def test_a_part_continues_the_checks_of_both_parts_that_it_builds_on():
    sound = list(frames(_cut_stream()))
    assert [(part.layer, part.size) for part in sound[:3]] == [(0, 0), (1, 0), (1, 1)]
    for place, part in enumerate(sound):
        smaller = sound[place - 1].check if part.size else 0
        coarser = [other.check for other in sound[:place] if other.layer == part.layer - 1]
        before = coarser[min(part.size, len(coarser) - 1)] if coarser else 0
        header = part.picture
        repacked = pack_part(
            part.layer, part.size, part.last, part.payload, (before, smaller), header
        )
        assert repacked == (part.tobytes(), part.check)
        for wrong in ((before ^ 1, smaller), (before, smaller ^ 1)):
            forged, _ = pack_part(part.layer, part.size, part.last, part.payload, wrong, header)
            others = [other.tobytes() for other in sound]
            others[place] = forged
            assert _refused(others) == "S4"
