"""Fits where the estimates of splits and signs start, and the weights that mix them.

A start is the share of ones that training photos have in a context. Mixing weights are those that
the coder itself learns from photo to photo, averaged over the photos of the last pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from underpaint.codec.entropy.coder import EntropyCoder, Tally
from underpaint.codec.entropy.estimates import LEARNING_SHIFT, Estimates
from underpaint.codec.entropy.state import Symbols
from underpaint.codec.transform.subbands import geometry
from underpaint.codec.weights.model import Weights

_FAST = 2
"""Binary logarithm of how much faster the first pass learns."""


def counted(
    weights: Weights, shapes: Sequence[tuple[int, ...]], symbols: Sequence[Symbols]
) -> Tally:
    """Return what pictures of some shapes (height, width, ...) add up to."""
    tally, coder = Tally.empty(weights), EntropyCoder(weights)
    for shape, image in zip(shapes, symbols, strict=True):
        coder.count(image, geometry(*shape[:2]), tally)
    return tally


def with_estimates(
    weights: Weights,
    tally: Tally,
    shapes: Sequence[tuple[int, ...]],
    symbols: Sequence[Symbols],
) -> Weights:
    """Return weights whose estimates start from a tally of these pictures, with mixing weights.

    The tables of `weights` must be final.
    """
    config = weights.config
    mixing = Estimates.neutral(len(config.widths), config.mixes_splits).mixing
    weights = replace(weights, estimates=Estimates.counted(tally.estimates, mixing))
    coder = EntropyCoder(weights)
    for shift in (LEARNING_SHIFT - _FAST, LEARNING_SHIFT):
        learned = replace(Tally.empty(weights), mixing=mixing.copy(), learning_shift=shift)
        sums = np.zeros(mixing.shape)
        for shape, image in zip(shapes, symbols, strict=True):
            coder.count(image, geometry(*shape[:2]), learned)
            sums += learned.mixing
        mixing = np.round(sums / len(symbols)).astype(np.int32)
    return replace(weights, estimates=replace(weights.estimates, mixing=mixing))
