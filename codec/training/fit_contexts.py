"""Fit the integer weights of activities and leans: which neighbours tell size and sign.

For each step and band, the expected magnitude is a non-negative combination of the features that
the walk sees. Its weights maximise the likelihood of a Laplace law whose scale is the combination
(multiplicative updates of Itakura-Saito NMF, Févotte, Bertin and Durrieu 2009), then are rounded.
For leans see `codec.training.fit_signs`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from underpaint.codec.entropy.activity import FEATURES
from underpaint.codec.entropy.significance import FLAG_FEATURES
from underpaint.codec.palette.classes import LAW_UNIT
from underpaint.codec.quantize.cells import Cells
from underpaint.codec.training.fit_signs import fit_lean, sample_signs
from underpaint.codec.transform.subbands import (
    BANDS,
    BLOCK_SIDE,
    COMPONENTS,
    FLAG_GROUPS,
    Geometry,
    view,
)
from underpaint.codec.transform.wavelet import DYADIC_LEVELS, LEVELS, ORIENTATIONS

ACTIVITY_UNIT = 1 << 16
"""An activity of one cell width, as an integer."""

_SAMPLES_PER_BAND = 400
_LARGEST_WEIGHT = 1 << 20
_ROUNDS = 60


def magnitudes(q: np.ndarray, cells: Cells) -> np.ndarray:
    """Return what the walk holds as magnitude of each q in a state, int32."""
    index = np.abs(cells.index(q))
    return np.where(index > 0, cells.zero + index * cells.width - (cells.width >> 1), 0)


def class_of(layout: Geometry, level: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the flat position whose class a coefficient of a level has."""
    rows, columns = layout.positions
    scale = (level or LEVELS) - DYADIC_LEVELS
    y, x = (y << scale, x << scale) if scale >= 0 else (y >> -scale, x >> -scale)
    return np.minimum(y * columns + np.minimum(x, columns - 1), rows * columns - 1)


def sample_features(
    layout: Geometry,
    before: np.ndarray,
    after: np.ndarray,
    laws: np.ndarray,
    rng: np.random.Generator,
) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Draw coefficients of one image; return (band, their flat places, features float32 [n, 13]).

    `before`, `after` are magnitudes in the two states of a step, flat; `laws` float32
    [positions, BANDS].
    """
    drawn = []
    for band in range(BANDS):
        offset, height, width, stride, level = layout.bands[band, :5]
        parent, sib_1, sib_2, light, other = layout.bands[band, 7:12]
        if not height * width:
            continue
        count = min(height * width, _SAMPLES_PER_BAND)
        y, x = np.divmod(rng.choice(height * width, count, replace=False), width)
        at = offset + y * stride + x

        def relative(which: int, rows: np.ndarray, columns: np.ndarray, own: np.ndarray):
            if which < 0:
                return own
            return after[layout.bands[which, 0] + rows * layout.bands[which, 3] + columns]

        own = before[at]
        aunt = relative(sib_1, y, x, own)
        features = np.stack(
            [
                after[at - 1],
                before[at + 1],
                after[at - stride],
                before[at + stride],
                after[at - stride - 1] + after[at - stride + 1],
                before[at + stride - 1] + before[at + stride + 1],
                after[at - 2] + after[at - 2 * stride],
                relative(parent, y >> 1, x >> 1, own),
                aunt + relative(sib_2, y, x, aunt),
                relative(light, y, x, own),
                relative(other, y, x, own),
                laws[class_of(layout, level, y, x), band],
                np.ones(count),
            ],
            1,
        )
        drawn.append((band, at, features.astype(np.float32)))
    return drawn


def _block_sums(values: np.ndarray, layout: Geometry, group: int, reduce) -> np.ndarray:
    """Reduce the three bands of a flag group over blocks; returns [high + 2, wide + 2]."""
    high, wide, first = (int(layout.blocks[group, i]) for i in (1, 2, 7))
    blocks = []
    for way in range(ORIENTATIONS):
        band = view(values, layout, first + way)
        padded = np.zeros((high * BLOCK_SIDE, wide * BLOCK_SIDE), np.int64)
        padded[: band.shape[0], : band.shape[1]] = band
        blocks.append(padded.reshape(high, BLOCK_SIDE, wide, BLOCK_SIDE))
    return np.pad(reduce(np.stack(blocks), axis=(0, 2, 4)), 1)


def flag_features(
    layout: Geometry,
    q: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    state: Cells,
    laws: np.ndarray,
) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Return (group, features float32 [n, 9], largest magnitude [n]) of the blocks still zero."""
    drawn = []
    old: list[np.ndarray] = []
    new: list[np.ndarray] = []
    left: list[np.ndarray] = []
    for group in range(FLAG_GROUPS):
        high, wide, _, level, component, coarser, first = layout.blocks[group, 1:8]
        peak = _block_sums(np.abs(q), layout, group, np.max)
        old.append(_block_sums(before, layout, group, np.sum))
        new.append(_block_sums(after, layout, group, np.sum))
        left.append((peak > state.zero) * np.int64(state.width))
        flags, sums = left[group], old[group]
        y, x = np.mgrid[1 : high + 1, 1 : wide + 1].reshape(2, -1)
        above, lit = np.zeros((2, y.size), np.int64)
        if coarser >= 0:
            up = (((y - 1) >> 1) + 1, ((x - 1) >> 1) + 1)
            above = left[coarser][up] + (new[coarser][up] >> 2)
        if component:
            light = group - component
            lit = left[light][y, x] + (new[light][y, x] >> 2)
        shift = DYADIC_LEVELS - level - 2
        rows, columns = (y - 1, x - 1)
        rows, columns = (
            (rows >> shift, columns >> shift) if shift >= 0 else (rows << -shift, columns << -shift)
        )
        width = layout.positions[1]
        place = np.minimum(rows * width + np.minimum(columns, width - 1), len(laws) - 1)
        features = np.stack(
            [
                flags[y, x - 1],
                flags[y - 1, x],
                flags[y - 1, x - 1] + flags[y - 1, x + 1],
                (sums[y, x - 1] + sums[y, x + 1] + sums[y - 1, x] + sums[y + 1, x]) >> 2,
                (sums[y - 1, x - 1] + sums[y - 1, x + 1] + sums[y + 1, x - 1] + sums[y + 1, x + 1])
                >> 2,
                above,
                lit,
                laws[place, first : first + ORIENTATIONS].mean(1),
                np.ones(y.size),
            ],
            1,
        )
        zero = sums[y, x] == 0
        drawn.append((group, features[zero].astype(np.float32), peak[y, x][zero]))
    return drawn


