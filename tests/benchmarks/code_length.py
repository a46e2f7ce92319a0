"""Estimates the code length of a state: embedded or coded directly, and with fewer features.

All variants are estimated alike: coefficients are sampled from photos, activities and tables are
fitted on some of the photos as in training, and the code length of the other photos is their
cross-entropy under these tables. Blocks that are all zero are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from underpaint.codec.codec import Codec
from underpaint.codec.entropy.activity import (
    BIN_EDGES,
    FEATURES,
    W_CONSTANT,
    W_EAST,
    W_EXPECTED,
    W_LIGHTNESS,
    W_NORTH,
    W_NORTH_DIAGONALS,
    W_OTHER_CHROMA,
    W_PARENT,
    W_SIBLINGS,
    W_SOUTH,
    W_SOUTH_DIAGONALS,
    W_TWO_AWAY,
    W_WEST,
)
from underpaint.codec.entropy.signs import SIGN_BINS, SIGN_EDGES
from underpaint.codec.entropy.state import Symbols
from underpaint.codec.palette.classes import MAGNITUDE_UNIT
from underpaint.codec.quantize.cells import Cells
from underpaint.codec.training.fit_contexts import (
    ACTIVITY_UNIT,
    fit_scale_model,
    integer_weights,
    magnitudes,
    sample_features,
)
from underpaint.codec.training.fit_signs import fit_sign_weights, signs_around
from underpaint.codec.training.photos import find_photos, load_photos
from underpaint.codec.transform.subbands import (
    BANDS,
    HEIGHT,
    OFFSET,
    STRIDE,
    WIDTH,
    Geometry,
    geometry,
)
from underpaint.codec.weights.model import Weights

BITS_OF_BIN = 10
"""An activity is binned in units of 1 / 64 of a cell width."""

PLAIN_FROM = 15
"""Child cells from this one on share a symbol, followed by an Elias gamma code."""

SIGNS = FEATURES
"""Index that stands for all surrounding signs among the indices of features."""

ONE = W_CONSTANT
"""Index of the constant feature."""

LEFT_OUT = {
    "expected magnitude of the class": (W_EXPECTED,),
    "neighbours in the finer state": (W_WEST, W_NORTH, W_NORTH_DIAGONALS, W_TWO_AWAY),
    "neighbours in the coarser state": (W_EAST, W_SOUTH, W_SOUTH_DIAGONALS),
    "parent": (W_PARENT,),
    "other orientations": (W_SIBLINGS,),
    "lightness and the other chroma": (W_LIGHTNESS, W_OTHER_CHROMA),
    "signs": (SIGNS,),
    "all but the expected magnitude": (*range(W_EXPECTED), SIGNS),
}
"""Parts of the context by name, as indices of features."""


@dataclass(frozen=True)
class CodedPhoto:
    """A photo: its layout, finest indices and the expected magnitudes of its positions."""

    layout: Geometry
    q: np.ndarray
    expected: np.ndarray

    @staticmethod
    def of(symbols: Symbols, shape: tuple[int, ...], expected: np.ndarray) -> CodedPhoto:
        """Take the symbols of a photo; `expected` float32 [classes, BANDS]."""
        class_map = symbols.palettes[-1].class_map.ravel()
        return CodedPhoto(geometry(*shape[:2]), symbols.q, expected[class_map])

    @property
    def pixels(self) -> int:
        """Number of pixels of the photo."""
        return self.layout.height * self.layout.width


def coded_photos(weights: Weights, folders: Sequence[str], count: int | None) -> list[CodedPhoto]:
    """Return `count` photos of folders in a fixed random order, or all; errors as `load_photos`."""
    codec = Codec(weights)
    expected = weights.classes.expected_magnitude.astype(np.float32) / MAGNITUDE_UNIT
    paths = find_photos(folders)
    order = np.random.default_rng(1).permutation(len(paths))[:count]
    return [
        CodedPhoto.of(codec.quantised([photo])[0], photo.shape, expected)
        for photo in load_photos([paths[i] for i in order])
    ]


@dataclass(frozen=True)
class _Sample:
    """Sampled coefficients of one band: features [n, FEATURES], |q|, symbols and kinds of cells.

    `leaves` bool [n] marks those that leave zero; `signs` int8 [n, SIGN_FEATURES].
    """

    features: np.ndarray
    magnitude: np.ndarray
    symbol: np.ndarray
    kind: np.ndarray
    plain_bits: np.ndarray
    leaves: np.ndarray
    signs: np.ndarray
    positive: np.ndarray


def step_bits(
    fitted: Sequence[CodedPhoto],
    tested: Sequence[CodedPhoto],
    before: Cells | None,
    after: Cells,
    left_out: Sequence[int] = (),
    seed: int = 1,
) -> float:
    """Return the bits per pixel of one step on `tested`; with `before` None it starts at the root.

    `left_out` are indices of features that are not used.
    """
    learn = _samples(fitted, before, after, seed)
    look = _samples(tested, before, after, seed)
    sizes = sum(np.prod(photo.layout.bands[:, [HEIGHT, WIDTH]], 1) for photo in tested)
    kept = [place for place in range(FEATURES) if place not in left_out]
    total = 0.0
    for band in range(BANDS):
        weights = np.zeros(FEATURES)
        drawn = learn[band]
        weights[kept] = fit_scale_model(
            drawn.features[:, kept], drawn.magnitude, 0.02 * after.width
        )
        activity = integer_weights(weights, after.width, W_EXPECTED)
        counts = np.full((3, len(BIN_EDGES) + 1, PLAIN_FROM + 1), 0.02)
        np.add.at(counts, (drawn.kind, _bins(drawn.features, activity), drawn.symbol), 1)
        pooled = counts.sum(1, keepdims=True)
        counts += 8 * pooled / pooled.sum(-1, keepdims=True)
        share = counts / counts.sum(-1, keepdims=True)
        seen = look[band]
        bits = -np.log2(share[seen.kind, _bins(seen.features, activity), seen.symbol])
        bits += seen.plain_bits
        bits[seen.leaves] += 1.0 if SIGNS in left_out else _sign_bits(drawn, seen)
        total += float(bits.mean() * sizes[band])
    return total / sum(photo.pixels for photo in tested)


def _sign_bits(drawn: _Sample, seen: _Sample) -> np.ndarray:
    """Return the bits of the signs in `seen` of those that leave zero, by tables from `drawn`."""
    leaves = drawn.leaves
    weights = fit_sign_weights(drawn.signs[leaves], drawn.positive[leaves], np.ones(leaves.sum()))

    def coded(sample: _Sample) -> tuple[np.ndarray, np.ndarray]:
        context = sample.signs[sample.leaves].astype(int) @ weights
        place = np.searchsorted(SIGN_EDGES, np.abs(context), side="right")
        return place, ((context >= 0) != sample.positive[sample.leaves]).astype(int)

    counts = np.full((SIGN_BINS, 2), 10.0)
    np.add.at(counts, coded(drawn), 1)
    counts[0] = 1
    return -np.log2((counts / counts.sum(1, keepdims=True))[coded(seen)])


def _bins(features: np.ndarray, activity: np.ndarray) -> np.ndarray:
    exact = features.copy()
    exact[:, W_EXPECTED] *= MAGNITUDE_UNIT
    value = (exact.astype(np.float64) @ activity) / (ACTIVITY_UNIT >> 6)
    return np.searchsorted(BIN_EDGES, value, side="right")


def _samples(
    photos: Sequence[CodedPhoto], before: Cells | None, after: Cells, seed: int
) -> list[_Sample]:
    rng = np.random.default_rng(seed)
    drawn: list[list[tuple[np.ndarray, ...]]] = [[] for _ in range(BANDS)]
    for photo in photos:
        old = np.zeros(photo.q.shape, np.int32) if before is None else magnitudes(photo.q, before)
        new = magnitudes(photo.q, after)
        coarse = np.zeros_like(old) if before is None else before.index(photo.q)
        fine = after.index(photo.q)
        for band, at, features in sample_features(photo.layout, old, new, photo.expected, rng):
            offset, stride = photo.layout.bands[band, [OFFSET, STRIDE]]
            y, x = np.divmod(at - offset, stride)
            signs = signs_around(photo.layout, coarse, fine, band, y, x)
            drawn[band].append((features, photo.q[at], signs))
    samples = []
    for pieces in drawn:
        features = np.concatenate([piece[0] for piece in pieces])
        q = np.concatenate([piece[1] for piece in pieces])
        signs = np.concatenate([piece[2] for piece in pieces])
        samples.append(_Sample(features, np.abs(q), *_symbols(q, before, after), signs, q > 0))
    return samples


def _symbols(
    q: np.ndarray, before: Cells | None, after: Cells
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the child of its cell that each q is in, the kind of that cell, the plain bits, and
    whether q leaves zero, so that its sign is coded."""
    new = np.abs(after.index(q))
    old = np.zeros_like(new) if before is None else np.abs(before.index(q))
    kind = np.minimum(old, 2)
    child = new
    if before is not None:
        spread, parts = (before.zero - after.zero) // after.width, before.width // after.width
        child = np.where(old > 0, new - spread - 1 - (old - 1) * parts, new)
    rest = np.maximum(child - PLAIN_FROM + 1, 1)
    gamma = np.where(child >= PLAIN_FROM, 2 * np.floor(np.log2(rest)) + 1, 0)
    return np.minimum(child, PLAIN_FROM), kind, gamma, (old == 0) & (new > 0)
