"""Fits the weights of activities to the code length of splits of the zero cell.

A table gives each bin of activities a probability of leaving the zero cell. Here its log-odds are a
continuous function of the activity instead, linear between the edges of bins, so that the weights
can follow the gradient of the code length. The functions are fitted together with the weights, one
for each band, and then dropped: tables are counted with the rounded weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from underpaint.codec.entropy.activity import BIN_EDGES, FEATURES
from underpaint.codec.quantize.cells import Cells

FINE_PER_WIDTH = 64.0
"""Activity of one cell width in the unit of `activity.BIN_EDGES`."""

_FEWEST = 1000
_ROWS = 24_576
_BATCH = 1024
_STEPS = 600
_FIXED_STEPS = 40
_LEAST_TYPICAL = 0.05
_RATE = 0.03
_RATE_OF_ODDS = 0.1
_SMOOTHNESS = 1e-3
_FIRST_ODDS, _LAST_ODDS = -5.0, 1.5


@dataclass(frozen=True)
class Samples:
    """Sampled coefficients of one band in one step.

    features   float32 [n, FEATURES], in the order of `activity.W_WEST` and so on
    magnitude  int [n], |q|
    was_zero   bool [n], whether the coefficient lies in the zero cell of the coarser state
    share      float64 [n], coefficients of the photos that each sample stands for
    """

    features: np.ndarray
    magnitude: np.ndarray
    was_zero: np.ndarray
    share: np.ndarray

    @staticmethod
    def joined(pieces: Sequence[Samples]) -> Samples:
        """Join the samples of several photos; there may be none."""
        none = Samples(
            np.zeros((0, FEATURES), np.float32), np.zeros(0, int), np.zeros(0, bool), np.zeros(0)
        )
        parts = [none, *pieces]
        return Samples(
            np.concatenate([part.features for part in parts]),
            np.concatenate([part.magnitude for part in parts]),
            np.concatenate([part.was_zero for part in parts]),
            np.concatenate([part.share for part in parts]),
        )


def fit_activity_weights(
    bands: Sequence[Samples], weights: np.ndarray, state: Cells, rng: np.random.Generator
) -> np.ndarray:
    """Return weights that code splits of the zero cell in fewer bits, float64 [bands, FEATURES].

    `weights` [bands, FEATURES] are those to start from: activities are features times weights, in
    units of the features. `state` is the finer state. Bands with few samples keep their weights.
    """
    known = [band for band, samples in enumerate(bands) if samples.was_zero.sum() >= _FEWEST]
    fitted = np.array(weights, np.float64)
    if not known:
        return fitted
    drawn = [_drawn(bands[band], state, rng) for band in known]
    features = torch.from_numpy(np.stack([rows for rows, _ in drawn]))
    leaves = torch.from_numpy(np.stack([left for _, left in drawn]))
    start = torch.from_numpy((weights[known] * (FINE_PER_WIDTH / state.width)).astype(np.float32))
    unit = _units(features, start, _LEAST_TYPICAL * state.width)
    change = torch.zeros_like(start, requires_grad=True)
    odds = torch.linspace(_FIRST_ODDS, _LAST_ODDS, len(BIN_EDGES) + 2).repeat(len(known), 1)
    odds.requires_grad_()
    optimiser = torch.optim.Adam([{"params": [change]}, {"params": [odds]}])
    for step in range(_STEPS):
        decay = 0.5 * (1 + math.cos(math.pi * step / _STEPS))
        optimiser.param_groups[0]["lr"] = 0.0 if step < _FIXED_STEPS else _RATE * decay
        optimiser.param_groups[1]["lr"] = _RATE_OF_ODDS * max(decay, 0.05)
        first = step * _BATCH % _ROWS
        rows = slice(first, first + _BATCH)
        activity = torch.bmm(features[:, rows], (start + change * unit)[:, :, None])[:, :, 0]
        bits = functional.binary_cross_entropy_with_logits(
            _interpolated(odds, activity), leaves[:, rows]
        )
        loss = bits + _SMOOTHNESS * odds.diff(n=2).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    fitted[known] = (start + change * unit).detach().numpy() * (state.width / FINE_PER_WIDTH)
    return fitted


def _drawn(
    samples: Samples, state: Cells, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw features and outcomes of _ROWS splits of the zero cell, in proportion to their shares.

    An outcome, float32, is 1 where the coefficient leaves the zero cell.
    """
    splits = np.flatnonzero(samples.was_zero)
    share = samples.share[splits]
    rows = splits[rng.choice(len(splits), _ROWS, p=share / share.sum())]
    return samples.features[rows], (samples.magnitude[rows] > state.zero).astype(np.float32)


def _units(features: torch.Tensor, start: torch.Tensor, least: float) -> torch.Tensor:
    """Return the change of each weight that changes a typical activity by 1 / FEATURES of it.

    Features that are smaller than `least` on average count as `least`.
    """
    typical = features.abs().mean(1)
    activity = (typical * start).sum(1, keepdim=True).clamp(min=0.5)
    return activity / typical.clamp(min=least) / FEATURES


def _interpolated(odds: torch.Tensor, activity: torch.Tensor) -> torch.Tensor:
    """Return the log-odds of activities [bands, n], linear between the edges of bins.

    `odds` [bands, BINS + 1] are those at 0, at the edges, and at twice the last edge.
    """
    edges = activity.new_tensor([0, *BIN_EDGES, 2 * BIN_EDGES[-1]])
    inside = activity.clamp(0, float(edges[-1]) * (1 - 1e-6))
    below = torch.searchsorted(edges, inside.detach(), right=True) - 1
    share = (inside - edges[below]) / (edges[below + 1] - edges[below])
    low, high = odds.gather(1, below), odds.gather(1, below + 1)
    return low + share * (high - low)
