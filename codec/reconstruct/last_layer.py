"""The last layer and the last class maps that states hold."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from underpaint.codec.entropy.state import CodedState
from underpaint.codec.weights.configuration import CodecConfig


def last_class_maps(states: Sequence[CodedState]) -> np.ndarray:
    """Return the finest class maps that states of one padded size know, int64 [N, h, w]."""
    return np.stack([state.palettes[-1].class_map for state in states]).astype(np.int64)


def last_layer(config: CodecConfig, cell_step: int) -> int:
    """Return the index, from 0, of the layer that ends with a step of the scalar chain."""
    ends = accumulate(plan.cell_steps for plan in config.layers)
    return next(layer for layer, end in enumerate(ends) if end >= cell_step)
