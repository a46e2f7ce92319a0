"""Wider contexts: further features hold what a decoder knows, and tables cost their entropy."""

import numpy as np
import pytest
from skimage import data

from tests.benchmarks.code_length import CodedPhoto
from tests.benchmarks.wider_contexts import (
    FLAGS,
    WIDER,
    Splits,
    features_of_flags,
    features_of_neighbours,
    splits_of_step,
    table_bits,
)
from underpaint.codec.codec import Codec
from underpaint.codec.entropy.activity import FEATURES
from underpaint.codec.palette.classes import MAGNITUDE_UNIT
from underpaint.codec.quantize.cells import Cells
from underpaint.codec.training.fit_activities import Samples
from underpaint.codec.training.fit_contexts import magnitudes
from underpaint.codec.transform.subbands import BANDS, OFFSET, STRIDE, view
from underpaint.codec.weights.loading import load_weights


@pytest.fixture(scope="module")
def photo() -> CodedPhoto:
    weights = load_weights(None)
    pixels = data.astronaut()[:301, :333]
    expected = weights.classes.expected_magnitude.astype(np.float32) / MAGNITUDE_UNIT
    return CodedPhoto.of(Codec(weights).quantised([pixels])[0], pixels.shape, expected)


@pytest.fixture(scope="module")
def states() -> tuple[Cells, Cells]:
    return load_weights(None).config.chain[3:5]


@pytest.fixture(scope="module")
def splits(photo, states) -> list[Splits]:
    return splits_of_step([photo], *states, np.random.default_rng(1))


def test_features_of_flags_follow_the_order_of_coding(photo, states):
    """Two blocks side by side, in which only the last coefficient leaves zero."""
    layout, band = photo.layout, BANDS - 7  # lightness, high along both, at the finest level
    q = np.zeros_like(photo.q)
    view(q, layout, band)[3, [3, 7]] = states[1].zero + 1
    before, after = (magnitudes(q, state) for state in states)
    assert not before.any()
    y, x = np.mgrid[:4, :8].reshape(2, -1)
    for of_band, ahead in ((band - 2, 48), (band - 1, 32), (band, 16)):
        offset, stride = layout.bands[of_band, [OFFSET, STRIDE]]
        features, state = features_of_flags(photo, before, after, of_band, offset + y * stride + x)
        fresh, unseen, nearness, seen, east, south = features.T
        left = ahead - (4 * y + x % 4)
        assert fresh.all()
        assert unseen.all()
        assert (state == 2).all()
        np.testing.assert_allclose(nearness, 16 / left)
        assert not seen.any()
        assert not south.any()
        assert np.array_equal(east == 1, x == 3)
    view(q, layout, band)[0, 0] = states[1].zero + 1
    offset, stride = layout.bands[band, [OFFSET, STRIDE]]
    features, state = features_of_flags(
        photo, before, magnitudes(q, states[1]), band, offset + y * stride + x
    )
    known = (x < 4) & ((x > 0) | (y > 0))
    assert np.array_equal(state, np.where(known, 1, 2))
    assert np.array_equal(features[:, 3], known)


def test_neighbours_are_those_that_no_context_looks_at(photo):
    layout, rng = photo.layout, np.random.default_rng(1)
    coarse, fine = rng.integers(0, 100, (2, len(photo.q)))
    band = BANDS - 8  # lightness, high along y, at the finest level
    own, known = (view(values, layout, band) for values in (coarse, fine))
    parent, later = view(fine, layout, band - 9), view(coarse, layout, band + 1)
    chroma = [view(coarse, layout, band + 3 * component) for component in (1, 2)]
    offset, stride = layout.bands[band, [OFFSET, STRIDE]]
    for y, x in ((8, 12), (9, 13)):
        at = np.array([offset + y * stride + x])
        [features] = features_of_neighbours(photo, coarse, fine, band, at)
        beside = (y >> 1, (x >> 1) + (1 if x % 2 else -1))
        above = ((y >> 1) + (1 if y % 2 else -1), x >> 1)
        others = (view(fine, layout, other)[y >> 1, x >> 1] for other in (band - 10, band - 8))
        assert features.tolist() == [
            own[y, x + 2] + own[y + 2, x],
            known[y - 2, x - 1] + known[y - 2, x + 1],
            known[y - 1, x - 2] + known[y - 1, x + 2],
            own[y + 1, x - 2] + own[y + 1, x + 2],
            own[y + 2, x - 1] + own[y + 2, x + 1],
            parent[beside], parent[above], sum(others),
            later[y, x] + sum(values[y, x] for values in chroma),
        ]  # fmt: skip


def test_splits_of_all_kinds_of_bands_are_sampled(splits):
    kinds = [band for band in splits if len(band.state)]
    assert len(kinds) > BANDS // 2
    for band in kinds:
        joined = band.with_features((FLAGS, WIDER))
        assert joined.features.shape == (len(band.state), FEATURES + 6 + 9)
        assert joined.was_zero.all()


def test_tables_cost_the_entropy_of_their_outcomes():
    rng = np.random.default_rng(1)
    index = rng.integers(0, 2, 40_000)
    magnitude = (rng.random(len(index)) < np.where(index, 0.5, 0.1)).astype(int)
    share = np.full(len(index), 3.0)
    samples = Samples(np.zeros((len(index), 1)), magnitude, np.ones(len(index), bool), share)
    bits = table_bits(samples, index, samples, index, 0)
    entropy = 0.5 * (1 + 0.468996)  # bits of 1/2 and of 1/10
    assert bits / share.sum() == pytest.approx(entropy, rel=0.01)
