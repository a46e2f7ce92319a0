"""Rate-distortion curves and the Bjøntegaard difference between two of them.

The logarithm of the rate is a piecewise cubic function of the metric (PCHIP: monotone, without
overshoot), integrated over the range of the metric that both curves cover. JCT-VC has used this
variant since 2013.

The main figure compares the mean curves of a corpus: at each setting the mean over pictures of bits
per pixel and of the metric. Papers on learned codecs report it, and it can be recomputed from a
table; every picture has the same weight, whatever its size. The mean of the differences of single
pictures is reported beside it. It shows whether few pictures cause a gain, but it leaves out
pictures whose curves do not overlap.

Source: G. Bjøntegaard, "Calculation of average PSNR differences between RD-curves", ITU-T VCEG-M33,
2001, which uses a single cubic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.interpolate import PchipInterpolator


def bd_rate(
    rate_a: Sequence[float],
    metric_a: Sequence[float],
    rate_b: Sequence[float],
    metric_b: Sequence[float],
) -> float:
    """Return the excess rate of curve b over curve a at equal metric, in percent.

    Negative if b needs less. Rates are positive, in the same unit; higher metrics are better, and
    MS-SSIM is best given in dB. Points may come in any order. Points that need more rate than
    another without a better metric are left out, as are points that are not finite. nan if the
    curves share no range of the metric. Raises ValueError for rates that are not positive.
    """
    a, b = _front(rate_a, metric_a), _front(rate_b, metric_b)
    if len(a) < 2 or len(b) < 2:
        return math.nan
    low = max(a[0, 1], b[0, 1])
    high = min(a[-1, 1], b[-1, 1])
    if not low < high:
        return math.nan
    area_a, area_b = (
        float(PchipInterpolator(c[:, 1], np.log(c[:, 0])).integrate(low, high)) for c in (a, b)
    )
    return 100 * math.expm1((area_b - area_a) / (high - low))


def rate_at(rate: Sequence[float], metric: Sequence[float], wanted: float) -> float:
    """Return the rate at which a curve reaches a value of the metric; nan outside its range."""
    curve = _front(rate, metric)
    if len(curve) < 2 or not curve[0, 1] <= wanted <= curve[-1, 1]:
        return math.nan
    return float(np.exp(PchipInterpolator(curve[:, 1], np.log(curve[:, 0]))(wanted)))


def _front(rate: Sequence[float], metric: Sequence[float]) -> np.ndarray:
    """Return points (rate, metric) by rate, each better than all cheaper ones, float64 [K, 2]."""
    if len(rate) != len(metric):
        raise ValueError(f"{len(rate)} rates for {len(metric)} values of the metric")
    points = np.stack([np.asarray(rate, np.float64), np.asarray(metric, np.float64)], 1)
    points = points[np.isfinite(points).all(1)]
    if (points[:, 0] <= 0).any():
        raise ValueError("a rate is positive")
    # at equal rates the better point first, so that the worse one is dropped
    points = points[np.lexsort((-points[:, 1], points[:, 0]))]
    best_before = np.maximum.accumulate(np.concatenate([[-math.inf], points[:-1, 1]]))
    return points[points[:, 1] > best_before[: len(points)]]
