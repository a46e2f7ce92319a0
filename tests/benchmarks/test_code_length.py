"""The ablation's code lengths: symbols identify cells, and a known distribution has its entropy."""

import numpy as np
import pytest
from skimage import data

from tests.benchmarks.code_length import CodedPhoto, _symbols, step_bits
from underpaint.codec.codec import Codec
from underpaint.codec.palette.classes import MAGNITUDE_UNIT
from underpaint.codec.quantize.cells import Cells
from underpaint.codec.weights.loading import load_weights


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, Cells(31, 32)), (Cells(31, 32), Cells(15, 16)), (Cells(8, 9), Cells(2, 3))],
)
def test_a_cell_follows_from_the_one_before_and_its_symbol(before: Cells | None, after: Cells):
    q = np.arange(-400, 401)
    child, kind, _, leaves = _symbols(q, before, after)
    old = np.zeros_like(q) if before is None else before.index(q)
    new = after.index(q)
    named = {}
    for place in np.flatnonzero(child < 15):
        sign = np.sign(new[place]) if leaves[place] else 0
        cell = named.setdefault((old[place], child[place], sign), new[place])
        assert cell == new[place]
    assert np.array_equal(kind, np.minimum(np.abs(old), 2))


@pytest.mark.slow
def test_embedding_adds_up_to_about_what_coding_at_once_takes():
    weights = load_weights(None)
    codec = Codec(weights)
    expected = weights.classes.expected_magnitude.astype(np.float32) / MAGNITUDE_UNIT
    pictures = [data.astronaut(), data.chelsea(), data.rocket(), data.coffee()]
    tiles = [p[y : y + 144, x : x + 144] for p in pictures for y in (0, 150) for x in (0, 150, 290)]
    coded = [CodedPhoto.of(codec.quantised([tile])[0], tile.shape, expected) for tile in tiles]
    fitted, tested = coded[::2], coded[1::2]
    states = weights.config.chain[1:4]
    steps = zip([None, *states], states, strict=False)
    embedded = sum(step_bits(fitted, tested, before, after) for before, after in steps)
    at_once = step_bits(fitted, tested, None, states[-1])
    blind = step_bits(fitted, tested, None, states[-1], left_out=range(12))
    streams = codec.encode(tiles[1::2], layers=3)
    written = 8 * sum(map(len, sum(streams, ()))) / sum(photo.pixels for photo in tested)
    assert embedded == pytest.approx(at_once, rel=0.1)
    assert embedded == pytest.approx(written, rel=0.3)
    assert blind > 1.05 * at_once
