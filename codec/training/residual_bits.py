"""Estimates the bits of residuals, smoothly, so that a prediction can be trained to spare them.

A coefficient has a Laplace distribution. Its scale is a sum of what the coder's contexts see, with
weights that are trained along: neighbours, the next coarser level, other orientations, lightness.
The estimate takes neighbours on all sides, and symbols that turn from zero to one gradually.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from underpaint.codec.quantize.cells import Cells
from underpaint.codec.transform.subbands import COMPONENTS, ORIENTATIONS

_FEATURES = 5
"""Neighbours, coarser level, other orientations, lightness, one."""

_FIRST_WEIGHTS = (0.5, 0.15, 0.15, 0.1, 0.05)
_SOFTNESS = 0.12
"""Width of the transition from zero to one, in widths of a cell."""

_LEAST_SCALE = 0.02
_BITS = 1.4427
"""Bits of a nat."""


class ResidualBits(nn.Module):
    """Estimates bits of residuals in any state of the scalar chain."""

    def __init__(self, levels: int, states: int) -> None:
        """Start with weights for levels 1 to `levels`, the same for all states."""
        super().__init__()
        first = torch.tensor(_FIRST_WEIGHTS).expm1().log()
        self.weights = nn.Parameter(first.repeat(levels, 2, states, 1))

    def forward(
        self, residuals: Mapping[int, torch.Tensor], state: Cells, step: int
    ) -> torch.Tensor:
        """Return the bits of each picture, float32 [N].

        `residuals` of levels 1 to a coarsest one, in finest steps: float32 [N, 9, h, w], by
        orientation, then component. `step` is the number of cell steps of `state`.
        """
        edge = (state.zero + 0.5) / state.width
        bits: list[torch.Tensor] = []
        coarser = None
        for level in sorted(residuals, reverse=True):
            size = residuals[level].abs() / state.width
            left = torch.sigmoid((size - edge) / _SOFTNESS)  # the zero cell
            seen = left * size
            scale = self._scale(seen, coarser, level, step)
            coarser = seen
            stay = -torch.log(-torch.expm1(-edge / scale))
            further = functional.relu(size - edge - 0.5) / scale
            leave = edge / scale + 0.6931 - torch.log(-torch.expm1(-1 / scale)) + further
            bits.append((stay + left * (leave - stay)).sum((1, 2, 3)) * _BITS)
        return torch.stack(bits).sum(0)

    def _scale(
        self, seen: torch.Tensor, coarser: torch.Tensor | None, level: int, step: int
    ) -> torch.Tensor:
        """Return the scale of each coefficient, in widths of a cell."""
        weights = functional.softplus(self.weights[level - 1, :, step - 1])
        weights = weights[[0, 1, 1] * ORIENTATIONS][..., None, None]  # [9, features, 1, 1]
        around = functional.avg_pool2d(seen, 3, 1, 1, divisor_override=8) - seen / 8
        shape = seen.shape
        by_orientation = seen.reshape(shape[0], ORIENTATIONS, COMPONENTS, *shape[2:])
        others = (by_orientation.sum(1, keepdim=True) - by_orientation).reshape(shape) / 2
        light = torch.cat([torch.zeros_like(by_orientation[:, :, :1]),
                           by_orientation[:, :, :1].expand(-1, -1, 2, -1, -1)], 2)  # fmt: skip
        scale = weights[:, 0] * around + weights[:, 2] * others
        scale = scale + weights[:, 3] * light.reshape(shape) + weights[:, 4]
        if coarser is not None:
            scale = scale + weights[:, 1] * functional.interpolate(coarser, shape[2:])
        return scale + _LEAST_SCALE
