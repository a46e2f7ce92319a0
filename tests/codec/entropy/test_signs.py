"""Sign contexts: fitted weights predict signs, and signs cost less than a bit."""

import numpy as np
import pytest
from skimage import data

from underpaint import Codec
from underpaint.codec.entropy.signs import (
    S_LIGHTNESS,
    S_SOUTH,
    S_WEST,
    SIGN_BINS,
    SIGN_EDGES,
    SIGN_FEATURES,
    SIGN_UNIT,
)
from underpaint.codec.training.fit_signs import fit_sign_weights, signs_around
from underpaint.codec.transform.subbands import BANDS, geometry, view
from underpaint.codec.weights.loading import load_weights


def test_known_weights_of_signs_are_found():
    rng = np.random.default_rng(1)
    weights = np.zeros(SIGN_FEATURES)
    weights[[S_WEST, S_SOUTH, S_LIGHTNESS]] = (1.5, -0.8, 0.4)
    signs = rng.integers(-1, 2, (40_000, SIGN_FEATURES)).astype(np.int8)
    positive = rng.random(len(signs)) < 1 / (1 + np.exp(-signs @ weights))
    found = fit_sign_weights(signs, positive, np.ones(len(signs)))
    assert found.dtype == np.int16
    np.testing.assert_allclose(found, weights * SIGN_UNIT, atol=3)


def test_without_samples_all_weights_are_zero():
    assert not fit_sign_weights(
        np.zeros((0, SIGN_FEATURES), np.int8), np.zeros(0, bool), np.zeros(0)
    ).any()


def test_signs_around_are_those_of_the_finer_state_behind_and_of_the_coarser_ahead():
    layout = geometry(64, 96)
    after = np.zeros(layout.size, np.int32)
    band = BANDS - 7  # component 0, orientation 2 at the finest level
    view(after, layout, band)[5, 4:9] = (3, -1, 7, 2, -9)
    view(after, layout, band)[3:8, 6] = (-4, 5, 7, -2, 6)
    before = np.zeros_like(after)
    view(before, layout, band)[5, 8] = -1
    found = signs_around(layout, before, after, band, np.array([5]), np.array([6]))[0]
    assert found[:8].tolist() == [-1, 0, 1, 0, 1, -1, -1, 0]


@pytest.mark.parametrize("profile", ["perceptual", "fidelity"])
def test_signs_cost_less_than_a_bit_in_photos_that_no_weights_have_seen(profile):
    weights = load_weights(profile)
    codec = Codec(weights)
    picture = data.coffee()[80:240, 150:390]
    layout, chain = geometry(*picture.shape[:2]), weights.config.chain
    q = codec.quantised([picture])[0].q
    bits, number = 0.0, 0
    step = len(weights.config.widths) - 1
    before, after = (chain[at].index(q) for at in (step, step + 1))
    first = int(weights.config.table_layout.cells(step)[-1])
    share = weights.frequencies[first : first + BANDS * SIGN_BINS, :2] / 65536
    for band in range(BANDS):
        leaving = (view(before, layout, band) == 0) & (view(after, layout, band) != 0)
        y, x = np.nonzero(leaving)
        signs = signs_around(layout, before, after, band, y, x).astype(int)
        context = signs @ weights.sign_weights[step, band].astype(int)
        place = np.searchsorted(SIGN_EDGES, np.abs(context), side="right")
        wrong = (context >= 0) != (view(after, layout, band)[leaving] > 0)
        bits -= np.log2(share[SIGN_BINS * band + place, wrong.astype(int)]).sum()
        number += len(context)
    assert number > 1000
    assert bits < 0.97 * number


def test_both_signs_are_equally_likely_in_the_first_bin():
    for profile in ("perceptual", "fidelity"):
        weights = load_weights(profile)
        for step in range(len(weights.config.widths)):
            first = int(weights.config.table_layout.cells(step)[-1])
            signs = weights.frequencies[first : first + BANDS * SIGN_BINS, :2]
            np.testing.assert_allclose(signs[::SIGN_BINS] / 65536, 0.5, atol=0.005)
