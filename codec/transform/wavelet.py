"""The CDF 9/7 wavelet on torch tensors.

All functions are differentiable and run on any torch device, for sides of any length (symmetric
extension). On a CPU, where no gradient is needed, they run in the compiled loops of
`transform.lifting`, with results equal to the bit.

Source: Cohen, Daubechies and Feauveau 1992, "Biorthogonal bases of compactly supported wavelets";
lifting by Daubechies and Sweldens 1998.
"""

from __future__ import annotations

import math

import torch

from underpaint.codec.transform.colours import runs_compiled
from underpaint.codec.transform.lifting import (
    PREDICT_1,
    PREDICT_2,
    SCALE,
    UPDATE_1,
    UPDATE_2,
    join_planes,
    split_planes,
)
from underpaint.codec.transform.subbands import LEVELS, ORIENTATIONS


def _next(x: torch.Tensor, length: int) -> torch.Tensor:
    """Right neighbours of `length` samples along the last-but-one axis, mirrored at the end."""
    if x.shape[-2] > length:
        return x[..., 1 : length + 1, :]
    return torch.cat([x[..., 1:, :], x[..., -1:, :]], -2)


def _previous(x: torch.Tensor, length: int) -> torch.Tensor:
    """Left neighbours of `length` samples along the last-but-one axis, mirrored at both ends."""
    parts = [x[..., :1, :], x]
    if length <= x.shape[-2]:
        parts = [x[..., :1, :], x[..., : length - 1, :]]
    return torch.cat(parts, -2)


def _own(x: torch.Tensor, length: int) -> torch.Tensor:
    """Extend `x` along the last-but-one axis to `length` samples by mirroring its last."""
    if x.shape[-2] == length:
        return x
    return torch.cat([x, x[..., -1:, :]], -2)


def _split(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One analysis step along the last-but-one axis: low half (longer if odd) and high half."""
    low, high = x[..., 0::2, :], x[..., 1::2, :]
    n_low, n_high = low.shape[-2], high.shape[-2]
    if n_high == 0:
        return low, high
    high = high + PREDICT_1 * (low[..., :n_high, :] + _next(low, n_high))
    low = low + UPDATE_1 * (_previous(high, n_low) + _own(high, n_low))
    high = high + PREDICT_2 * (low[..., :n_high, :] + _next(low, n_high))
    low = low + UPDATE_2 * (_previous(high, n_low) + _own(high, n_low))
    return low * SCALE, high / SCALE


def _join(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Invert `_split`."""
    n_low, n_high = low.shape[-2], high.shape[-2]
    if n_high == 0:
        return low
    low, high = low / SCALE, high * SCALE
    low = low - UPDATE_2 * (_previous(high, n_low) + _own(high, n_low))
    high = high - PREDICT_2 * (low[..., :n_high, :] + _next(low, n_high))
    low = low - UPDATE_1 * (_previous(high, n_low) + _own(high, n_low))
    high = high - PREDICT_1 * (low[..., :n_high, :] + _next(low, n_high))
    joined = torch.stack([low[..., :n_high, :], high], -2).flatten(-3, -2)
    if n_low > n_high:
        joined = torch.cat([joined, low[..., -1:, :]], -2)
    return joined


def _swap(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(-1, -2)


def analyse(x: torch.Tensor, levels: int = LEVELS) -> list[torch.Tensor]:
    """Split float [..., H, W] into subbands, finest level first, the low band last.

    A band of level l (1 the finest) has shape [..., about H / 2**l, about W / 2**l]. The three
    bands of a level are high along x, high along y, and high along both.
    """
    if runs_compiled(x):
        return _analyse_compiled(x, levels)
    bands = []
    for _ in range(levels):
        low, high = _split(x)
        x, across = (_swap(part) for part in _split(_swap(low)))
        down, both = (_swap(part) for part in _split(_swap(high)))
        bands += [across, down, both]
    return [*bands, x]


def synthesise(bands: list[torch.Tensor]) -> torch.Tensor:
    """Invert `analyse`: bands to float [..., H, W]."""
    if all(map(runs_compiled, bands)):
        return _synthesise_compiled(bands)
    x = bands[-1]
    for level in range(len(bands) // ORIENTATIONS, 0, -1):
        across, down, both = bands[ORIENTATIONS * (level - 1) : ORIENTATIONS * level]
        low = _swap(_join(_swap(x), _swap(across)))
        high = _swap(_join(_swap(down), _swap(both)))
        x = _join(low, high)
    return x


def _analyse_compiled(x: torch.Tensor, levels: int) -> list[torch.Tensor]:
    shape = x.shape[:-2]
    low = x.detach().reshape(math.prod(shape), *x.shape[-2:]).numpy()
    bands = []
    for _ in range(levels):
        *high, low = split_planes(low)
        bands += high
    return [torch.from_numpy(band).reshape(*shape, *band.shape[1:]) for band in [*bands, low]]


def _synthesise_compiled(bands: list[torch.Tensor]) -> torch.Tensor:
    shape = bands[-1].shape[:-2]
    planes = [
        band.detach().reshape(math.prod(shape), *band.shape[-2:]).contiguous().numpy()
        for band in bands
    ]
    low = planes[-1]
    for level in range(len(bands) // ORIENTATIONS, 0, -1):
        low = join_planes(low, *planes[ORIENTATIONS * (level - 1) : ORIENTATIONS * level])
    return torch.from_numpy(low).reshape(*shape, *low.shape[1:])
