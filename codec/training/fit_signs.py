"""Fits the weights of sign contexts.

For each step and band, the log-odds of a positive sign are a linear combination of the signs that
the coder sees. There is no constant because signs are symmetric. The weights are fitted by logistic
regression (iteratively reweighted least squares with a small ridge) and rounded.
"""

from __future__ import annotations

import numpy as np

from underpaint.codec.entropy.signs import SIGN_FEATURES, SIGN_UNIT
from underpaint.codec.transform.subbands import (
    BANDS,
    HEIGHT,
    LIGHTNESS,
    OFFSET,
    OTHER_CHROMA,
    PARENT,
    STRIDE,
    WIDTH,
    Geometry,
)

_SAMPLES_PER_BAND = 200
_RIDGE = 4.0
_ROUNDS = 8
_LARGEST_WEIGHT = 4 * SIGN_UNIT


def sample_signs(
    layout: Geometry, before: np.ndarray, after: np.ndarray, rng: np.random.Generator
) -> list[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Sample coefficients that leave zero; return the arguments of `fit_sign_weights` by band.

    Each is (band, signs, positive, share). `before`, `after` are cell indices in the two states of
    a step, flat.
    """
    drawn = []
    for band in range(BANDS):
        offset, height, width, stride = layout.bands[band, [OFFSET, HEIGHT, WIDTH, STRIDE]]
        y, x = np.mgrid[:height, :width].reshape(2, -1)
        at = offset + y * stride + x
        leaving = np.flatnonzero((before[at] == 0) & (after[at] != 0))
        chosen = leaving
        if leaving.size > _SAMPLES_PER_BAND:
            chosen = rng.choice(leaving, _SAMPLES_PER_BAND, replace=False)
        y, x = y[chosen], x[chosen]
        share = np.full(chosen.size, leaving.size / max(chosen.size, 1))
        signs = signs_around(layout, before, after, band, y, x)
        drawn.append((band, signs, after[at[chosen]] > 0, share))
    return drawn


def signs_around(
    layout: Geometry,
    before: np.ndarray,
    after: np.ndarray,
    band: int,
    y: np.ndarray,
    x: np.ndarray,
) -> np.ndarray:
    """Return the signs around coefficients (y, x) of a band, int8 [n, SIGN_FEATURES].

    In the order of `signs.S_WEST` and so on; arguments as in `sample_signs`.
    """
    row = layout.bands[band]
    offset, stride = row[[OFFSET, STRIDE]]
    at = offset + y * stride + x

    def relative(which: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        if which < 0:
            return np.zeros(len(at), after.dtype)
        return after[layout.bands[which, OFFSET] + rows * layout.bands[which, STRIDE] + columns]

    seen = [
        after[at - 1], before[at + 1], after[at - stride], before[at + stride],
        after[at - 2], before[at + 2], after[at - 2 * stride], before[at + 2 * stride],
        relative(row[LIGHTNESS], y, x), relative(row[OTHER_CHROMA], y, x),
        relative(row[PARENT], y >> 1, x >> 1),
    ]  # fmt: skip
    return np.sign(np.stack(seen, 1)).astype(np.int8)


def fit_sign_weights(signs: np.ndarray, positive: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return the weights of sign contexts, int16 [SIGN_FEATURES].

    `signs` int8 [n, SIGN_FEATURES] around coefficients, `positive` bool [n] their own signs,
    `share` [n], how many signs of the photos each sample stands for.
    """
    features, target = signs.astype(np.float64), positive.astype(np.float64)
    share = share / share.mean() if share.size else share
    weights = np.zeros(SIGN_FEATURES)
    for _ in range(_ROUNDS):
        chance = 1 / (1 + np.exp(-features @ weights))
        gradient = features.T @ (share * (target - chance)) - _RIDGE * weights
        variance = share * chance * (1 - chance)
        hessian = features.T @ (features * variance[:, None]) + _RIDGE * np.eye(SIGN_FEATURES)
        weights += np.linalg.solve(hessian, gradient)
    rounded = np.round(weights * SIGN_UNIT)
    return np.clip(rounded, -_LARGEST_WEIGHT, _LARGEST_WEIGHT).astype(np.int16)
