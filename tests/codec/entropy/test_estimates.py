"""Estimates: exact tables, bounds, and shares that follow what is coded."""

from dataclasses import replace

import numpy as np
import pytest
from numba import njit
from skimage import data

from underpaint import Codec
from underpaint.codec.entropy.activity import BINS
from underpaint.codec.entropy.coder import EntropyCoder
from underpaint.codec.entropy.estimates import (
    CHANCE_OF,
    CHANCES,
    ESTIMATES,
    FIRST_COUNT,
    LEARNING_SHIFT,
    LEAST_SHARE,
    LOG_ODDS,
    MIXING_BITS,
    MOST_COUNT,
    MOST_MIXING,
    SETTLED_SHIFT,
    SHARE_BITS,
    SIGN_INPUTS,
    SPLIT_INPUTS,
    STORED,
    Estimates,
    chance_of,
    chance_of_mixed,
    exact_chances,
    exact_log_odds,
    follow,
    learned,
    log_odds_of,
    mixing_inputs,
    see,
    stored_estimates,
)
from underpaint.codec.entropy.signs import SIGN_BINS
from underpaint.codec.training.fit_estimates import counted
from underpaint.codec.transform.subbands import BANDS, geometry
from underpaint.codec.weights.loading import load_weights
from underpaint.codec.weights.model import Weights

MARGIN = 1e-6
"""Least distance of a value from a half: logarithms of all machines are far closer than that."""

ENDS = (LEAST_SHARE, (1 << SHARE_BITS) - LEAST_SHARE)
SETTLED, COUNTED = 0, STORED
"""An estimate of each of the two sorts."""


@njit
def _followed(shares, counts, at, symbols, reached):
    for place in range(symbols.size):
        if at < STORED:
            follow(shares, at, symbols[place])
        else:
            see(shares, counts, at, symbols[place])
        reached[place] = shares[at]


def _shares(start: int, at: int, symbols: np.ndarray, count: int = 0) -> np.ndarray:
    """Return the share of an estimate after each symbol, int32 [symbols]."""
    shares, counts = np.full(ESTIMATES, start, np.int32), np.full(ESTIMATES, count, np.uint8)
    reached = np.zeros(symbols.size, np.int32)
    _followed(shares, counts, at, symbols, reached)
    others = np.arange(ESTIMATES) != at
    assert (shares[others] == start).all()
    assert (counts[STORED:][others[STORED:]] == count).all()
    return reached


@njit
def _mixed(mixing, shares, symbols, chances, shift):
    """Mix three fixed shares; return the largest mixing weight on the way."""
    largest = np.int64(0)
    odds = [log_odds_of(share) for share in shares]
    for place in range(symbols.size):
        weighted = np.int64(0)
        for k in range(3):
            weighted += mixing[k] * odds[k]
        chance = chance_of_mixed(weighted)
        error = (CHANCES if symbols[place] else 0) - chance
        for k in range(3):
            mixing[k] = learned(mixing[k], odds[k], error, shift)
            largest = max(largest, abs(mixing[k]))
        chances[place] = chance
    return largest


def test_no_value_of_the_tables_is_near_a_half():
    for exact, table in ((exact_log_odds(), LOG_ODDS), (exact_chances(), CHANCE_OF)):
        assert np.abs(exact - np.floor(exact) - 0.5).min() > MARGIN
        inside = (exact < CHANCES - 1) & (exact > table.min())
        assert inside.sum() > 0.9 * len(table)
        assert (np.abs(exact - table)[inside] < 0.5).all()


def test_tables_grow_and_are_symmetric():
    assert (np.diff(LOG_ODDS) >= 0).all()
    assert (np.diff(CHANCE_OF) >= 0).all()
    np.testing.assert_array_equal(LOG_ODDS, -LOG_ODDS[::-1])
    np.testing.assert_array_equal(CHANCE_OF, CHANCES - CHANCE_OF[::-1])
    assert (CHANCE_OF.min(), CHANCE_OF.max()) == (1, CHANCES - 1)


