"""Fits the weights of the context model: of activities, block flags and sign contexts.

For each step, the expected magnitude of a block is a non-negative combination of the features that
the coder sees. Its weights maximise the likelihood of Laplace distributions with that scale, and
are then rounded. So are the first weights of activities, which `codec.training.fit_activities` then
fits to the code length. `codec.training.fit_signs` fits sign contexts.

Source: multiplicative updates of Itakura-Saito NMF (Févotte, Bertin and Durrieu 2009).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from underpaint.codec.entropy.activity import FEATURES, W_EXPECTED
from underpaint.codec.entropy.significance import F_EXPECTED, FLAG_FEATURES
from underpaint.codec.palette.classes import MAGNITUDE_UNIT
from underpaint.codec.quantize.cells import Cells
from underpaint.codec.training.fit_activities import Samples, fit_activity_weights
from underpaint.codec.training.fit_signs import fit_sign_weights, sample_signs
from underpaint.codec.transform.subbands import (
    BANDS,
    BLOCK_SIDE,
    COARSER_GROUP,
    COMPONENT,
    COMPONENTS,
    DYADIC_LEVELS,
    FIRST_BAND,
    FLAG_GROUPS,
    HEIGHT,
    LEVEL,
    LEVELS,
    LIGHTNESS,
    OFFSET,
    ORIENTATIONS,
    OTHER_CHROMA,
    PARENT,
    SIBLING_1,
    SIBLING_2,
    STRIDE,
    WIDTH,
    Geometry,
    view,
)

ACTIVITY_UNIT = 1 << 16
"""An activity of one cell width, as an integer."""

_SAMPLES_PER_BAND = 300
_LARGEST_WEIGHT = 1 << 20
_ROUNDS = 60
_FIRST_ROWS = 8192


def magnitudes(q: np.ndarray, cells: Cells) -> np.ndarray:
    """Return the magnitude of each q in a state, as the coder computes it, int32."""
    index = np.abs(cells.index(q))
    return np.where(index > 0, cells.zero + index * cells.width - (cells.width >> 1), 0)


def class_of(layout: Geometry, level: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the flat latent positions of coefficients (y, x) of a level."""
    rows, columns = layout.positions
    scale = (level or LEVELS) - DYADIC_LEVELS
    y, x = (y << scale, x << scale) if scale >= 0 else (y >> -scale, x >> -scale)
    return np.minimum(y * columns + np.minimum(x, columns - 1), rows * columns - 1)


