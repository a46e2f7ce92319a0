"""Mean and standard deviation of the channels of latents, to normalise them for networks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from underpaint.codec.transform.subbands import COMPONENTS, DYADIC_LEVELS, ORIENTATIONS

LATENT_BANDS = COMPONENTS * (1 + ORIENTATIONS * DYADIC_LEVELS)
"""Bands of latents: the three low bands, then for each level from 4 to 1 the three orientations,
each of three components. A band at level n has 4 ** (4 - n) channels."""

LEAST_DEVIATION = np.float32(1)
"""Least standard deviation, in units of coefficients: a band that is smaller is nearly empty, and
is not magnified."""


@dataclass(frozen=True)
class LatentStatistics:
    """Statistics of coefficients over photos, by number of layers read and by band.

    All channels of a band have the same statistics, because each holds the samples of the band at
    one place within a position. So normalising and mirroring may be done in any order.

    mean  float32 [layers, LATENT_BANDS]; row 0 is for layer 1 alone
    std   float32 [layers, LATENT_BANDS], at least `LEAST_DEVIATION`
    """

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def neutral(cls, layers: int) -> LatentStatistics:
        """Return statistics that change nothing."""
        shape = (layers, LATENT_BANDS)
        return cls(np.zeros(shape, np.float32), np.ones(shape, np.float32))

    def of_channels(self, layers: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the first `channels` channels, float32 [channels].

        `layers` is the number of layers read, from 1.
        """
        bands = band_of_channel()[:channels]
        return self.mean[layers - 1, bands], self.std[layers - 1, bands]

    def normalize(self, coefficients: np.ndarray, layers: int) -> np.ndarray:
        """Return (coefficients - mean) / std, in place of the coefficients: float32 [C, h, w]."""
        mean, std = self.of_channels(layers, len(coefficients))
        coefficients -= mean[:, None, None]
        coefficients /= std[:, None, None]
        return coefficients


@lru_cache(1)
def band_of_channel() -> np.ndarray:
    """Return the band of each channel of latents with all levels, int64 [768]."""
    per_level = COMPONENTS * ORIENTATIONS
    channels = [1] * COMPONENTS
    for level in range(DYADIC_LEVELS, 0, -1):
        channels += [4 ** (DYADIC_LEVELS - level)] * per_level
    return np.repeat(np.arange(LATENT_BANDS), channels)
