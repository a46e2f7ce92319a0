"""The Bjøntegaard difference: its properties, and what it does with odd curves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from underpaint.pipelines.evaluation.curves import bd_rate, rate_at

RATE = [0.1, 0.2, 0.4, 0.8, 1.6]
METRIC = [26.0, 29.0, 32.0, 34.5, 38.0]


@st.composite
def curves(draw):
    """A rising curve of 3 to 8 points around 0.05 to 3 bpp and 25 to 40 dB."""
    count = draw(st.integers(3, 8))
    rises = draw(st.lists(st.floats(0.3, 4), min_size=count, max_size=count))
    ratios = draw(st.lists(st.floats(1.1, 2.5), min_size=count, max_size=count))
    rate = draw(st.floats(0.05, 0.2)) * np.cumprod(ratios)
    return list(rate), list(25 + np.cumsum(rises))


@given(curves())
@settings(deadline=None)
def test_a_curve_costs_what_it_costs(curve):
    assert bd_rate(*curve, *curve) == pytest.approx(0, abs=1e-9)


@given(curves(), st.floats(0.25, 4))
@settings(deadline=None)
def test_scaled_rates_give_the_scale(curve, factor):
    rate, metric = curve
    scaled = [r * factor for r in rate]
    assert bd_rate(rate, metric, scaled, metric) == pytest.approx(100 * (factor - 1), abs=1e-6)


def test_half_the_rate_is_minus_fifty_percent():
    assert bd_rate(RATE, METRIC, [r / 2 for r in RATE], METRIC) == pytest.approx(-50)


@given(curves(), curves())
@settings(deadline=None)
def test_swapping_the_curves_inverts_the_ratio(a, b):
    forward, backward = bd_rate(*a, *b), bd_rate(*b, *a)
    if math.isnan(forward):
        assert math.isnan(backward)
    else:
        assert (1 + forward / 100) * (1 + backward / 100) == pytest.approx(1)


def test_parallel_lines_in_log_rate_need_no_interpolation():
    """Two straight lines half a decade apart, sampled at unlike places."""
    a, b = np.linspace(20, 40, 7), np.linspace(23, 44, 5)
    ours = bd_rate(10 ** (a / 10), a, 10 ** (b / 10 + 0.5), b)
    assert ours == pytest.approx(100 * (10**0.5 - 1))


def test_only_the_range_that_both_cover_counts():
    rate = [*RATE[:-1], 1000.0]
    metric = [*METRIC[:-1], 90.0]
    low = [r / 2 for r in RATE[:3]], METRIC[:3]
    assert bd_rate(RATE, METRIC, *low) == pytest.approx(-50, abs=0.5)
    assert bd_rate(rate, metric, *low) == pytest.approx(-50, abs=0.5)


def test_curves_without_common_range_have_no_difference():
    assert math.isnan(bd_rate(RATE, METRIC, RATE, [m + 50 for m in METRIC]))
    assert math.isnan(bd_rate(RATE, METRIC, RATE[:1], METRIC[:1]))
    assert math.isnan(bd_rate([], [], RATE, METRIC))


def test_order_and_wasted_points_do_not_matter():
    shuffled = [RATE[i] for i in (3, 0, 4, 1, 2)], [METRIC[i] for i in (3, 0, 4, 1, 2)]
    assert bd_rate(RATE, METRIC, *shuffled) == pytest.approx(0)
    wasteful = [*RATE, 0.9, 0.4, 2.0], [*METRIC, 30.0, 31.0, math.inf]
    assert bd_rate(RATE, METRIC, *wasteful) == pytest.approx(0)


def test_a_rate_is_positive_and_has_a_metric():
    with pytest.raises(ValueError, match="positive"):
        bd_rate([0, 1], [1, 2], RATE, METRIC)
    with pytest.raises(ValueError, match="1 rates for 2"):
        bd_rate([1], [1, 2], RATE, METRIC)


def test_rate_at_a_value_of_the_metric():
    assert rate_at(RATE, METRIC, 32.0) == pytest.approx(0.4)
    assert 0.2 < rate_at(RATE, METRIC, 30.5) < 0.4
    assert math.isnan(rate_at(RATE, METRIC, 25.9))
    assert math.isnan(rate_at(RATE, METRIC, 38.1))