def sample_features(
    layout: Geometry,
    before: np.ndarray,
    after: np.ndarray,
    expected: np.ndarray,
    rng: np.random.Generator,
    among: np.ndarray | None = None,
) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Sample coefficients of a picture; return (band, flat indices, features) of each band.

    `before`, `after` are magnitudes in the two states of a step, flat; `expected` float32
    [positions, BANDS], expected magnitudes; features float32 [n, FEATURES], in the order of
    `activity.W_WEST` and so on. `among` bool, flat, marks the coefficients to draw from; None
    stands for all.
    """
    drawn = []
    for band in range(BANDS):
        row = layout.bands[band]
        offset, height, width, stride = row[[OFFSET, HEIGHT, WIDTH, STRIDE]]
        if among is None:
            eligible = np.arange(height * width)
        else:
            eligible = np.flatnonzero(view(among, layout, band))
        count = min(len(eligible), _SAMPLES_PER_BAND)
        if not count:
            continue
        y, x = np.divmod(rng.choice(eligible, count, replace=False), width)
        at = offset + y * stride + x

        def relative(which: int, rows: np.ndarray, columns: np.ndarray, own: np.ndarray):
            if which < 0:
                return own
            start = layout.bands[which, OFFSET] + rows * layout.bands[which, STRIDE]
            return after[start + columns]

        own = before[at]
        sibling = relative(row[SIBLING_1], y, x, own)
        features = np.stack(
            [
                after[at - 1],
                before[at + 1],
                after[at - stride],
                before[at + stride],
                after[at - stride - 1] + after[at - stride + 1],
                before[at + stride - 1] + before[at + stride + 1],
                after[at - 2] + after[at - 2 * stride],
                relative(row[PARENT], y >> 1, x >> 1, own),
                sibling + relative(row[SIBLING_2], y, x, sibling),
                relative(row[LIGHTNESS], y, x, own),
                relative(row[OTHER_CHROMA], y, x, own),
                expected[class_of(layout, int(row[LEVEL]), y, x), band],
                np.ones(count),
            ],
            1,
        )
        drawn.append((band, at, features.astype(np.float32)))
    return drawn


def coded_coefficients(layout: Geometry, q: np.ndarray, state: Cells) -> np.ndarray:
    """Return which coefficients a step to `state` codes, bool, flat.

    They lie in a block, or at levels without flags in a group of bands, that is not all zero in
    this state.
    """
    coded = np.zeros(len(q), bool)
    for group in range(FLAG_GROUPS):
        occupied = _block_sums(np.abs(q), layout, group, np.max)[1:-1, 1:-1] > state.zero
        inside = occupied.repeat(BLOCK_SIDE, 0).repeat(BLOCK_SIDE, 1)
        first = int(layout.blocks[group, FIRST_BAND])
        for band in range(first, first + ORIENTATIONS):
            values = view(coded, layout, band)
            values[:] = inside[: values.shape[0], : values.shape[1]]
    flagged = int(layout.blocks[0, FIRST_BAND])
    firsts = [*range(COMPONENTS), *range(COMPONENTS, flagged, ORIENTATIONS), flagged]
    for first, end in pairwise(firsts):
        members = [(view(q, layout, band), view(coded, layout, band)) for band in range(first, end)]
        leaves = any((np.abs(values) > state.zero).any() for values, _ in members)
        for _, marks in members:
            marks[:] = leaves
    return coded


def _block_sums(values: np.ndarray, layout: Geometry, group: int, reduce) -> np.ndarray:
    """Reduce the three bands of a flag group over blocks; returns [height + 2, width + 2]."""
    high, wide, first = layout.blocks[group, [HEIGHT, WIDTH, FIRST_BAND]].tolist()
    blocks = []
    for orientation in range(ORIENTATIONS):
        band = view(values, layout, first + orientation)
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
    expected: np.ndarray,
) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Return (group, features, peaks) of the blocks that are zero in the coarser state.

    Features float32 [n, FLAG_FEATURES], in the order of `significance.F_WEST` and so on; peaks [n],
    largest |q| of each block.
    """
    drawn = []
    old: list[np.ndarray] = []
    new: list[np.ndarray] = []
    left: list[np.ndarray] = []
    for group in range(FLAG_GROUPS):
        row = layout.blocks[group]
        high, wide, level, component = row[[HEIGHT, WIDTH, LEVEL, COMPONENT]]
        coarser, first = row[[COARSER_GROUP, FIRST_BAND]]
        peak = _block_sums(np.abs(q), layout, group, np.max)
        old.append(_block_sums(before, layout, group, np.sum))
        new.append(_block_sums(after, layout, group, np.sum))
        left.append((peak > state.zero) * np.int64(state.width))
        flags, sums = left[group], old[group]
        y, x = np.mgrid[1 : high + 1, 1 : wide + 1].reshape(2, -1)
        of_parent, of_lightness = np.zeros((2, y.size), np.int64)
        if coarser >= 0:
            up = (((y - 1) >> 1) + 1, ((x - 1) >> 1) + 1)
            of_parent = left[coarser][up] + (new[coarser][up] >> 2)
        if component:
            light = group - component
            of_lightness = left[light][y, x] + (new[light][y, x] >> 2)
        shift = DYADIC_LEVELS - level - 2
        rows, columns = (y - 1, x - 1)
        rows, columns = (
            (rows >> shift, columns >> shift) if shift >= 0 else (rows << -shift, columns << -shift)
        )
        width = layout.positions[1]
        place = np.minimum(rows * width + np.minimum(columns, width - 1), len(expected) - 1)
        features = np.stack(
            [
                flags[y, x - 1],
                flags[y - 1, x],
                flags[y - 1, x - 1] + flags[y - 1, x + 1],
                (sums[y, x - 1] + sums[y, x + 1] + sums[y - 1, x] + sums[y + 1, x]) >> 2,
                (sums[y - 1, x - 1] + sums[y - 1, x + 1] + sums[y + 1, x - 1] + sums[y + 1, x + 1])
                >> 2,
                of_parent,
                of_lightness,
                expected[place, first : first + ORIENTATIONS].mean(1),
                np.ones(y.size),
            ],
            1,
        )
        zero = sums[y, x] == 0
        drawn.append((group, features[zero].astype(np.float32), peak[y, x][zero]))
    return drawn


