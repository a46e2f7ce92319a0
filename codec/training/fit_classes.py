"""Fit the texture classes: a mixture of Laplace laws, by hard expectation maximisation."""

from __future__ import annotations

import numpy as np

from underpaint.codec.palette.classes import EVIDENCE, TEXTURE_INDEX, TextureClasses
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


def fit_masks(
    scale: np.ndarray, masking: float, notice: np.ndarray | None, salience: float
) -> np.ndarray:
    """Return each class's factor on its steps, float32 [K], of mean log zero before clipping.

    Busy texture hides coarser steps (visual masking): its energy to the power `masking`. What an
    extractor notices sooner gets finer ones: `notice`, as `notice_of_classes` gives it, to the
    power of `salience` / -2; with a salience of 1 and no masking, squared errors weighted by
    what they change in the features are spent evenly.
    """
    energy = np.log(scale) @ EVIDENCE / EVIDENCE.sum()
    logs = masking * (energy - energy.mean())
    if notice is not None and salience:
        logs -= salience / 2 * (np.log(notice) - np.log(notice).mean())
    return np.clip(np.exp(logs), 0.3, 3.0).astype(np.float32)


def notice_of_classes(noticed: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Return what a squared error changes in an extractor's features, by class, float64 [count].

    `noticed` float32 [n, 2]: changes of features and of pixels at each position. A few positions
    of the whole sample are added to each class, so that a rare one is near the mean.
    """
    prior = 20 * noticed.mean(0)
    features, pixels = (
        np.bincount(labels, column, count) + extra
        for column, extra in zip(noticed.T, prior, strict=True)
    )
    return features / pixels


def unfitted_classes(scale: np.ndarray, masks: np.ndarray, embedding: np.ndarray) -> TextureClasses:
    """Make classes whose law is known for texture bands only."""
    law = np.zeros((len(scale), BANDS), np.int32)
    law[:, TEXTURE_INDEX] = np.round(16 * scale / masks[:, None])
    return TextureClasses(scale, law, masks, embedding)
