"""Texture features of positions: local Fourier magnitudes, invariant to rotations and flips.

A window of 32 x 32 pixels around each position of 16 x 16 is transformed; magnitudes do not depend
on the location of a texture in the window. They are pooled in rings of frequency. Of the magnitude
in a ring, as a function of the angle, only the magnitudes of its even harmonics are kept. A
rotation shifts this function and a flip mirrors it, and neither changes its harmonics: the features
of a texture are close to those of its rotations and flips, but stripes differ from noise.

Source: magnitudes of the Fourier transform as texture features, after Guo et al. 2023; rings and
angular harmonics are ours.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from underpaint.codec.transform.colours import to_opponent
from underpaint.codec.transform.subbands import BLOCK

WINDOW = 32
"""Side of the window around a position, in pixels."""

RING_EDGES = (0.5, 1.5, 2.5, 4.0, 6.0, 9.0, 15.5)
"""Edges of the rings, in cycles per window."""

HARMONICS = (0, 2, 4)
"""Angular harmonics of lightness; for the two chroma components only the first is kept."""

TEXTURE_FEATURES = (len(RING_EDGES) - 1) * (len(HARMONICS) + 2)

_MOST_WINDOWS = 2048
_FLOOR = 1.0
"""Added to magnitudes before the logarithm, in grey levels: smaller values are no texture."""


def texture_features(pixels: torch.Tensor) -> torch.Tensor:
    """Return the features of each position of one picture, float32 [h, w, TEXTURE_FEATURES].

    `pixels` float32 [3, H, W], RGB in 0..255, sides multiples of 16. The features of a flipped or
    rotated (by 90 degrees) picture are those at the original position, up to rounding.
    """
    margin = (WINDOW - BLOCK) // 2
    opponent = to_opponent(pixels[None])
    padded = torch.nn.functional.pad(opponent, [margin] * 4, "replicate")[0]
    windows = padded.unfold(1, WINDOW, BLOCK).unfold(2, WINDOW, BLOCK)
    rows, columns = windows.shape[1:3]
    flat = windows.permute(1, 2, 0, 3, 4).reshape(rows * columns, 3, WINDOW, WINDOW)
    pooled = torch.cat([_pooled(part) for part in flat.split(_MOST_WINDOWS)])
    return pooled.reshape(rows, columns, -1)


def _pooled(windows: torch.Tensor) -> torch.Tensor:
    """Pool windows, float32 [n, 3, 32, 32], to float32 [n, TEXTURE_FEATURES]."""
    taper = torch.hann_window(WINDOW + 1, periodic=False, dtype=torch.float64)
    taper = (taper[1:] + taper[:-1]).to(windows) / 2  # symmetric about the middle of the window
    mean = windows.mean((-1, -2), keepdim=True)
    spectrum = torch.fft.fft2((windows - mean) * taper[:, None] * taper).abs() / WINDOW
    rings, waves = _polar()
    n = len(windows)
    magnitude = spectrum.reshape(n, 3, -1)
    parts = []
    for component in range(3):
        means = magnitude[:, component] @ rings.to(windows).T
        parts.append(torch.log(_FLOOR + means))
        if component == 0:
            for real, imaginary in waves:
                cosine = magnitude[:, 0] @ real.to(windows).T
                sine = magnitude[:, 0] @ imaginary.to(windows).T
                parts.append(torch.sqrt(cosine**2 + sine**2) / (_FLOOR + means))
    return torch.cat(parts, 1)


def _polar() -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
    """Return the weights of each bin in the mean of each ring, and in its angular harmonics.

    The bins of the highest frequency have no mirror image and are left out.
    """
    frequency = np.fft.fftfreq(WINDOW, 1 / WINDOW)
    y, x = np.meshgrid(frequency, frequency, indexing="ij")
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    inside = (np.abs(x) < WINDOW // 2) & (np.abs(y) < WINDOW // 2)
    rings = np.stack(
        [((radius >= low) & (radius < high) & inside).ravel() for low, high in pairwise(RING_EDGES)]
    ).astype(np.float64)
    rings /= rings.sum(1, keepdims=True)
    waves = [
        (rings * np.cos(order * angle).ravel(), rings * np.sin(order * angle).ravel())
        for order in HARMONICS[1:]
    ]
    return torch.from_numpy(rings), [
        (torch.from_numpy(real), torch.from_numpy(imaginary)) for real, imaginary in waves
    ]