def fit_scale_model(features: np.ndarray, magnitude: np.ndarray, floor: float) -> np.ndarray:
    """Fit non-negative weights: features times weights are scales of Laplace distributions.

    `features` float32 [n, F], `magnitude` [n]; returns float64 [F]. `floor` is added to magnitudes.
    """
    phi = features.astype(np.float64)
    target = magnitude + floor
    weights = 0.1 * target.mean() / (phi.mean(0) + 1e-6) + 1e-9
    for _ in range(_ROUNDS):
        scale = phi @ weights + 1e-6
        weights *= np.sqrt((phi.T @ (target / scale**2)) / (phi.T @ (1 / scale) + 1e-12))
    return weights


def integer_weights(weights: np.ndarray, width: int, expected_index: int) -> np.ndarray:
    """Round weights to units of 1 / 65536 of a cell width.

    `expected_index` is the weight of the expected magnitude, which the coder has in sixteenths.
    """
    scaled = weights * (ACTIVITY_UNIT / width)
    scaled[..., expected_index] /= MAGNITUDE_UNIT
    return np.round(np.clip(scaled, -_LARGEST_WEIGHT, _LARGEST_WEIGHT)).astype(np.int32)


def fit_step(
    images: Iterable[tuple[Geometry, np.ndarray, np.ndarray]],
    before: Cells,
    after: Cells,
    root: bool,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit one step on pictures (layout, finest indices, expected magnitudes at the positions).

    Returns the weights of activities, int32 [BANDS, FEATURES], of block flags, int32 [FLAG_GROUPS,
    FLAG_FEATURES], and of sign contexts, int16 [BANDS, SIGN_FEATURES].
    """
    bands: list[list[Samples]] = [[] for _ in range(BANDS)]
    groups: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(FLAG_GROUPS)]
    leaving: list[list[tuple[np.ndarray, ...]]] = [[] for _ in range(BANDS)]
    for layout, q, expected in images:
        old = np.zeros(q.shape, np.int32) if root else magnitudes(q, before)
        new = magnitudes(q, after)
        coded = coded_coefficients(layout, q, after)
        for band, at, features in sample_features(layout, old, new, expected, rng, coded):
            share = np.full(len(at), np.count_nonzero(view(coded, layout, band)) / len(at))
            bands[band].append(Samples(features, np.abs(q[at]), old[at] == 0, share))
        for group, features, peak in flag_features(layout, q, old, new, after, expected):
            keep = rng.permutation(len(peak))[:_SAMPLES_PER_BAND]
            groups[group].append((features[keep], peak[keep]))
        old = np.zeros(q.shape, np.int32) if root else before.index(q)
        for band, *signs in sample_signs(layout, old, after.index(q), rng):
            leaving[band].append(tuple(signs))
    samples = [Samples.joined(pieces) for pieces in bands]
    floor = 0.02 * after.width
    activity = np.stack([_first_weights(of_band, floor) for of_band in samples])
    activity = fit_activity_weights(samples, activity, after, rng)
    flags = np.zeros((FLAG_GROUPS, FLAG_FEATURES))
    for group, pieces in enumerate(groups):
        features, peak = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
        if len(features):
            flags[group] = fit_scale_model(features, peak, floor)
    sign_weights = [
        fit_sign_weights(*(np.concatenate(parts) for parts in zip(*band, strict=True)))
        for band in leaving
    ]
    return (
        integer_weights(activity, after.width, W_EXPECTED),
        integer_weights(flags, after.width, F_EXPECTED),
        np.stack(sign_weights),
    )


def _first_weights(samples: Samples, floor: float) -> np.ndarray:
    """Return weights of activities to start from, [FEATURES], fitted to some of the samples."""
    some = slice(None, None, 1 + len(samples.magnitude) // _FIRST_ROWS)
    if not len(samples.magnitude):
        return np.zeros(FEATURES)
    return fit_scale_model(samples.features[some], samples.magnitude[some], floor)
