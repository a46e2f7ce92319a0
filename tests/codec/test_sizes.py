"""Pictures of any size from layers that are cut into parts."""

import itertools

import numpy as np
import pytest
from PIL import Image
from skimage import data

from underpaint import Codec
from underpaint.codec.bitstream import frames, whole_parts
from underpaint.codec.errors import LayerDamaged, UsageError
from underpaint.codec.limits import MAX_SIDE
from underpaint.codec.metrics import psnr
from underpaint.codec.transform.sizes import SHRINKS, check_sizes, cut_levels, shrink_level


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load()


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return data.astronaut()[:390, :463]


@pytest.fixture(scope="module")
def layers(codec, photo) -> tuple[bytes, ...]:
    return codec.encode([photo], sizes=(90, 180))[0]


@pytest.mark.parametrize(
    ("sides", "size", "level"),
    [
        ((480, 640), 256, 0), ((511, 800), 256, 1), ((800, 510), 256, 0), ((512, 512), 256, 1),
        ((1024, 4000), 256, 2), ((4000, 3000), 256, 3), ((9000, 8000), 256, 4), ((100, 90), 256, 0),
        ((1, 1), 1, 4), ((33, 40), 9, 2), ((33, 40), 10, 1),
    ],
)  # fmt: skip
def test_a_size_is_the_smallest_that_reaches_it(sides, size, level):
    assert shrink_level(*sides, size) == level


@pytest.mark.parametrize("shape", [(1, 1), (40, 1), (33, 17), (130, 66), (161, 230)])
@pytest.mark.parametrize("sizes", [(), (8,), (16, 40), (5, 20, 60), (256, 512)])
def test_cutting_changes_no_picture(codec, shape, sizes):
    picture = np.random.default_rng(3).integers(0, 256, (*shape, 3), dtype=np.uint8)
    [cut], [whole] = codec.encode([picture], sizes=sizes), codec.encode([picture], sizes=())
    held = {frame.size for frame in frames(cut)}
    assert len(held) <= len(set(cut_levels(*shape, sizes)))
    for count, shrink in itertools.product((1, 4, codec.layers), SHRINKS):
        found, expected = (
            codec.decode([stream[:count]], shrink=shrink)[0] for stream in (cut, whole)
        )
        assert found.shape == (-(-shape[0] // shrink), -(-shape[1] // shrink), 3)
        np.testing.assert_array_equal(found, expected)
    for levels in range(5):
        found, expected = (codec.latents([stream], levels=levels)[0] for stream in (cut, whole))
        np.testing.assert_array_equal(found.coefficients, expected.coefficients)


def test_a_small_picture_needs_its_parts_only(codec, photo, layers):
    assert {frame.size for frame in frames(layers)} == {0, 1, 2}
    for size, shrink, largest in ((90, 4, 0), (98, 4, 0), (99, 2, 1), (180, 2, 1), (390, 1, 2)):
        kept = [frame.tobytes() for frame in frames(layers) if frame.size <= largest]
        [found] = codec.decode([kept], size=size)
        np.testing.assert_array_equal(found, codec.decode([layers], shrink=shrink)[0])
        codec.check(kept, size=size)
    small = [frame.tobytes() for frame in frames(layers) if frame.size == 0]
    with pytest.raises(LayerDamaged, match="its part for this size is missing"):
        codec.decode([small])
    latents = codec.latents([small], size=90)[0]
    np.testing.assert_array_equal(latents.coefficients, codec.latents([layers])[0].coefficients)
    [finer] = codec.latents([small], levels=4, size=90)
    assert len(finer.coefficients) == 768
    assert finer.coefficients[:48].any()
    assert not finer.coefficients[48:].any()


def test_small_pictures_are_those_of_other_tools(codec, photo, layers):
    height, width = photo.shape[:2]
    for shrink, least in ((2, 36), (4, 34), (8, 32)):
        sides = (-(-width // shrink), -(-height // shrink))
        for kind in (Image.Resampling.LANCZOS, Image.Resampling.BICUBIC):
            scaled = np.asarray(Image.fromarray(photo).resize(sides, kind))
            for refine in (True, False):
                found = codec.decode([layers], shrink=shrink, refine=refine)[0]
                assert psnr(scaled, found) >= least, (shrink, kind)


def test_the_cut_costs_little_at_every_prefix(codec, photo):
    pictures = [photo, photo[:224, :200], data.coffee()[:128, :150], data.coffee()[:64, :64]]
    for picture in pictures:
        cut = codec.encode([picture], sizes=(48, 96, 192))[0]
        whole = codec.encode([picture], sizes=())[0]
        parts = 0
        for count in range(1, codec.layers + 1):
            parts += sum(1 for _ in frames(cut[:count])) - parts
            more = sum(map(len, cut[:count])) - sum(map(len, whole[:count]))
            assert more <= max(0.01 * sum(map(len, whole[:count])), 4 * parts)


def test_any_beginning_of_a_file_decodes_its_largest_complete_set(codec, photo, layers):
    joined = b"".join(layers)
    ends = list(itertools.accumulate(frame.nbytes for frame in frames([joined])))
    for length in range(len(joined)):
        if length < ends[0]:
            with pytest.raises(LayerDamaged):
                whole_parts(joined[:length])
        else:
            assert len(whole_parts(joined[:length])) == max(end for end in ends if end <= length)
    rng = np.random.default_rng(1)
    for length in [*ends, *rng.integers(ends[0], len(joined), 10).tolist()]:
        beginning = whole_parts(joined[:length])
        *_, last = frames([beginning])
        count = last.layer + last.last
        if count:
            expected = codec.decode([layers[:count]], refine=False)[0]
            np.testing.assert_array_equal(codec.decode([[beginning]], refine=False)[0], expected)
        [small] = codec.decode([[beginning]], size=90, refine=False)
        expected = codec.decode([layers[: last.layer + 1]], size=90, refine=False)[0]
        np.testing.assert_array_equal(small, expected)


def test_mistakes_get_a_clear_line(codec, photo, layers):
    with pytest.raises(UsageError, match="shrink: 3; want one of 1, 2, 4, 8, 16"):
        codec.decode([layers], shrink=3)
    with pytest.raises(UsageError, match="size and shrink: want one of them"):
        codec.decode([layers], shrink=2, size=90)
    with pytest.raises(UsageError, match="size: 0"):
        codec.decode([layers], size=0)
    for sizes in ((512, 256), (0, 10), (1, 2, 3, 4), (5, 5)):
        with pytest.raises(UsageError, match="sizes: "):
            codec.encode([photo], sizes=sizes)


@pytest.mark.parametrize("side", [MAX_SIDE + 1, 1 << 53, 99999999999999999999])
def test_no_size_is_larger_than_a_picture_can_be(side):
    with pytest.raises(UsageError, match=f"^sizes: {side}; no picture has sides above 65535"):
        check_sizes([256, side])
    check_sizes([256, MAX_SIDE])
