"""Fits the texture classes: a mixture of Laplace distributions, by hard EM."""

from __future__ import annotations

import numpy as np

from underpaint.codec.palette.classes import EVIDENCE, MAGNITUDE_UNIT, TEXTURE_INDEX, TextureClasses
from underpaint.codec.palette.semantic_head import unit_length
from underpaint.codec.transform.subbands import BANDS

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
    """Cluster positions into classes; return their scales and embeddings.

    `energies` float32 [positions, 36] and `embedded` float32 [positions, E] of length 1; returns
    float32 [count, 36] and [count, E]. A squared distance of 1 between embeddings counts
    `evidence` bits. An empty class restarts at a position with a long code.

    Source: k-means under the code length of a Laplace distribution, an Itakura-Saito divergence
    (Banerjee et al. 2005).
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
    """Return the mean embedding of each label, scaled to length 1, float32 [count, E]."""
    sums = np.zeros((count, embedded.shape[1]))
    np.add.at(sums, labels, embedded)
    return unit_length(sums).astype(np.float32)


def fit_masks(
    scale: np.ndarray, masking: float, sensitivity: np.ndarray | None, salience: float
) -> np.ndarray:
    """Return the factor of each class on its steps, float32 [K].

    Their geometric mean is 1 before clipping.

    Busy texture hides errors (visual masking): the factor grows with its energy to the power
    `masking`. Classes to which an extractor is sensitive get finer steps: `sensitivity`, from
    `sensitivity_of_classes`, to the power `salience` / -2. With a salience of 1 and no masking the
    squared errors, weighted by their effect on the features, are spread evenly.
    """
    energy = np.log(scale) @ EVIDENCE / EVIDENCE.sum()
    logs = masking * (energy - energy.mean())
    if sensitivity is not None and salience:
        logs -= salience / 2 * (np.log(sensitivity) - np.log(sensitivity).mean())
    return np.clip(np.exp(logs), 0.3, 3.0).astype(np.float32)


def sensitivity_of_classes(changes: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Return the sensitivity of an extractor's features to squared errors, float64 [count].

    `changes` float32 [n, 2]: squared change of the features and of the pixels at each position.
    Each class is given twenty more positions with the mean of the sample, so that a rare class is
    close to the mean.
    """
    prior = 20 * changes.mean(0)
    features, pixels = (
        np.bincount(labels, column, count) + extra
        for column, extra in zip(changes.T, prior, strict=True)
    )
    return features / pixels


def unfitted_classes(scale: np.ndarray, masks: np.ndarray, embedding: np.ndarray) -> TextureClasses:
    """Return classes whose expected magnitudes are known for texture bands only."""
    magnitude = np.zeros((len(scale), BANDS), np.int32)
    magnitude[:, TEXTURE_INDEX] = np.round(MAGNITUDE_UNIT * scale / masks[:, None])
    return TextureClasses(scale, magnitude, masks, embedding)
