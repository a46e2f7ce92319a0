"""Between pixels and subbands: padding, opponent colours, wavelet, colour rotation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from underpaint.codec.transform.colour_rotation import ColourRotation, rotate_colours
from underpaint.codec.transform.colours import NO_SHEAR, Shear, to_opponent, to_rgb
from underpaint.codec.transform.resampling import small_pixels
from underpaint.codec.transform.subbands import BLOCK, DYADIC_LEVELS, LEVELS
from underpaint.codec.transform.wavelet import analyse, synthesise

MAX_PINNED_BYTES = 1 << 26
"""Largest batch that goes to a GPU through pinned memory: torch keeps such memory for ever."""


def pad_to_blocks(images: Sequence[np.ndarray], device: torch.device) -> torch.Tensor:
    """Stack uint8 [H, W, 3] images of one padded size to float32 [N, 3, ...], edges repeated."""
    height, width = (-(-side // BLOCK) * BLOCK for side in images[0].shape[:2])
    shape = (len(images), height, width, 3)
    pinned = device.type == "cuda" and math.prod(shape) <= MAX_PINNED_BYTES
    stack = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
    for target, image in zip(stack.numpy(), images, strict=True):
        h, w = image.shape[:2]
        target[:h, :w] = image
        target[:h, w:] = image[:, -1:]
        target[h:] = target[h - 1]
    return stack.to(device, non_blocking=pinned).permute(0, 3, 1, 2).float()


def picture_bands(
    pixels: torch.Tensor, rotations: Sequence[ColourRotation] = (), shear: Shear = NO_SHEAR
) -> list[torch.Tensor]:
    """Transform float RGB [N, 3, H, W] in 0..255 to subbands, colours rotated where given."""
    return rotate_colours(bands_and_low(pixels, shear)[0], rotations)


def bands_and_low(
    pixels: torch.Tensor, shear: Shear = NO_SHEAR
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Return the subbands of pixels in opponent colours, and the low band at 1/16 resolution.

    The two coarsest levels are the subbands of that low band, float [N, 3, H / 16, W / 16].
    """
    *fine, low = analyse(to_opponent(pixels, shear), DYADIC_LEVELS)
    return [*fine, *analyse(low, LEVELS - DYADIC_LEVELS)], low


def bands_picture(
    bands: list[torch.Tensor], rotations: Sequence[ColourRotation] = (), shear: Shear = NO_SHEAR
) -> torch.Tensor:
    """Invert `picture_bands`."""
    return to_rgb(synthesise(rotate_colours(bands, rotations, inverse=True)), shear)


def small_pictures(
    bands: list[torch.Tensor],
    rotations: Sequence[ColourRotation],
    finest: int,
    shapes: Sequence[tuple[int, int]],
    shear: Shear = NO_SHEAR,
) -> list[torch.Tensor]:
    """Return the pictures that bands from level `finest` on give, float RGB [3, H', W'] each.

    `shapes` are height and width of the full pictures.
    """
    lows = synthesise(rotate_colours(bands, rotations, finest, inverse=True))
    return [
        to_rgb(small_pixels(low[None], shape, finest - 1), shear)[0]
        for low, shape in zip(lows, shapes, strict=True)
    ]
