"""Measures the latents of photos: the statistics that normalise them for networks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from underpaint.codec.codec import Codec
from underpaint.codec.reconstruct.latent_statistics import (
    LATENT_BANDS,
    LEAST_DEVIATION,
    LatentStatistics,
    band_of_channel,
)
from underpaint.codec.transform.subbands import DYADIC_LEVELS
from underpaint.codec.weights.model import Weights

log = logging.getLogger(__name__)

LEAST_SHARE = 0.25
"""Least standard deviation as a share of that with all layers. Bands that few layers leave nearly
empty have rare, large coefficients: divided by their own deviation, these would be a hundred times
as large as those of other bands."""


def with_latent_statistics(weights: Weights, photos: Sequence[np.ndarray]) -> Weights:
    """Return weights with the statistics of latents over photos, uint8 [H, W, 3].

    Each photo counts the same, whatever its size.
    """
    codec = Codec(weights)
    layers, bands = len(weights.config.layers), band_of_channel()
    channels = np.bincount(bands, minlength=LATENT_BANDS)
    moments = np.zeros((2, layers, LATENT_BANDS))
    for photo in photos:
        [stream] = codec.encode([photo])
        states = codec.latents(
            [stream[: count + 1] for count in range(layers)], levels=DYADIC_LEVELS
        )
        for layer, state in enumerate(states):
            values = state.coefficients.reshape(len(bands), -1).astype(np.float64)
            for power, means in enumerate((values.mean(1), np.square(values).mean(1))):
                moments[power, layer] += np.bincount(bands, means, LATENT_BANDS) / channels
    mean, square = moments / len(photos)
    std = np.sqrt(np.maximum(square - mean**2, 0))
    floor = np.maximum(LEAST_SHARE * std[-1], LEAST_DEVIATION)
    log.info("measured the latents of %d photos", len(photos))
    statistics = LatentStatistics(
        mean.astype(np.float32), np.maximum(std, floor).astype(np.float32)
    )
    return replace(weights, latents=statistics)