def fit_scale_model(features: np.ndarray, magnitude: np.ndarray, floor: float) -> np.ndarray:
    """Return non-negative weights whose combination of features is the scale of a Laplace law."""
    phi = features.astype(np.float64)
    target = magnitude + floor
    weights = 0.1 * target.mean() / (phi.mean(0) + 1e-6) + 1e-9
    for _ in range(_ROUNDS):
        scale = phi @ weights + 1e-6
        weights *= np.sqrt((phi.T @ (target / scale**2)) / (phi.T @ (1 / scale) + 1e-12))
    return weights


def integer_weights(weights: np.ndarray, width: int, law: int) -> np.ndarray:
    """Round weights to units of 1 / 65536 of a cell width; `law` is the feature in sixteenths."""
    scaled = weights * (ACTIVITY_UNIT / width)
    scaled[..., law] /= LAW_UNIT
    return np.round(np.minimum(scaled, _LARGEST_WEIGHT)).astype(np.int32)


def fit_step(
    images: Iterable[tuple[Geometry, np.ndarray, np.ndarray]],
    before: Cells,
    after: Cells,
    root: bool,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit one step on images (layout, q, laws at positions).

    Return the weights of activities, int32 [BANDS, FEATURES], of flags, int32 [FLAG_GROUPS,
    FLAG_FEATURES], and of signs, int16 [BANDS, SIGN_FEATURES].
    """
    bands: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(BANDS)]
    groups: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(FLAG_GROUPS)]
    leaving: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(BANDS)]
    for layout, q, laws in images:
        old = np.zeros(q.shape, np.int32) if root else magnitudes(q, before)
        new = magnitudes(q, after)
        for band, at, features in sample_features(layout, old, new, laws, rng):
            bands[band].append((features, np.abs(q[at])))
        for group, features, peak in flag_features(layout, q, old, new, after, laws):
            keep = rng.permutation(len(peak))[:_SAMPLES_PER_BAND]
            groups[group].append((features[keep], peak[keep]))
        old = np.zeros(q.shape, np.int32) if root else before.index(q)
        for band, signs, positive in sample_signs(layout, old, after.index(q), rng):
            leaving[band].append((signs, positive))
    activity = np.zeros((BANDS, FEATURES))
    flags = np.zeros((FLAG_GROUPS, FLAG_FEATURES))
    for model, drawn in ((activity, bands), (flags, groups)):
        for row, pieces in enumerate(drawn):
            features = np.concatenate([piece[0] for piece in pieces])
            if len(features):
                magnitude = np.concatenate([piece[1] for piece in pieces])
                model[row] = fit_scale_model(features, magnitude, 0.02 * after.width)
    leans = [
        fit_lean(*(np.concatenate(parts) for parts in zip(*band, strict=True))) for band in leaving
    ]
    return (
        integer_weights(activity, after.width, FEATURES - 2),
        integer_weights(flags, after.width, FLAG_FEATURES - 2),
        np.stack(leans),
    )


assert COMPONENTS == 3