def test_sums_of_log_odds_stay_within_32_bits():
    most = int(np.abs(LOG_ODDS).max())
    assert max(SIGN_INPUTS, SPLIT_INPUTS) * MOST_MIXING * most < 1 << 31
    assert CHANCES * most + (1 << (LEARNING_SHIFT - 1)) < 1 << 31


@pytest.mark.parametrize("at", [SETTLED, COUNTED])
@pytest.mark.parametrize("start", [*ENDS, 1 << (SHARE_BITS - 1)])
@pytest.mark.parametrize("symbol", [0, 1])
def test_shares_never_leave_their_bounds(at, start, symbol):
    rng = np.random.default_rng(2)
    for symbols in (np.full(20_000, symbol), rng.integers(0, 2, 20_000)):
        for count in (0, MOST_COUNT):
            reached = _shares(start, at, symbols.astype(np.int64), count)
            assert ENDS[0] <= reached.min()
            assert reached.max() <= ENDS[1]
            chances = [chance_of(share) for share in (reached.min(), reached.max())]
            assert 1 <= min(chances) <= max(chances) <= CHANCES - 1
    constant = _shares(start, at, np.full(20_000, symbol))
    assert abs(int(constant[-1]) - ENDS[symbol]) < 1 << SETTLED_SHIFT


@pytest.mark.parametrize("at", [SETTLED, COUNTED])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_estimates_come_to_the_share_of_a_stationary_source(at, share):
    symbols = (np.random.default_rng(3).random(60_000) < share).astype(np.int64)
    reached = _shares(1 << (SHARE_BITS - 1), at, symbols) / (1 << SHARE_BITS)
    assert reached[2000:].mean() == pytest.approx(symbols[2000:].mean(), rel=0.01)
    assert reached[2000:].std() < 0.08 * np.sqrt(share * (1 - share))


def test_an_estimate_that_has_seen_little_moves_further():
    ones, half = np.ones(1, np.int64), 1 << (SHARE_BITS - 1)
    moves = [_shares(half, COUNTED, ones, count)[0] - half for count in range(MOST_COUNT + 1)]
    assert (np.diff(moves) <= 0).all()
    assert moves[0] > 60 * moves[-1]
    assert moves[-1] == _shares(half, SETTLED, ones)[0] - half


def test_mixing_weights_are_bounded_and_chances_valid():
    rng = np.random.default_rng(4)
    for _ in range(50):
        mixing = rng.choice([-MOST_MIXING, 0, MOST_MIXING], 3).astype(np.int64)
        shares = rng.choice([*ENDS, 1 << (SHARE_BITS - 1)], 3).astype(np.int32)
        chances = np.zeros(500, np.int64)
        symbols = rng.integers(0, 2, 500)
        assert _mixed(mixing, shares, symbols, chances, LEARNING_SHIFT) <= MOST_MIXING
        assert 1 <= chances.min() <= chances.max() <= CHANCES - 1


def test_mixing_learns_which_estimate_is_right():
    share = 0.15
    symbols = (np.random.default_rng(5).random(20_000) < share).astype(np.int64)
    shares = (np.array([share, 0.5, 0.7]) * (1 << SHARE_BITS)).astype(np.int32)
    mixing, chances = np.full(3, 1 << (MIXING_BITS - 2), np.int64), np.zeros(20_000, np.int64)
    _mixed(mixing, shares, symbols, chances, LEARNING_SHIFT)
    assert chances[0] / CHANCES > 1.5 * share
    assert chances[-5000:].mean() / CHANCES == pytest.approx(share, rel=0.1)
    assert mixing[0] > 1 << (MIXING_BITS - 2) > mixing[2]


