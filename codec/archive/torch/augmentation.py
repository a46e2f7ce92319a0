"""Augmentation of latents: what mirroring a photo does to its coefficients."""

from __future__ import annotations

import torch

from underpaint.codec.errors import UsageError
from underpaint.codec.transform.subbands import COMPONENTS, ORIENTATIONS

_LOW_PASS_IN_X = 1
"""The orientation that is high-pass in y alone."""


def mirrored_coefficients(
    coefficients: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the coefficients of the mirrored photos, up to a shift of one pixel.

    `coefficients` are those of `Latents`, [C, h, w] or [N, C, h, w] with C = 3 * 4 ** levels;
    embeddings and class maps are simply flipped. `mask` bool [h, w] or [N, h, w] is that of a
    padded batch: false where there is no picture. It is flipped, too, to be that of the result.

    The filters of the wavelet are symmetric, so no sign changes. In pictures whose width is a
    multiple of a step, low-pass samples lie at the left edge of each step and move to the next one
    when the picture is mirrored; high-pass samples lie in its middle and do not. What comes in at
    the left edge repeats the first column.

    Raises UsageError for other shapes or another number of channels.
    """
    if coefficients.ndim not in (3, 4):
        raise UsageError(f"{coefficients.ndim} dimensions: want [C, h, w] or [N, C, h, w]")
    if mask is not None and mask.shape != (*coefficients.shape[:-3], *coefficients.shape[-2:]):
        raise UsageError(f"a mask of {[*mask.shape]} for coefficients of {[*coefficients.shape]}")
    if coefficients.ndim == 3:
        return mirrored_coefficients(coefficients[None], None if mask is None else mask[None])[0]
    channels = coefficients.shape[1]
    known = [_shifted(coefficients[:, :COMPONENTS].flip(-1), _of_samples(mask, 1))]
    side = 1  # samples on a side of one position, at the level
    while COMPONENTS * 4 * side**2 <= channels:
        level = coefficients[:, COMPONENTS * side**2 : COMPONENTS * 4 * side**2]
        count, _, height, width = level.shape
        shape = (count, ORIENTATIONS, COMPONENTS, side, side, height, width)
        rows = level.reshape(shape).movedim(4, -1).flatten(-2).flip(-1)  # whole rows of samples
        orientations = list(rows.unbind(1))
        orientations[_LOW_PASS_IN_X] = _shifted(
            orientations[_LOW_PASS_IN_X], _of_samples(mask, side)
        )
        samples = torch.stack(orientations, 1).reshape(*rows.shape[:-1], width, side)
        known.append(samples.movedim(-1, 4).reshape(level.shape))
        side *= 2
    if COMPONENTS * side**2 != channels:
        raise UsageError(f"{channels} channels: want 3, 12, 48, 192 or 768 coefficients")
    return torch.cat(known, 1)


def _of_samples(mask: torch.Tensor | None, side: int) -> torch.Tensor | None:
    """Return the mask of mirrored rows of samples, bool [N, 1, h, side * w]."""
    return None if mask is None else mask.repeat_interleave(side, -1).flip(-1)[:, None]


def _shifted(columns: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Move columns right by one; the first one of each picture is repeated.

    `columns` [N, ..., h, columns], `mask` bool [N, 1, h, columns].
    """
    moved = torch.cat([columns[..., :1], columns[..., :-1]], -1)
    if mask is None:
        return moved
    is_first = mask.clone()
    is_first[..., 1:] &= ~mask[..., :-1]
    is_first = is_first.reshape(len(is_first), *[1] * (columns.ndim - 3), *is_first.shape[-2:])
    return torch.where(is_first, columns, moved)
