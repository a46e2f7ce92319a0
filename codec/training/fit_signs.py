"""Fit the weights of leans: what the signs around a coefficient say about its own.

For each step and band, the log-odds of a positive sign are a linear combination of the signs that
the walk sees, without a constant, for signs are symmetric. It is fitted by logistic regression
(iteratively reweighted least squares, with a small ridge) and rounded.
"""

from __future__ import annotations

import numpy as np

from underpaint.codec.entropy.signs import SIGN_FEATURES, SIGN_UNIT
from underpaint.codec.transform.subbands import BANDS, Geometry

_SAMPLES_PER_BAND = 400
_RIDGE = 4.0
_ROUNDS = 8
_LARGEST_WEIGHT = 4 * SIGN_UNIT


def sample_signs(
    layout: Geometry, before: np.ndarray, after: np.ndarray, rng: np.random.Generator
) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Draw coefficients that leave zero; return (band, signs around them, whether positive).

    `before`, `after` are cell indices in the two states of a step, flat; signs int8
    [n, SIGN_FEATURES].
    """
    drawn = []
    for band in range(BANDS):
        offset, height, width, stride = layout.bands[band, :4]
        y, x = np.mgrid[:height, :width].reshape(2, -1)
        at = offset + y * stride + x
        leaving = np.flatnonzero((before[at] == 0) & (after[at] != 0))
        if leaving.size > _SAMPLES_PER_BAND:
            leaving = rng.choice(leaving, _SAMPLES_PER_BAND, replace=False)
        y, x = y[leaving], x[leaving]
        drawn.append(
            (band, signs_around(layout, before, after, band, y, x), after[at[leaving]] > 0)
        )
    return drawn


def signs_around(
    layout: Geometry,
    before: np.ndarray,
    after: np.ndarray,
    band: int,
    y: np.ndarray,
    x: np.ndarray,
) -> np.ndarray:
    """Return the signs that the walk sees around places of a band, int8 [n, SIGN_FEATURES]."""
    offset, _, _, stride = layout.bands[band, :4]
    parent, _, _, light, other = layout.bands[band, 7:12]
    at = offset + y * stride + x

    def relative(which: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        if which < 0:
            return np.zeros(len(at), after.dtype)
        return after[layout.bands[which, 0] + rows * layout.bands[which, 3] + columns]

    seen = [
        after[at - 1], before[at + 1], after[at - stride], before[at + stride],
        after[at - 2], before[at + 2], after[at - 2 * stride], before[at + 2 * stride],
        relative(light, y, x), relative(other, y, x), relative(parent, y >> 1, x >> 1),
    ]  # fmt: skip
    return np.sign(np.stack(seen, 1)).astype(np.int8)


def fit_lean(signs: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Return the weights, int16 [SIGN_FEATURES], of signs int8 [n, SIGN_FEATURES] around others."""
    features, target = signs.astype(np.float64), positive.astype(np.float64)
    weights = np.zeros(SIGN_FEATURES)
    for _ in range(_ROUNDS):
        chance = 1 / (1 + np.exp(-features @ weights))
        slope = features.T @ (target - chance) - _RIDGE * weights
        spread = chance * (1 - chance)
        bend = features.T @ (features * spread[:, None]) + _RIDGE * np.eye(SIGN_FEATURES)
        weights += np.linalg.solve(bend, slope)
    rounded = np.round(weights * SIGN_UNIT)
    return np.clip(rounded, -_LARGEST_WEIGHT, _LARGEST_WEIGHT).astype(np.int16)
