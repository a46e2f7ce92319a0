"""The linear path: an orthonormal colour transform and a six-level CDF 9/7 wavelet.

Four levels bring the picture to 1/16 resolution, where classes and networks live; two more
take the redundancy out of the low band. All functions are differentiable and run on any
torch device, for sides of any length (symmetric extension); on a CPU, where no gradient is asked
for, the wavelet runs in the compiled loops of `codec.transform.lifting`, to the same bits.

Source: Cohen, Daubechies, Feauveau 1992; lifting by Daubechies and Sweldens 1998.
"""

from __future__ import annotations

import math

import torch

from underpaint.codec.transform.lifting import (
    PREDICT_1,
    PREDICT_2,
    SCALE,
    UPDATE_1,
    UPDATE_2,
    join_planes,
    mix_colours,
    split_planes,
)

BLOCK = 16
"""Pixels a side of one latent position: pictures are padded to a multiple of it."""

DYADIC_LEVELS = 4
"""Levels that halve exactly, from pixels down to one sample a block."""

LEVELS = 6
"""All levels: the last two split the low band at 1/16 resolution further."""

ORIENTATIONS = 3
"""Detail bands a level: high along x, high along y, high along both."""

_COLOUR = (
    torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 2.0, -1.0]], dtype=torch.float64)
    / torch.tensor([[3.0], [2.0], [6.0]], dtype=torch.float64).sqrt()
)
_GREY = 128.0 * 3.0**0.5


def to_opponent(rgb: torch.Tensor) -> torch.Tensor:
    """Turn RGB in 0..255, float [N, 3, H, W], into orthonormal opponent colours around zero.

    The axes are lightness, red against blue, and green against magenta: close to the principal
    axes of photos, and orthonormal, so squared error in them is squared error in RGB.
    """
    colour = _COLOUR.to(rgb)
    if in_loops(rgb):
        opponent = torch.empty(rgb.shape)
        mix_colours(rgb.detach().numpy(), colour.numpy(), opponent.numpy())
    else:
        opponent = torch.einsum("ij,njhw->nihw", colour, rgb)
    opponent[:, 0] -= _GREY
    return opponent


def to_rgb(opponent: torch.Tensor) -> torch.Tensor:
    """Invert `to_opponent`."""
    colour = _COLOUR.to(opponent)
    rgb = torch.einsum("ij,nihw->njhw", colour, opponent)
    return rgb + 128.0


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
    """Split float [..., H, W] into bands, finest first, three a level, the low band last.

    A band of level l (1 the finest) has shape [..., about H / 2**l, about W / 2**l]; within a
    level the order is high along x, high along y, high along both.
    """
    if in_loops(x):
        return _analyse_in_loops(x, levels)
    bands = []
    for _ in range(levels):
        low, high = _split(x)
        x, across = (_swap(part) for part in _split(_swap(low)))
        down, both = (_swap(part) for part in _split(_swap(high)))
        bands += [across, down, both]
    return [*bands, x]


def synthesise(bands: list[torch.Tensor]) -> torch.Tensor:
    """Invert `analyse`: bands to float [..., H, W]."""
    if all(map(in_loops, bands)):
        return _synthesise_in_loops(bands)
    x = bands[-1]
    for level in range(len(bands) // ORIENTATIONS, 0, -1):
        across, down, both = bands[ORIENTATIONS * (level - 1) : ORIENTATIONS * level]
        low = _swap(_join(_swap(x), _swap(across)))
        high = _swap(_join(_swap(down), _swap(both)))
        x = _join(low, high)
    return x


def in_loops(x: torch.Tensor) -> bool:
    """Say whether the compiled loops can do it: on a CPU, in float32, with nobody to learn."""
    learns = x.requires_grad and torch.is_grad_enabled()
    return x.device.type == "cpu" and x.dtype == torch.float32 and not learns


def _analyse_in_loops(x: torch.Tensor, levels: int) -> list[torch.Tensor]:
    shape = x.shape[:-2]
    low = x.detach().reshape(math.prod(shape), *x.shape[-2:]).numpy()
    bands = []
    for _ in range(levels):
        *high, low = split_planes(low)
        bands += high
    return [torch.from_numpy(band).reshape(*shape, *band.shape[1:]) for band in [*bands, low]]


def _synthesise_in_loops(bands: list[torch.Tensor]) -> torch.Tensor:
    shape = bands[-1].shape[:-2]
    planes = [
        band.detach().reshape(math.prod(shape), *band.shape[-2:]).contiguous().numpy()
        for band in bands
    ]
    low = planes[-1]
    for level in range(len(bands) // ORIENTATIONS, 0, -1):
        low = join_planes(low, *planes[ORIENTATIONS * (level - 1) : ORIENTATIONS * level])
    return torch.from_numpy(low).reshape(*shape, *low.shape[1:])
