"""Joins samples to a batch: equal shapes are stacked, others padded, with a mask."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Number
from typing import Any

import torch
from torch.nn import functional

SPATIAL = ("image", "class_map", "embedding", "coefficients")
"""Contents whose last two dimensions are height and width, and may differ between samples."""


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one dict of batches for samples of `LayerDataset` or `LayerMap`.

        DataLoader(dataset, batch_size=16, collate_fn=collate)

    Pictures and latents become tensors [N, …, H, W] of the greatest height and width of the batch,
    with zeros below and on the right of smaller ones; "mask" (bool [N, H, W]) is true where there
    is a picture. Other tensors are stacked, and numbers become tensors, of int64, float64 or bool.
    Everything else, such as keys, layers and labels with nulls, comes as a list of N values, and a
    dict as a dict of batches. Raises ValueError for no samples.
    """
    if not samples:
        raise ValueError("collate: no samples")
    batch: dict[str, Any] = {}
    for name in samples[0]:
        values = [sample[name] for sample in samples]
        if name in SPATIAL and all(isinstance(value, torch.Tensor) for value in values):
            batch[name], batch["mask"] = _padded(values)
        else:
            batch[name] = _joined(values)
    return batch


def _joined(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, dict):
        return {name: _joined([value[name] for value in values]) for name in first}
    if all(isinstance(value, torch.Tensor) and value.shape == first.shape for value in values):
        return torch.stack(values)
    if all(isinstance(value, float) for value in values):
        return torch.tensor(values, dtype=torch.float64)
    if isinstance(first, Number) and all(type(value) is type(first) for value in values):
        return torch.tensor(values)
    return values


def _padded(values: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the values in one tensor, and the mask of what is not padding."""
    height = max(value.shape[-2] for value in values)
    width = max(value.shape[-1] for value in values)
    mask = values[0].new_zeros((len(values), height, width), dtype=torch.bool)
    padded = []
    for place, value in enumerate(values):
        rows, columns = value.shape[-2:]
        mask[place, :rows, :columns] = True
        padded.append(functional.pad(value, (0, width - columns, 0, height - rows)))
    return torch.stack(padded), mask
