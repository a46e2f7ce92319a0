"""How far a decoded picture is from its original: PSNR and MS-SSIM.

Both are taken on RGB as stored (gamma-encoded sRGB), image by image; a corpus figure is a mean of
per-image figures and is made by whoever has the corpus.

MS-SSIM follows Z. Wang, E. Simoncelli and A. Bovik, "Multi-scale structural similarity for image
quality assessment", Asilomar 2003: five scales, an 11-tap Gaussian window of sigma 1.5, windows
wholly inside the picture ("valid"), K1 = 0.01, K2 = 0.03, each scale half the one before by 2x2
means. It is taken channel by channel and averaged over the three channels, as the learned-codec
literature does, so its figures can stand beside published ones. What the paper leaves open:

* An odd last row or column is halved as if it were repeated.
* A picture whose smaller side is under 161 px has no room for five scales. It gets as many as
  leave the window inside the coarsest one, with their exponents rescaled to sum to 1; below 11 px
  there is one scale, and the window is cut to the side. From 161 px on this changes nothing.
* A contrast-structure or SSIM term at or under 0 (anti-correlated pictures) counts as 1e-6, so
  the product stays real and its gradient finite.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

MS_SSIM_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponent of each scale, finest first (Wang 2003, section 3.2)."""

WINDOW_TAPS = 11
WINDOW_SIGMA = 1.5
K1 = 0.01
K2 = 0.03
SMALLEST_TERM = 1e-6


def psnr(original: np.ndarray, decoded: np.ndarray) -> float:
    """Peak signal-to-noise ratio of one picture, in dB: 10 log10(255^2 / MSE).

    Both uint8 of one shape, [H, W, 3] or any other; the mean squared error runs over all samples
    of all channels. Equal pictures give `math.inf`. Raises ValueError for unlike shapes or dtypes.
    """
    _require_same_picture(original, decoded)
    error = original.astype(np.float32)
    error -= decoded
    mse = float(np.mean(np.square(error), dtype=np.float64))
    return math.inf if mse == 0 else 10 * math.log10(255.0**2 / mse)


def ms_ssim_of_pictures(original: np.ndarray, decoded: np.ndarray) -> float:
    """MS-SSIM of one picture, 0..1, 1 where equal; both uint8 [H, W, 3].

    Raises ValueError for unlike shapes or dtypes.
    """
    _require_same_picture(original, decoded)
    pair = torch.from_numpy(np.stack([original, decoded])).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        return float(ms_ssim(pair[:1], pair[1:], data_range=255.0)[0])


def ms_ssim_decibels(value: float) -> float:
    """MS-SSIM on the scale that plots use, -10 log10(1 - value) in dB; 1 gives `math.inf`."""
    return math.inf if value >= 1 else -10 * math.log10(1 - value)


def ms_ssim(original: torch.Tensor, decoded: torch.Tensor, data_range: float = 1.0) -> torch.Tensor:
    """MS-SSIM of each picture of a batch, float [N], 1 where equal; differentiable.

    Both float [N, C, H, W] on one device, any C, H, W >= 1, samples in 0..`data_range` (samples
    outside are allowed and count as they are). 1 - ms_ssim(x, y).mean() is a loss.
    Raises ValueError for unlike shapes.
    """
    if original.shape != decoded.shape or original.ndim != 4:
        raise ValueError(
            f"two [N, C, H, W] of one shape, not {tuple(original.shape)}, {tuple(decoded.shape)}"
        )
    batch, channels, height, width = original.shape
    exponents = _exponents(min(height, width))
    # [N*C, 1, H, W]: the window is the same for every channel
    x = original.reshape(batch * channels, 1, height, width)
    y = decoded.reshape(batch * channels, 1, height, width)
    product = torch.ones(batch * channels, dtype=x.dtype, device=x.device)
    for scale, exponent in enumerate(exponents):
        if scale:
            x, y = _halve(x), _halve(y)
        similarity, contrast_structure = _ssim_terms(x, y, data_range)
        term = similarity if scale == len(exponents) - 1 else contrast_structure
        product = product * term.clamp(min=SMALLEST_TERM) ** exponent
    return product.reshape(batch, channels).mean(1)


