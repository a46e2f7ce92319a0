"""A stream as one file: what a file that was cut, or is damaged, still holds."""

import pytest
from skimage import data

from underpaint import Codec
from underpaint.codec.bitstream import frames
from underpaint.codec.errors import LayerDamaged, UnknownVersion
from underpaint.codec.stream_file import read_stream_file

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def layers() -> tuple[bytes, ...]:
    return Codec.load().encode([data.astronaut()[:390, :463]], sizes=(90, 180))[0]


def test_a_whole_file_is_its_layers(layers):
    file = read_stream_file(b"".join(layers))
    assert file.layers == layers
    assert not file.cut
    assert file.shrink_level == 0
    assert file.prefix(0) == layers
    assert file.sides(2) == (98, 116)


def test_a_file_cut_anywhere_holds_its_whole_parts(layers):
    joined = b"".join(layers)
    parts = list(frames([joined]))
    ends, end = [], 0
    for part in parts:
        end += part.nbytes
        ends.append(end)
    assert len(parts) > len(layers)
    for length in {*ends, *(e - 1 for e in ends), *(e + 1 for e in ends[:-1]), *range(30)}:
        if length < ends[0]:
            with pytest.raises(LayerDamaged):
                read_stream_file(joined[:length])
            continue
        file = read_stream_file(joined[:length])
        assert b"".join(file.layers) == joined[: max(e for e in ends if e <= length)]
        assert file.cut == (length not in ends)


def smaller(layers: tuple[bytes, ...], size: int) -> list[bytes]:
    """The layers without the parts of larger sizes, as an export for a smaller size has them."""
    return [
        b"".join(frame.tobytes() for frame in frames(layers) if (frame.layer, frame.size) in kept)
        for layer in range(len(layers))
        if (kept := {(layer, which) for which in range(size + 1)})
    ]


def test_a_file_of_a_smaller_size_holds_all_layers_of_it(layers):
    kept = smaller(layers, 0)
    file = read_stream_file(b"".join(kept))
    assert file.shrink_level == file.picture.cuts[0] > 0
    assert file.prefix(file.shrink_level) == tuple(kept)
    assert file.sides(file.shrink_level) == (98, 116)
    assert not file.cut


def test_the_first_part_alone_is_a_picture(layers):
    first = next(iter(frames(layers)))
    file = read_stream_file(first.tobytes())
    assert file.shrink_level == first.picture.finest_level(0, first.last) - 1
    assert file.prefix(file.shrink_level) == (first.tobytes(),)


def test_a_malformed_part_is_not_taken_for_the_end(layers):
    with pytest.raises(LayerDamaged, match="layer 2"):
        read_stream_file(layers[0] + b"\xff" + layers[1])
    with pytest.raises(LayerDamaged):
        read_stream_file(layers[0] + layers[2])
    with pytest.raises(UnknownVersion):
        read_stream_file(layers[0][:1] + b"\x7f" + layers[0][2:])


@pytest.mark.parametrize(
    ("more", "told"), [(b"\xff", "1 byte after"), (b"\xff" * 5, "5 bytes after")]
)
def test_bytes_after_the_end_are_counted(layers, more, told):
    with pytest.raises(LayerDamaged, match=f"^layer 7: {told} the last whole part: "):
        read_stream_file(b"".join(layers) + more)
