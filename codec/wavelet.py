"""The linear path: an orthonormal colour transform and a six-level CDF 9/7 wavelet.

Four levels bring the picture to 1/16 resolution, where classes and networks live; two more
take the redundancy out of the low band. All functions are differentiable and run on any
torch device, for sides of any length (symmetric extension).

Source: Cohen, Daubechies, Feauveau 1992; lifting by Daubechies and Sweldens 1998.
"""

from __future__ import annotations

import torch

BLOCK = 16
"""Pixels a side of one latent position: pictures are padded to a multiple of it."""

DYADIC_LEVELS = 4
"""Levels that halve exactly, from pixels down to one sample a block."""

LEVELS = 6
"""All levels: the last two split the low band at 1/16 resolution further."""

ORIENTATIONS = 3
"""Detail bands a level: high along x, high along y, high along both."""

_PREDICT_1, _UPDATE_1 = -1.586134342059924, -0.052980118572961
_PREDICT_2, _UPDATE_2 = 0.882911075530934, 0.443506852043971
_SCALE = 1.149604398860241

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
    high = high + _PREDICT_1 * (low[..., :n_high, :] + _next(low, n_high))
    low = low + _UPDATE_1 * (_previous(high, n_low) + _own(high, n_low))
    high = high + _PREDICT_2 * (low[..., :n_high, :] + _next(low, n_high))
    low = low + _UPDATE_2 * (_previous(high, n_low) + _own(high, n_low))
    return low * _SCALE, high / _SCALE


def _join(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Invert `_split`."""
    n_low, n_high = low.shape[-2], high.shape[-2]
    if n_high == 0:
        return low
    low, high = low / _SCALE, high * _SCALE
    low = low - _UPDATE_2 * (_previous(high, n_low) + _own(high, n_low))
    high = high - _PREDICT_2 * (low[..., :n_high, :] + _next(low, n_high))
    low = low - _UPDATE_1 * (_previous(high, n_low) + _own(high, n_low))
    high = high - _PREDICT_1 * (low[..., :n_high, :] + _next(low, n_high))
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
    bands = []
    for _ in range(levels):
        low, high = _split(x)
        x, across = (_swap(part) for part in _split(_swap(low)))
        down, both = (_swap(part) for part in _split(_swap(high)))
        bands += [across, down, both]
    return [*bands, x]


def synthesise(bands: list[torch.Tensor]) -> torch.Tensor:
    """Invert `analyse`: bands to float [..., H, W]."""
    x = bands[-1]
    for level in range(len(bands) // ORIENTATIONS, 0, -1):
        across, down, both = bands[ORIENTATIONS * (level - 1) : ORIENTATIONS * level]
        low = _swap(_join(_swap(x), _swap(across)))
        high = _swap(_join(_swap(down), _swap(both)))
        x = _join(low, high)
    return x
