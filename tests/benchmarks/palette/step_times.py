"""Measures the CPU time of each step of the encoder up to the palette chain."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from underpaint.codec.palette.classes import smooth_assignment, texture_energies
from underpaint.codec.palette.merging import MergeWeights, PaletteState, diffuse, merge_descriptors
from underpaint.codec.palette.semantic_head import low_colours, own_inputs
from underpaint.codec.quantize.quantizer import bands_and_low, pad_to_blocks
from underpaint.codec.transform.colour_rotation import find_turns, turned
from underpaint.codec.weights.model import Weights
from underpaint.pipelines.evaluation.photos import Photo

HEAD = "semantic head (inputs, embedding)"


@torch.inference_mode()
def step_times(weights: Weights, photos: Sequence[Photo], repeat: int) -> dict[str, float]:
    """Return CPU seconds a megapixel of each step over all photos, of `repeat` runs the fastest.

    The steps are those of `Codec.quantised`, one photo at a time; the analysis is the colour
    transform, the wavelet and the turn of colours.
    """
    totals: dict[str, float] = {}
    pixels = 0
    config = weights.config
    alone = replace(config.merge, texture=0, semantic=0, colour=0)
    distance = weights.classes.divergence()

    def timed(name: str, step: Callable[[], Any]) -> Any:
        fastest = float("inf")
        for _ in range(repeat):
            start = time.process_time()
            result = step()
            fastest = min(fastest, time.process_time() - start)
        totals[name] = totals.get(name, 0) + fastest
        return result

    for photo in photos:
        picture = photo.read()
        pixels += picture.shape[0] * picture.shape[1]
        padded = pad_to_blocks([picture], torch.device("cpu"))
        bands, low = timed("analysis", partial(bands_and_low, padded))
        towards = timed("analysis", partial(_turned, bands, config.profile))
        energies = timed("texture energies", partial(_energies, towards, weights.steps))
        own, embedded = timed(HEAD, partial(_embedded, low, energies, weights))
        labels = timed("choice of classes", partial(_labels, energies, embedded, weights))
        for name, merge in (("all affinities", config.merge), ("latent distortion alone", alone)):
            chain = partial(_chain, labels, own, embedded, distance, merge, config.palette_budgets)
            timed(f"chain of merges, {name}", chain)
    return {name: 1e6 * seconds / pixels for name, seconds in totals.items()}


def _energies(bands: list[torch.Tensor], steps: np.ndarray) -> np.ndarray:
    return texture_energies(bands, steps)[0].permute(1, 2, 0).numpy()


def _turned(bands: list[torch.Tensor], profile: str) -> list[torch.Tensor]:
    return turned(bands, find_turns(bands, profile))


def _embedded(
    low: torch.Tensor, energies: np.ndarray, weights: Weights
) -> tuple[np.ndarray, np.ndarray]:
    own = own_inputs(energies, low_colours(low)[0].permute(1, 2, 0).numpy())
    return own, weights.head.embed(own)


def _labels(energies: np.ndarray, embedded: np.ndarray, weights: Weights) -> np.ndarray:
    positions = embedded.shape[0] * embedded.shape[1]
    flat = energies.reshape(positions, -1), embedded.reshape(positions, -1)
    costs = weights.classes.costs(*flat, weights.config.evidence)
    return smooth_assignment(costs.reshape(*embedded.shape[:2], -1), weights.config.smoothing)


def _chain(
    labels: np.ndarray,
    own: np.ndarray,
    embedded: np.ndarray,
    distance: np.ndarray,
    merge: MergeWeights,
    budgets: tuple[float, ...],
) -> list[PaletteState]:
    return diffuse(labels, distance, budgets, merge_descriptors(merge, own, embedded))
