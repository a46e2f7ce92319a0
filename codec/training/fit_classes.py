"""Fit the texture classes: a mixture of Laplace laws, by hard expectation maximisation."""

from __future__ import annotations

import numpy as np

from codec.bands import BANDS
from codec.classes import EVIDENCE, TEXTURE_INDEX, TextureClasses

SCALE_FLOOR = 0.35
"""Least expected magnitude, in finest steps: below it every coefficient rounds to zero."""

EMBEDDING_SIZE = 16


def _lengths(energies: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return energies @ (EVIDENCE / scale).T + np.log(scale) @ EVIDENCE


def fit_scales(
    energies: np.ndarray, count: int, rounds: int, rng: np.random.Generator
) -> np.ndarray:
    """Cluster energies, float32 [positions, 36], into `count` laws, float32 [count, 36].

    K-means under the code length of a Laplace law (an Itakura-Saito divergence, Banerjee et al.
    2005); an empty class restarts at a position that its class codes badly.
    """
    energies = np.maximum(energies, SCALE_FLOOR)
    scale = energies[rng.choice(len(energies), count, replace=False)]
    for _ in range(rounds):
        lengths = _lengths(energies, scale)
        labels = lengths.argmin(1)
        sizes = np.bincount(labels, minlength=count)
        sums = np.zeros_like(scale, dtype=np.float64)
        np.add.at(sums, labels, energies)
        scale = (sums / np.maximum(sizes, 1)[:, None]).astype(np.float32)
        empty = np.flatnonzero(sizes < len(energies) // (50 * count) + 1)
        if len(empty):
            own = lengths[np.arange(len(labels)), labels]
            worst = np.argsort(own - np.log(energies) @ EVIDENCE)[-10 * len(empty) :]
            scale[empty] = energies[rng.choice(worst, len(empty), replace=False)]
    order = np.argsort(np.log(scale) @ EVIDENCE)
    return np.maximum(scale[order], SCALE_FLOOR)


def masks_from_scales(scale: np.ndarray, power: float) -> np.ndarray:
    """Return each class's masking factor, float32 [K]: its energy to `power`, mean log zero.

    Busy texture hides coarser steps (visual masking); a power of 0 masks nothing.
    """
    energy = np.log(scale) @ EVIDENCE / EVIDENCE.sum()
    masks = np.exp(power * (energy - energy.mean()))
    return np.clip(masks, 0.3, 3.0).astype(np.float32)


def embed(scale: np.ndarray) -> np.ndarray:
    """Place the classes in a space of few dimensions, float32 [K, 16]: principal axes of laws."""
    logs = np.log(scale) * np.sqrt(EVIDENCE)
    logs = logs - logs.mean(0)
    _, _, axes = np.linalg.svd(logs, full_matrices=False)
    placed = logs @ axes[:EMBEDDING_SIZE].T
    return (placed / placed.std()).astype(np.float32)


def unfitted_classes(scale: np.ndarray, masks: np.ndarray) -> TextureClasses:
    """Make classes whose law is known for texture bands only."""
    law = np.zeros((len(scale), BANDS), np.int32)
    law[:, TEXTURE_INDEX] = np.round(16 * scale / masks[:, None])
    return TextureClasses(scale, law, masks, embed(scale))
