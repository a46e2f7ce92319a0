"""What coding a state costs: embedded or at once, and with less to look at.

An estimate that treats every way of coding alike: coefficients are drawn from photos, activities
and tables are fitted on some photos as the recipe fits them, and the code length of the others is
their cross-entropy under those tables. Zero blocks are left out, in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from underpaint.codec.entropy.activity import BIN_EDGES, FEATURES
from underpaint.codec.entropy.signs import SIGN_BINS, SIGN_EDGES
from underpaint.codec.entropy.state import Symbols
from underpaint.codec.quantize.cells import Cells
from underpaint.codec.training.fit_contexts import (
    ACTIVITY_UNIT,
    fit_scale_model,
    integer_weights,
    magnitudes,
    sample_features,
)
from underpaint.codec.training.fit_signs import fit_sign_weights, signs_around
from underpaint.codec.transform.subbands import BANDS, Geometry, geometry

BITS_OF_BIN = 10
"""An activity is binned in units of 1 / 64 of a cell width."""

PLAIN_FROM = 15
"""Child cells from this one on share a symbol, and are told apart by an Elias gamma code."""

SIGNS = FEATURES
"""What stands, among places of features, for all signs around."""

ONE = FEATURES - 1
"""The feature that is always there."""

LEFT_OUT = {
    "class law": (11,),
    "neighbours already in the finer state": (0, 2, 4, 6),
    "neighbours still in the coarser state": (1, 3, 5),
    "parent": (7,),
    "other orientations": (8,),
    "lightness and the other chroma": (9, 10),
    "signs": (SIGNS,),
    "all but the class law": (*range(11), SIGNS),
}
"""Parts of the context by name, as the places of their features."""


@dataclass(frozen=True)
class CodedPhoto:
    """What is known of a photo: its layout, finest indices and the laws of its positions."""

    layout: Geometry
    q: np.ndarray
    laws: np.ndarray

    @staticmethod
    def of(symbols: Symbols, shape: tuple[int, ...], laws: np.ndarray) -> CodedPhoto:
        """Take what `Codec.quantised` returns; `laws` float32 [classes, BANDS]."""
        class_map = symbols.palettes[-1].class_map.ravel()
        return CodedPhoto(geometry(*shape[:2]), symbols.q, laws[class_map])

    @property
    def pixels(self) -> int:
        """Pixels of the photo."""
        return self.layout.height * self.layout.width


@dataclass(frozen=True)
class _Sample:
    """Drawn coefficients of one band: features [n, 13], |q|, symbols and kinds of their cells.

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
    """Return the bits a pixel of `tested` that one step costs; `before` None: nothing is known.

    `left_out` are places of features that contexts go without.
    """
    learn = _samples(fitted, before, after, seed)
    look = _samples(tested, before, after, seed)
    sizes = sum(np.prod(photo.layout.bands[:, 1:3], 1) for photo in tested)
    kept = [place for place in range(FEATURES) if place not in left_out]
    total = 0.0
    for band in range(BANDS):
        weights = np.zeros(FEATURES)
        drawn = learn[band]
        weights[kept] = fit_scale_model(
            drawn.features[:, kept], drawn.magnitude, 0.02 * after.width
        )
        activity = integer_weights(weights, after.width, FEATURES - 2)
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
    """Return what the signs of those in `seen` that leave zero cost, by tables from `drawn`."""
    weights = fit_sign_weights(drawn.signs[drawn.leaves], drawn.positive[drawn.leaves])

    def coded(sample: _Sample) -> tuple[np.ndarray, np.ndarray]:
        lean = sample.signs[sample.leaves].astype(int) @ weights
        place = np.searchsorted(SIGN_EDGES, np.abs(lean), side="right")
        return place, ((lean >= 0) != sample.positive[sample.leaves]).astype(int)

    counts = np.full((SIGN_BINS, 2), 10.0)
    np.add.at(counts, coded(drawn), 1)
    counts[0] = 1
    return -np.log2((counts / counts.sum(1, keepdims=True))[coded(seen)])


def _bins(features: np.ndarray, activity: np.ndarray) -> np.ndarray:
    exact = features.copy()
    exact[:, FEATURES - 2] *= 16  # the coder reads laws in sixteenths
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
        for band, at, features in sample_features(photo.layout, old, new, photo.laws, rng):
            offset, _, _, stride = photo.layout.bands[band, :4]
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
    """Return which child of its cell each q is in, the kind of that cell, plain bits, and whether
    it leaves zero: it then has a sign to tell."""
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
