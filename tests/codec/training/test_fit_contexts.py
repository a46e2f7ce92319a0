"""Fits of contexts: what is sampled is what is coded, and fitted weights shorten the code."""

import numpy as np
import pytest
from skimage import data

from underpaint import Codec
from underpaint.codec.entropy.activity import (
    BINS,
    FEATURES,
    W_CONSTANT,
    W_EXPECTED,
    W_NORTH,
    W_PARENT,
    W_WEST,
    bin_of_activity,
)
from underpaint.codec.quantize.cells import Cells
from underpaint.codec.training.fit_activities import Samples, fit_activity_weights
from underpaint.codec.training.fit_contexts import (
    coded_coefficients,
    integer_weights,
    magnitudes,
)
from underpaint.codec.training.fit_estimates import counted
from underpaint.codec.training.fit_signs import sample_signs
from underpaint.codec.transform.subbands import BANDS, geometry, view
from underpaint.codec.weights.loading import load_weights

STATE = Cells(7, 8)


def test_coefficients_are_sampled_from_those_that_the_coder_codes():
    weights = load_weights(None)
    photo = data.astronaut()[:203, :317]  # bands of odd sides, blocks cut at the edges
    [symbols] = Codec(weights).quantised([photo])
    layout, tables = geometry(*photo.shape[:2]), weights.config.table_layout
    counts = counted(weights, [photo.shape], [symbols]).tables
    chain = weights.config.chain
    for step in range(1, tables.cell_steps):
        coded = coded_coefficients(layout, symbols.q, chain[step + 1])
        was_zero = magnitudes(symbols.q, chain[step]) == 0
        _, _, zero, first, _, sign = tables.cells(step)
        of_bands = counts[zero:sign].sum(1).reshape(3, BANDS, BINS).sum(2)
        for band in range(BANDS):
            marked, split = view(coded, layout, band), view(coded & was_zero, layout, band)
            assert split.sum() == of_bands[0, band]
            assert marked.sum() == of_bands[:, band].sum()
        assert 0 < counts[zero:first].sum() < layout.coefficients


def _samples(rng: np.random.Generator) -> Samples:
    """Return samples whose chance to leave zero depends on west and parent."""
    features = np.floor(rng.exponential(6, (60_000, FEATURES))).astype(np.float32)
    features[:, W_CONSTANT] = 1
    scale = 0.3 * features[:, W_WEST] + 0.6 * features[:, W_PARENT] + 0.5
    magnitude = np.floor(rng.exponential(scale)).astype(np.int64)
    return Samples(features, magnitude, np.ones(len(scale), bool), np.ones(len(scale)))


def _bits(weights: np.ndarray, samples: Samples) -> float:
    """Return the bits of a split with the best tables for the bins of these weights."""
    features = samples.features.astype(np.int64)
    activity = features @ integer_weights(weights.copy(), STATE.width, W_EXPECTED).astype(np.int64)
    bins = np.array([bin_of_activity(value) for value in activity])
    counts = np.full((BINS, 2), 0.01)
    np.add.at(counts, (bins, (samples.magnitude > STATE.zero).astype(int)), 1)
    return float(-(counts * np.log2(counts / counts.sum(1, keepdims=True))).sum() / len(bins))


def test_weights_move_to_the_features_that_matter():
    samples = _samples(np.random.default_rng(1))
    start = np.zeros((1, FEATURES))
    start[0, [W_WEST, W_NORTH, W_PARENT]] = 0.3
    fitted = fit_activity_weights([samples], start, STATE, np.random.default_rng(2))
    true = np.zeros(FEATURES)
    true[[W_WEST, W_PARENT, W_CONSTANT]] = 0.3, 0.6, 0.5
    assert fitted[0, W_PARENT] / fitted[0, W_WEST] == pytest.approx(2, rel=0.15)
    assert abs(fitted[0, W_NORTH]) < 0.1 * fitted[0, W_WEST]
    assert _bits(fitted[0], samples) < _bits(start[0], samples) - 0.01
    assert _bits(fitted[0], samples) < _bits(true, samples) + 0.002


def test_shares_say_how_often_a_sample_counts():
    samples = _samples(np.random.default_rng(3))
    share = samples.share.copy()
    share[: len(share) // 2] = 1e-9  # a first half that does not count, with features exchanged
    features = samples.features.copy()
    features[: len(share) // 2, [W_WEST, W_NORTH]] = features[: len(share) // 2, [W_NORTH, W_WEST]]
    mixed = Samples(features, samples.magnitude, samples.was_zero, share)
    start = np.full((1, FEATURES), 0.1)
    fitted = fit_activity_weights([mixed], start, STATE, np.random.default_rng(2))
    assert abs(fitted[0, W_NORTH]) < 0.15 * fitted[0, W_WEST]


def test_bands_with_few_samples_keep_their_weights():
    samples = _samples(np.random.default_rng(4))
    few = Samples(
        samples.features[:50], samples.magnitude[:50], samples.was_zero[:50], samples.share[:50]
    )
    start = np.full((2, FEATURES), 0.1)
    fitted = fit_activity_weights([few, samples], start, STATE, np.random.default_rng(2))
    assert np.array_equal(fitted[0], start[0])
    assert not np.array_equal(fitted[1], start[1])
    assert np.array_equal(
        fit_activity_weights([few, few], start, STATE, np.random.default_rng(2)), start
    )


def test_sampled_signs_stand_for_all_that_leave_zero():
    weights = load_weights(None)
    photo = data.astronaut()
    [symbols] = Codec(weights).quantised([photo])
    layout, chain = geometry(*photo.shape[:2]), weights.config.chain
    before, after = chain[4].index(symbols.q), chain[5].index(symbols.q)
    sampled = sample_signs(layout, before, after, np.random.default_rng(1))
    for band, signs, positive, share in sampled:
        leaving = (view(before, layout, band) == 0) & (view(after, layout, band) != 0)
        assert len(signs) == len(positive) == len(share)
        assert share.sum() == pytest.approx(leaving.sum())
    assert any(len(share) < share.sum() for *_, share in sampled)
