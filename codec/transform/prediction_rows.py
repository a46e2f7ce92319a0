"""The learned lifting step in compiled loops on a CPU, without torch: see `transform.prediction`.

A row passes through all four convolutions while it is in the caches: of each layer, only the rows
that the next one still needs are kept. Four output channels share the loads of a row of inputs.
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
    """Convolve row y of a ring of rows, in four output channels at a time."""
    above, here = ring[max(y - 1, 0) % _RING], ring[y % _RING]
    below = ring[min(y + 1, rows - 1) % _RING]
    weights, biases = layer
    outputs = biases.size
    for output in range(outputs):
        result[output, 1:-1] = biases[output]
    for channel in range(here.shape[0]):
        seen = above[channel], here[channel], below[channel]
        for output in range(0, outputs - 3, 4):
            _add_to_four(seen, weights[output : output + 4, channel], result[output : output + 4])
        for output in range(outputs - outputs % 4, outputs):
            _add_to_one(seen, weights[output, channel], result[output])


@kernel(forceinline=True)
def _taps(w):
    """Return the nine weights of a kernel as scalars, which a loop keeps in registers."""
    return w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8]


@kernel(forceinline=True)
def _around(seen, x):
    """Return the nine samples around place x of the middle one of three rows."""
    above, here, below = seen
    return (
        above[x], above[x + 1], above[x + 2],
        here[x], here[x + 1], here[x + 2],
        below[x], below[x + 1], below[x + 2],
    )  # fmt: skip


@kernel(forceinline=True, fastmath=_FUSED)
def _plus(value, w, s):
    """Return a value plus the products of nine weights and nine samples."""
    return (
        value + w[0] * s[0] + w[1] * s[1] + w[2] * s[2] + w[3] * s[3] + w[4] * s[4]
        + w[5] * s[5] + w[6] * s[6] + w[7] * s[7] + w[8] * s[8]
    )  # fmt: skip


@kernel(fastmath=_FUSED)
def _add_to_four(seen, weights, results):
    """Add what three rows of one input channel contribute to rows of four output channels."""
    w0, w1, w2, w3 = _taps(weights[0]), _taps(weights[1]), _taps(weights[2]), _taps(weights[3])
    one, two = results[0, 1:-1], results[1, 1:-1]
    three, four = results[2, 1:-1], results[3, 1:-1]
    for x in range(one.size):
        samples = _around(seen, x)
        one[x] = _plus(one[x], w0, samples)
        two[x] = _plus(two[x], w1, samples)
        three[x] = _plus(three[x], w2, samples)
        four[x] = _plus(four[x], w3, samples)


@kernel(fastmath=_FUSED)
def _add_to_one(seen, weights, result):
    """Add what three rows of one input channel contribute to a row of one output channel."""
    w, one = _taps(weights), result[1:-1]
    for x in range(one.size):
        one[x] = _plus(one[x], w, _around(seen, x))
