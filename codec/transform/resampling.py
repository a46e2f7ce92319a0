"""Small pictures from low bands: their own pixel grid, and the response of a scaling filter.

The low band of level l has a sample at every 2**l-th pixel, the first at the first pixel. A picture
scaled to n pixels has its pixels elsewhere: pixel i of a side of N pixels has its centre at
(i + 1/2) N / n - 1/2. Four taps along each axis move the samples there.

The weight of a sample is a function of its distance, piecewise cubic. It is a least-squares fit, by
level and over all places between two samples, of the low bands of 40 photos to the photos scaled by
Lanczos and by bicubic interpolation (Pillow), the mean of both: `tests/benchmarks/size_filters.py`
repeats it. Uncoded, the results are 2 dB closer to either than by interpolation of the samples.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from underpaint.codec.transform.sizes import shrunk_sides

if TYPE_CHECKING:
    import torch

NEAR_AND_FAR = np.array(
    [
        [[0.9124, 0.0807, -1.7984, 0.8905], [0.0442, -0.6722, 0.8325, -0.2460]],
        [[0.9330, 0.0942, -1.9117, 0.9651], [0.0341, -0.6995, 0.9242, -0.3059]],
        [[0.9487, 0.0642, -1.8923, 0.9512], [0.0264, -0.6938, 0.9282, -0.3073]],
        [[0.9525, 0.0606, -1.8960, 0.9527], [0.0248, -0.6924, 0.9249, -0.3038]],
    ]
)
"""Coefficients of the weight of a sample, constant term first, float64 [4, 2, 4]: for levels 1 to
4, of the polynomials in d for distances d from 0 to 1, and in d - 1 for distances from 1 to 2."""

TAPS = 4


def low_band_gain(level: int) -> float:
    """Return the factor from pixels to a low band of constant light: 2 for each level."""
    return float(1 << level)


@lru_cache(maxsize=1024)
def taps(side: int, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how the pixels along a side of the picture that a low band gives are made.

    `side` is the side of the full picture, `level` 1 to 4. Returns the first of the four samples of
    each pixel, int64 [n], and their weights, float32 [4, n], whose sum is 1. Samples beyond an end
    are those of the end. Places are computed in integers: the weights jump where a pixel lies on a
    sample, so rounding must not decide on which side it is.
    """
    count = shrunk_sides(side, side, level)[0]
    apart = count << (level + 1)
    own, beyond = np.divmod((2 * np.arange(count) + 1) * side - count, apart)
    distances = np.abs(np.arange(-1, TAPS - 1)[:, None] - beyond / apart)
    near, far = NEAR_AND_FAR[level - 1]
    weights = np.where(
        distances < 1,
        np.polynomial.polynomial.polyval(distances, near),
        np.polynomial.polynomial.polyval(np.minimum(distances, 2) - 1, far),
    )
    weights[distances >= 2] = 0
    return own - 1, (weights / weights.sum(0)).astype(np.float32)


def small_pixels(low: torch.Tensor, sides: tuple[int, int], level: int) -> torch.Tensor:
    """Return the pixels that a low band gives, float [N, C, H', W'].

    `low` float [N, C, h, w], of a padded picture; `sides` of the full picture, height and width.
    """
    import torch

    for axis, side in ((-2, sides[0]), (-1, sides[1])):
        first, weights = taps(side, level)
        last = low.shape[axis] - 1
        shape = (-1, 1) if axis == -2 else (-1,)
        weighted = []
        for tap in range(TAPS):
            places = torch.from_numpy(np.clip(first + tap, 0, last)).to(low.device)
            weight = torch.from_numpy(weights[tap].reshape(shape)).to(low)
            weighted.append(low.index_select(axis, places) * weight)
        one, two, three, four = weighted
        low = one + two + three + four
    return low / low_band_gain(level)
