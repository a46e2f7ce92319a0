"""What an encoder may do beyond rounding: look for fewer bytes that show as much.

A search only chooses what is written; streams of every effort are read alike. Its gains are small
because the chain leaves little to win: a zero cell of every state but the finest is twice as wide
as the others, which is about where rate-distortion optimised quantisation would put its edge.

effort 1   round, one class map
effort 2   in the finest state, ones that cost more bits than they are worth become zeros
effort 3   the same, and the best of three class maps, by bytes and quality of a middle state: see
           `codec.search`
"""

from __future__ import annotations

import torch
from torch.nn import functional

EFFORTS = (1, 2, 3)

SEARCHED_LEVELS = 3
"""Ones are looked at in the finest levels: nearly all are there."""

PRICE = 0.06
"""Squared error, in finest steps, that a bit is worth at the finest state. Measured: 0.1 and more
lost what it saved."""

SIGN_AND_AFTER = 1.3
"""Bits that a one costs beside its significance: its sign, and what it does to its neighbours."""

_REACH = 6.0
"""Magnitudes beyond this many steps tell a neighbour no more."""

_BUSYNESS = (0.01, 0.5, 1.1, 1.6, 2.1, 3.1, 4.1, 6.1, 8.1, 12.0, 20.0)
"""Edges of the bins of summed magnitudes around a coefficient, in finest steps."""


def spare_dear_ones(
    value: torch.Tensor, rounded: torch.Tensor, coarser: torch.Tensor
) -> torch.Tensor:
    """Return rounded values without the ones that cost more than they are worth.

    `value` float32 [N, 3, h, w], a band in finest steps; `rounded`, the same rounded; `coarser`,
    the rounded values of the next coarser level in the same orientation. What a one costs follows
    from how often coefficients between neighbours as busy as its own leave zero, in that band and
    image; it is dropped where the squared error that it saves is below its price.
    """
    height, width = value.shape[-2:]
    around = functional.avg_pool2d(
        rounded.abs().clamp_(max=_REACH), 3, 1, 1, divisor_override=1
    ) - rounded.abs().clamp_(max=_REACH)  # fmt: skip
    above = coarser.abs().clamp_(max=_REACH).repeat_interleave(2, -1).repeat_interleave(2, -2)
    busy = around + above[..., :height, :width]
    edges = torch.tensor(_BUSYNESS, device=value.device)
    bins = len(_BUSYNESS) + 1
    group = torch.arange(value.shape[0] * value.shape[1], device=value.device) * bins
    context = torch.bucketize(busy, edges) + group.reshape(*value.shape[:2], 1, 1)
    count = torch.bincount(context.flatten(), minlength=len(group) * bins)
    left = torch.bincount(context.flatten(), (rounded != 0).flatten().float(), len(group) * bins)
    chance = ((left + 0.5) / (count + 1)).clamp(1e-5, 0.999)
    bits = torch.log2((1 - chance) / chance) + SIGN_AND_AFTER
    saved = 2 * value.abs() - 1
    dear = (rounded.abs() == 1) & (saved < PRICE * bits[context])
    return torch.where(dear, 0, rounded)
