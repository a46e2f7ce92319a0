"""Augmentation of latents: what mirroring a photo does to its coefficients."""

from __future__ import annotations

import torch

from underpaint.codec.errors import UsageError
from underpaint.codec.transform.subbands import COMPONENTS, ORIENTATIONS

_LOW_PASS_IN_X = 1
"""The orientation that is high-pass in y alone."""


def mirrored_coefficients(coefficients: torch.Tensor) -> torch.Tensor:
    """Return the coefficients of the mirrored photos, up to a shift of one pixel.

    `coefficients` are those of `Latents`, [N, C, h, w] with C = 3 * 4 ** levels; embeddings and
    class maps are simply flipped. The filters of the wavelet are symmetric, so no sign changes. In
    pictures whose width is a multiple of a step, low-pass samples lie at the left edge of each step
    and move to the next one when the picture is mirrored; high-pass samples lie in its middle and
    do not. What comes in at the left edge repeats the first column.

    Raises UsageError for another number of channels.
    """
    channels = coefficients.shape[1]
    known = [_shifted(coefficients[:, :COMPONENTS].flip(-1))]
    side = 1  # samples on a side of one position, at the level
    while COMPONENTS * 4 * side**2 <= channels:
        level = coefficients[:, COMPONENTS * side**2 : COMPONENTS * 4 * side**2]
        count, _, height, width = level.shape
        shape = (count, ORIENTATIONS, COMPONENTS, side, side, height, width)
        rows = level.reshape(shape).movedim(4, -1).flatten(-2).flip(-1)  # whole rows of samples
        orientations = list(rows.unbind(1))
        orientations[_LOW_PASS_IN_X] = _shifted(orientations[_LOW_PASS_IN_X])
        samples = torch.stack(orientations, 1).reshape(*rows.shape[:-1], width, side)
        known.append(samples.movedim(-1, 4).reshape(level.shape))
        side *= 2
    if COMPONENTS * side**2 != channels:
        raise UsageError(f"{channels} channels: want 3, 12, 48, 192 or 768 coefficients")
    return torch.cat(known, 1)


def _shifted(columns: torch.Tensor) -> torch.Tensor:
    """Move columns right by one; the first one is repeated."""
    return torch.cat([columns[..., :1], columns[..., :-1]], -1)
