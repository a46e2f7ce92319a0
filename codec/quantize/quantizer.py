"""The quantisation step of each coefficient: see `closed_loop` for rounding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from underpaint.codec.transform.band_lists import flat_index, levels_from
from underpaint.codec.transform.subbands import DYADIC_LEVELS


def step_bands(steps: np.ndarray, masks: torch.Tensor, finest: int = 1) -> list[torch.Tensor]:
    """Return the quantisation step of each coefficient, broadcastable to the bands.

    `steps` float32 [BANDS]; `masks` float32 [N, 1, h, w], the masking factor at each position,
    which applies to the dyadic levels. The list begins at level `finest`.
    """
    out: list[torch.Tensor] = []
    for level in levels_from(finest):
        mask = None
        if 0 < level <= DYADIC_LEVELS:
            repeat = 1 << (DYADIC_LEVELS - level)
            mask = masks.repeat_interleave(repeat, -1).repeat_interleave(repeat, -2)
        for index in flat_index(level):
            step = torch.as_tensor(steps[index]).to(masks)[None, :, None, None]
            out.append(step if mask is None else step * mask)
    return out


def position_masks(
    class_masks: np.ndarray, class_maps: Sequence[np.ndarray], device: torch.device
) -> torch.Tensor:
    """Return the masking factor of each position, float32 [N, 1, h, w].

    `class_masks` float32 [K], the factor of each texture class; `class_maps` int [h, w] each.
    """
    return torch.from_numpy(class_masks[np.stack(class_maps)][:, None]).to(device)