@pytest.mark.parametrize("mixes_splits", [False, True])
def test_estimates_start_from_tables_and_from_what_is_stored(mixes_splits):
    weights = load_weights("fidelity" if mixes_splits else "perceptual")
    assert weights.config.mixes_splits is mixes_splits
    _, _, splits, _, _, signs = weights.config.table_layout.cells(2).tolist()
    starts = weights.estimates.starts(2, weights.cumulative, (splits, signs))
    stored = stored_estimates(mixes_splits)
    assert starts.shares.shape == (BANDS, STORED + stored)
    chances = starts.shares >> (SHARE_BITS - 16)
    tables = weights.frequencies[:, 1]
    np.testing.assert_array_equal(chances[:, :BINS].ravel(), tables[splits : splits + BANDS * BINS])
    np.testing.assert_array_equal(
        chances[:, BINS:STORED].ravel(), tables[signs : signs + BANDS * SIGN_BINS]
    )
    np.testing.assert_array_equal(chances[:, STORED:], weights.estimates.shares[2])
    np.testing.assert_array_equal(starts.counts, weights.estimates.counts[2])
    assert weights.estimates.mixing.shape[2] == mixing_inputs(mixes_splits)


def test_starts_are_the_shares_that_were_counted():
    seen = np.zeros((1, BANDS, stored_estimates(False), 2), np.int64)
    seen[0, 3, :4] = [[30, 10], [0, 5], [10**9, 0], [0, 10**9]]
    mixing = Estimates.neutral(1, False).mixing
    found = Estimates.counted(seen, mixing)
    assert found.mixing is mixing
    assert found.shares[0, 0, 0] == CHANCES // 2
    assert found.counts[0, 0, 0] < found.counts[0, 3, 0] < FIRST_COUNT
    assert found.shares[0, 3, 0] / CHANCES == pytest.approx(0.25, abs=0.01)
    assert 0.8 < found.shares[0, 3, 1] / CHANCES < 1
    assert found.shares[0, 3, 2:4].tolist() == [1, CHANCES - 1]
    assert found.counts[0, 3, 2:4].tolist() == [FIRST_COUNT, FIRST_COUNT]


def _texture() -> np.ndarray:
    """Return slanted stripes in noise, uint8 [160, 192, 3]: one texture and nothing else."""
    y, x = np.mgrid[:160, :192]
    noise = np.random.default_rng(6).normal(0, 12, (160, 192, 3))
    stripes = 40 * np.sin(0.7 * x + 0.35 * y)[..., None]
    return np.clip(128 + stripes + noise, 0, 255).astype(np.uint8)


def _bits(weights: Weights, picture: np.ndarray) -> tuple[float, float, int]:
    """Return bits as coded, bits if nothing followed the picture, and the number of symbols."""
    [symbols] = Codec(weights).quantised([picture])
    layers = EntropyCoder(weights).encode(
        symbols, geometry(*picture.shape[:2]), len(weights.config.layers)
    )
    intervals = np.concatenate([part for parts in layers for part in parts])
    counts = counted(weights, [picture.shape], [symbols]).tables
    used = counts > 0
    frozen = (counts[used] * (16 - np.log2(weights.frequencies[used]))).sum()
    return float((16 - np.log2((intervals & 0xFFFF) + 1.0)).sum()), frozen, intervals.size


@pytest.mark.parametrize("profile", ["perceptual", "fidelity"])
def test_a_picture_of_one_texture_gets_shorter_than_with_frozen_estimates(profile):
    weights = load_weights(profile)
    coded, frozen, _ = _bits(weights, _texture())
    assert coded < 0.93 * frozen


@pytest.mark.parametrize("profile", ["perceptual", "fidelity"])
def test_a_counter_counts_each_symbol_that_an_encoder_records(profile):
    weights, picture = load_weights(profile), data.astronaut()[:90, :70]
    [symbols] = Codec(weights).quantised([picture])
    *_, recorded = _bits(weights, picture)
    assert counted(weights, [picture.shape], [symbols]).tables.sum() == recorded


def test_other_starts_change_the_code_but_not_what_is_decoded():
    weights, picture = load_weights("fidelity"), data.astronaut()[:70, :90]
    config = weights.config
    neutral = Estimates.neutral(len(config.widths), config.mixes_splits)
    lengths = []
    for estimates in (weights.estimates, neutral):
        codec = Codec(replace(weights, estimates=estimates))
        [layers] = codec.encode([picture])
        lengths.append(sum(map(len, layers)))
        *_, cells = codec.symbols(layers)
        np.testing.assert_array_equal(cells, Codec(weights).quantised([picture])[0].q)
    assert lengths[0] < lengths[1]
