"""Fit the texture classes: a mixture of Laplace laws, by hard expectation maximisation."""

from __future__ import annotations

import numpy as np

from codec.bands import BANDS
from codec.classes import EVIDENCE, TEXTURE_INDEX, TextureClasses
from codec.semantics import unit_length

SCALE_FLOOR = 0.35
"""Least expected magnitude, in finest steps: below it every coefficient rounds to zero."""


def _lengths(
    energies: np.ndarray,
    embedded: np.ndarray,
    scale: np.ndarray,
    embedding: np.ndarray,
    evidence: float,
) -> np.ndarray:
    lengths = energies @ (EVIDENCE / scale).T + np.log(scale) @ EVIDENCE
    return lengths - embedded @ (embedding.T * np.float32(2 * np.log(2.0) * evidence))


def fit_scales(
    energies: np.ndarray,
    embedded: np.ndarray,
    evidence: float,
    count: int,
    rounds: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Cluster positions into classes; return their laws and their embeddings.

    `energies` float32 [positions, 36] and `embedded` float32 [positions, E] of length 1 give
    float32 [count, 36] and [count, E]. K-means under the code length of a Laplace law (an
    Itakura-Saito divergence, Banerjee et al. 2005) and `evidence` bits for a squared distance
    of 1 between embeddings; an empty class restarts at a position that its class codes badly.
    """
    energies = np.maximum(energies, SCALE_FLOOR)
    first = rng.choice(len(energies), count, replace=False)
    scale, embedding = energies[first], embedded[first]
    for _ in range(rounds):
        lengths = _lengths(energies, embedded, scale, embedding, evidence)
        labels = lengths.argmin(1)
        sizes = np.bincount(labels, minlength=count)
        sums = np.zeros_like(scale, dtype=np.float64)
        np.add.at(sums, labels, energies)
        scale = (sums / np.maximum(sizes, 1)[:, None]).astype(np.float32)
        embedding = mean_embeddings(embedded, labels, count)
        empty = np.flatnonzero(sizes < len(energies) // (50 * count) + 1)
        if len(empty):
            own = lengths[np.arange(len(labels)), labels]
            worst = np.argsort(own - np.log(energies) @ EVIDENCE)[-10 * len(empty) :]
            fresh = rng.choice(worst, len(empty), replace=False)
            scale[empty], embedding[empty] = energies[fresh], embedded[fresh]
    order = np.argsort(np.log(scale) @ EVIDENCE)
    return np.maximum(scale[order], SCALE_FLOOR), embedding[order]


def mean_embeddings(embedded: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Return the mean unit vector of each label, scaled to length 1, float32 [count, E]."""
    sums = np.zeros((count, embedded.shape[1]))
    np.add.at(sums, labels, embedded)
    return unit_length(sums).astype(np.float32)


def masks_from_scales(scale: np.ndarray, power: float) -> np.ndarray:
    """Return each class's masking factor, float32 [K]: its energy to `power`, mean log zero.

    Busy texture hides coarser steps (visual masking); a power of 0 masks nothing.
    """
    energy = np.log(scale) @ EVIDENCE / EVIDENCE.sum()
    masks = np.exp(power * (energy - energy.mean()))
    return np.clip(masks, 0.3, 3.0).astype(np.float32)


def unfitted_classes(scale: np.ndarray, masks: np.ndarray, embedding: np.ndarray) -> TextureClasses:
    """Make classes whose law is known for texture bands only."""
    law = np.zeros((len(scale), BANDS), np.int32)
    law[:, TEXTURE_INDEX] = np.round(16 * scale / masks[:, None])
    return TextureClasses(scale, law, masks, embedding)
