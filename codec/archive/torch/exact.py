"""Pictures of one exact shape, so that samples form a batch."""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional

Fit = Literal["crop", "stretch"]


def to_shape(picture: torch.Tensor, shape: tuple[int, int], fit: Fit) -> torch.Tensor:
    """Scale uint8 [3, H, W] to uint8 [3, *shape], bicubic and antialiased.

    "crop" keeps the proportions: the largest area of the shape's proportions around the centre is
    scaled. "stretch" scales the whole picture. On a CPU the result is within 1 of Pillow's; other
    devices compute in float32 with another kernel, which differs by a few levels at edges.
    """
    height, width = shape
    if fit == "crop":
        picture = _centre(picture, height, width)
    if picture.shape[1:] == shape:
        return picture
    whole = picture.device.type == "cpu"  # in integers, which only the CPU supports
    scaled = functional.interpolate(
        picture[None] if whole else picture[None].float(),
        size=shape,
        mode="bicubic",
        align_corners=False,
        antialias=True,
    )[0]
    return scaled if whole else scaled.clamp_(0, 255).round_().to(torch.uint8)


def _centre(picture: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return the largest part around the centre with the proportions of `height` to `width`."""
    rows, columns = picture.shape[1:]
    kept_rows = min(rows, max(1, round(columns * height / width)))
    kept_columns = min(columns, max(1, round(rows * width / height)))
    top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
    return picture[:, top : top + kept_rows, left : left + kept_columns]
