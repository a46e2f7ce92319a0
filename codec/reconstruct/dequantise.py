"""Dequantisation of decoded states to tensors on any torch device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from underpaint.codec.entropy.state import CodedState
from underpaint.codec.quantize.quantizer import position_masks, step_bands
from underpaint.codec.quantize.reconstruction_points import Dequantised
from underpaint.codec.transform.band_lists import unflatten
from underpaint.codec.weights.configuration import CodecConfig
from underpaint.codec.weights.model import Weights


def dequantise(
    weights: Weights, states: Sequence[CodedState], device: torch.device, finest: int = 1
) -> Dequantised:
    """Return the bands from level `finest` on of states of one padded size and number of layers."""
    step = states[0].cell_step
    cells = unflatten([state.cell for state in states], states[0].layout, finest)
    class_maps = [state.palettes[0].class_map for state in states]
    masks = position_masks(weights.classes.mask, class_maps, device)
    return Dequantised.of(
        [band.to(device) for band in cells],
        step_bands(weights.steps, masks, finest),
        weights.config.chain[step],
        weights.config.compander,
        weights.centroids[step - 1],
        finest,
    )


def last_class_maps(states: Sequence[CodedState]) -> np.ndarray:
    """Return the finest class maps that states of one padded size know, int64 [N, h, w]."""
    return np.stack([state.palettes[-1].class_map for state in states]).astype(np.int64)


def last_layer(config: CodecConfig, cell_step: int) -> int:
    """Return the index, from 0, of the layer that ends with a step of the scalar chain."""
    ends = np.cumsum([plan.cell_steps for plan in config.layers])
    return int(np.searchsorted(ends, cell_step))
