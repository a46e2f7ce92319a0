"""Dequantisation of decoded states to tensors on any torch device."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from underpaint.codec.entropy.state import CodedState
from underpaint.codec.quantize.quantizer import position_masks, step_bands
from underpaint.codec.quantize.reconstruction_points import Dequantised
from underpaint.codec.transform.band_lists import unflatten
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