def ssim(original: torch.Tensor, decoded: torch.Tensor, data_range: float = 1.0) -> torch.Tensor:
    """Single-scale SSIM of each picture of a batch, float [N] (Wang et al., IEEE TIP 2004).

    Shapes and window as in `ms_ssim`; the value may be negative.
    """
    batch, channels, height, width = original.shape
    flat = (batch * channels, 1, height, width)
    similarity, _ = _ssim_terms(original.reshape(flat), decoded.reshape(flat), data_range)
    return similarity.reshape(batch, channels).mean(1)


def _exponents(smaller_side: int) -> tuple[float, ...]:
    """Exponents of the scales that a picture of this smaller side has room for, summing to 1."""
    scales = 1
    side = (smaller_side + 1) // 2
    while scales < len(MS_SSIM_EXPONENTS) and side >= WINDOW_TAPS:
        scales += 1
        side = (side + 1) // 2
    used = MS_SSIM_EXPONENTS[:scales]
    total = sum(used)
    # all five are left as published: they sum to 1.0001, and published figures keep that
    return used if scales == len(MS_SSIM_EXPONENTS) else tuple(e / total for e in used)


def _halve(x: torch.Tensor) -> torch.Tensor:
    """2x2 means; an odd last row or column counts as repeated."""
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)


def _ssim_terms(
    x: torch.Tensor, y: torch.Tensor, data_range: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean SSIM and mean contrast-structure term of [M, 1, H, W] pairs, each [M]."""
    c1 = (K1 * data_range) ** 2
    c2 = (K2 * data_range) ** 2
    # Moments about 0.5 of the range instead of 0 lose fewer bits in E[x^2] - E[x]^2.
    half = data_range / 2
    x, y = x - half, y - half
    moments = _window_mean(torch.cat([x, y, x * x + y * y, x * y]))
    mean_x, mean_y, mean_squares, mean_product = moments.chunk(4)
    variances = mean_squares - mean_x * mean_x - mean_y * mean_y
    covariance = mean_product - mean_x * mean_y
    contrast_structure = (2 * covariance + c2) / (variances + c2)
    mean_x, mean_y = mean_x + half, mean_y + half
    luminance = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    return (luminance * contrast_structure).mean((1, 2, 3)), contrast_structure.mean((1, 2, 3))


def _window_mean(x: torch.Tensor) -> torch.Tensor:
    """Gaussian-weighted means of [M, 1, H, W] over every window wholly inside.

    Done as one picture of M channels, each its own group: over ten times faster on a CPU, forward
    and backward, than a batch of M pictures of one channel.
    """
    planes, _, height, width = x.shape
    x = x.reshape(1, planes, height, width)
    x = F.conv2d(x, _window(height, x).reshape(1, 1, -1, 1).repeat(planes, 1, 1, 1), groups=planes)
    x = F.conv2d(x, _window(width, x).reshape(1, 1, 1, -1).repeat(planes, 1, 1, 1), groups=planes)
    return x.reshape(planes, 1, *x.shape[-2:])


def _window(side: int, like: torch.Tensor) -> torch.Tensor:
    """Gaussian taps that sum to 1, as many as `WINDOW_TAPS` or the side."""
    taps = min(WINDOW_TAPS, side)
    at = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    weights = torch.exp(-(at**2) / (2 * WINDOW_SIGMA**2))
    return (weights / weights.sum()).to(like)


def _require_same_picture(original: np.ndarray, decoded: np.ndarray) -> None:
    if original.shape != decoded.shape:
        raise ValueError(f"shapes differ: {original.shape} and {decoded.shape}")
    if original.dtype != np.uint8 or decoded.dtype != np.uint8:
        raise ValueError(f"uint8 pictures, not {original.dtype} and {decoded.dtype}")
