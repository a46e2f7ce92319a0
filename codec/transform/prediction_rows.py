"""The learned lifting step in compiled loops on a CPU, without torch: see `transform.prediction`.

A row passes through all four convolutions while it is in the caches: of each layer, only the rows
that the next one still needs are kept. Two output channels share the loads of a row of inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from underpaint.codec.runtime.jit import kernel
from underpaint.codec.transform.prediction_shape import (
    CONVOLUTIONS,
    INPUTS,
    OUTPUTS,
    UNIT,
    PredictionShape,
)

_RING = 4
"""Rows of a layer that are kept: three that a convolution sees, at a power of two."""

_UNIT, _PER_UNIT, _ZERO = np.float32(UNIT), np.float32(1 / UNIT), np.float32(0)
_FUSED = {"contract"}


class Layer(NamedTuple):
    """A convolution: float32 `weights` [outputs, inputs, 9] and `biases` [outputs]."""

    weights: np.ndarray
    biases: np.ndarray


class DetailPredictor:
    """Predicts the details of the levels of one picture in a state of the scalar chain."""

    def __init__(
        self, shape: PredictionShape, parameters: Mapping[str, np.ndarray], step: int
    ) -> None:
        """Take parameters as a weights file holds them; `step` counts cell steps, from 1."""
        self.levels = shape.levels
        self._layers = {
            level: tuple(_layer(parameters, level, number, step) for number in range(CONVOLUTIONS))
            for level in range(1, shape.levels + 1)
        }

    def details(self, level: int, low: np.ndarray) -> np.ndarray:
        """Return the predicted details of a level, float32 [9, h, w]: orientation, component.

        `low` float32 [3, h, w], the low band of the level, in pixel units.
        """
        layers = self._layers[level]
        details = np.empty((OUTPUTS, *low.shape[1:]), np.float32)
        columns = low.shape[2] + 2
        width = len(layers[0].biases)
        seen = np.empty((_RING, INPUTS, columns), np.float32)
        hidden = np.empty((CONVOLUTIONS - 1, _RING, width, columns), np.float32)
        row = np.empty((OUTPUTS, columns), np.float32)
        _predict(low, layers, seen, hidden, row, details)
        return details


def _layer(parameters: Mapping[str, np.ndarray], level: int, number: int, step: int) -> Layer:
    """Return a convolution of a level; the first has the biases of the state."""
    weights = parameters[f"{level}.{number}.weight"].astype(np.float32)
    biases = parameters[f"{level}.{number}.bias" if number else f"{level}.state"]
    biases = biases if number else biases[step - 1]
    return Layer(weights.reshape(*weights.shape[:2], -1), biases.astype(np.float32))


@kernel()
def _predict(low, layers, seen, hidden, row, details):
    """Predict all rows: see `DetailPredictor.details`.

    `seen` and `hidden` are rings of rows, inputs and results of the first convolutions; `row`
    [9, columns] takes those of the last. Columns are two more than those of `low`.
    """
    first, second, third, last = layers
    rows = low.shape[1]
    for y in range(rows + CONVOLUTIONS):
        if y < rows:
            _see(low, y, seen[y % _RING])
        if 0 <= y - 1 < rows:
            _convolve(seen, y - 1, rows, first, hidden[0, (y - 1) % _RING])
            _rectify(hidden[0, (y - 1) % _RING])
        if 0 <= y - 2 < rows:
            _convolve(hidden[0], y - 2, rows, second, hidden[1, (y - 2) % _RING])
            _rectify(hidden[1, (y - 2) % _RING])
        if 0 <= y - 3 < rows:
            _convolve(hidden[1], y - 3, rows, third, hidden[2, (y - 3) % _RING])
            _rectify(hidden[2, (y - 3) % _RING])
        if y >= CONVOLUTIONS:
            _convolve(hidden[2], y - CONVOLUTIONS, rows, last, row)
            for channel in range(OUTPUTS):
                for x in range(low.shape[2]):
                    details[channel, y - CONVOLUTIONS, x] = row[channel, x + 1] * _UNIT


@kernel()
def _see(low, y, row):
    """Write row y of a low band [3, h, w] with its edges repeated."""
    columns = low.shape[2]
    for component in range(INPUTS):
        for x in range(columns):
            row[component, x + 1] = low[component, y, x] * _PER_UNIT
        row[component, 0] = row[component, 1]
        row[component, columns + 1] = row[component, columns]


@kernel()
def _rectify(row):
    """Replace negative values of a row [channels, columns] by zero; repeat its edges."""
    columns = row.shape[1] - 2
    for channel in range(row.shape[0]):
        values = row[channel]
        for x in range(1, columns + 1):
            values[x] = max(values[x], _ZERO)
        values[0] = values[1]
        values[columns + 1] = values[columns]


@kernel()
def _convolve(ring, y, rows, layer, result):
    """Convolve row y of a ring of rows, in two output channels at a time."""
    above, here = ring[max(y - 1, 0) % _RING], ring[y % _RING]
    below = ring[min(y + 1, rows - 1) % _RING]
    weights, biases = layer
    outputs = biases.size
    for output in range(0, outputs - 1, 2):
        one, other = result[output, 1:-1], result[output + 1, 1:-1]
        one[:] = biases[output]
        other[:] = biases[output + 1]
        for channel in range(here.shape[0]):
            _add_pair(
                above[channel], here[channel], below[channel],
                weights[output, channel], weights[output + 1, channel], one, other,
            )  # fmt: skip
    if outputs & 1:
        one = result[outputs - 1, 1:-1]
        one[:] = biases[outputs - 1]
        for channel in range(here.shape[0]):
            _add_one(
                above[channel], here[channel], below[channel], weights[outputs - 1, channel], one
            )


@kernel(fastmath=_FUSED)
def _add_pair(above, here, below, w, v, one, other):
    """Add what a row of one input channel contributes to two output channels."""
    w0, w1, w2, w3, w4, w5, w6, w7, w8 = w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8]
    v0, v1, v2, v3, v4, v5, v6, v7, v8 = v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8]
    for x in range(one.size):
        a, b, c = above[x], above[x + 1], above[x + 2]
        d, e, f = here[x], here[x + 1], here[x + 2]
        g, h, i = below[x], below[x + 1], below[x + 2]
        one[x] = (
            one[x] + w0 * a + w1 * b + w2 * c + w3 * d + w4 * e + w5 * f + w6 * g + w7 * h + w8 * i
        )
        other[x] = (
            other[x] + v0 * a + v1 * b + v2 * c + v3 * d + v4 * e + v5 * f
            + v6 * g + v7 * h + v8 * i
        )  # fmt: skip


@kernel(fastmath=_FUSED)
def _add_one(above, here, below, w, one):
    """Add what a row of one input channel contributes to one output channel."""
    w0, w1, w2, w3, w4, w5, w6, w7, w8 = w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8]
    for x in range(one.size):
        one[x] = (
            one[x]
            + w0 * above[x] + w1 * above[x + 1] + w2 * above[x + 2]
            + w3 * here[x] + w4 * here[x + 1] + w5 * here[x + 2]
            + w6 * below[x] + w7 * below[x + 1] + w8 * below[x + 2]
        )  # fmt: skip
