"""Rate-distortion curves and the Bjøntegaard difference between two of them.

Variant: the logarithm of the rate as a piecewise cubic function of the metric (PCHIP: monotone,
no overshoot), integrated over the range of the metric that both curves cover, as JCT-VC has done
since 2013 in place of the one cubic of G. Bjøntegaard, "Calculation of average PSNR differences
between RD-curves", ITU-T VCEG-M33, 2001.

The headline figure compares the curves of the corpus: at each setting the mean over pictures of
bits per pixel against the mean over pictures of the metric. That is what papers on learned codecs
print and what anybody can compute again from a table; every picture weighs the same whatever its
size. The mean of one figure for each picture stands beside it: it shows where a gain rests on few
pictures, but it leaves out pictures whose curves do not overlap, so it is not the headline.
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
    """How much more rate curve b takes than curve a at equal metric, in percent; below 0, b wins.

    Rates are positive, in any one unit; metrics are higher for better, MS-SSIM best in dB. Points
    come in any order. Points that cost more than another and show no more are left out, as are
    points that are not finite. `nan` where the curves share no range of the metric.
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
    """Rate at which a curve reaches a value of the metric; `nan` outside the curve's range."""
    curve = _front(rate, metric)
    if len(curve) < 2 or not curve[0, 1] <= wanted <= curve[-1, 1]:
        return math.nan
    return float(np.exp(PchipInterpolator(curve[:, 1], np.log(curve[:, 0]))(wanted)))


def _front(rate: Sequence[float], metric: Sequence[float]) -> np.ndarray:
    """Points (rate, metric) by rising rate, each better than all cheaper ones; float64 [K, 2]."""
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
