"""Classes chosen by their steps too: finer ones where an error is seen, coarser ones where not.

The class of a position decides its quantisation steps (`TextureClasses.mask`), so a class map is
also a field of steps. Moving a position to a class of coarser steps saves bits, about one for each
coefficient that is coded when steps double; errors there grow as the steps do. At the right price
of an error the two balance over the whole picture; at a single position they need not.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

ALWAYS_CODED = 3.0
"""Coefficients that a position is taken to code beside those counted: those of finer states."""

_AROUND = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""Weights of a mean over neighbours: a position alone says little, and borders in a map cost."""


def costs_by_sight(
    costs: np.ndarray,
    masks: np.ndarray,
    class_map: np.ndarray,
    fields: tuple[torch.Tensor, torch.Tensor],
    strength: float,
) -> np.ndarray:
    """Return costs of classes that also count what their steps save and show.

    costs      float32 [h, w, K], in bits
    masks      float32 [K], factor of each class on the steps
    class_map  int [h, w], the classes whose steps the fields belong to
    fields     float32 [h, w] each: how much an e-fold error shows, at least 0 in any unit, and the
               number of coefficients that are coded
    strength   weight of what is added

    Returns float32 [h, w, K]. Where no error shows at all, costs are returned as they are.
    """
    shown, coded = (_smoothed(field) for field in fields)
    if not shown.sum() > 0:
        return costs
    coded += ALWAYS_CODED
    shown *= coded.sum() / shown.sum()
    ratio = masks[None, None] / masks[class_map][..., None]
    added = shown[..., None] * (ratio - 1) - coded[..., None] * np.log(ratio)
    return costs + np.float32(strength / np.log(2)) * added.astype(np.float32)


def _smoothed(field: torch.Tensor) -> np.ndarray:
    """Return the weighted mean of a field around each position, float64 [h, w]."""
    reach = len(_AROUND) // 2
    taps = torch.tensor(_AROUND, dtype=torch.float64)
    padded = functional.pad(field.cpu().double()[None, None], (reach,) * 4, mode="replicate")
    return functional.conv2d(padded, torch.outer(taps, taps)[None, None])[0, 0].numpy()
