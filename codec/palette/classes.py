"""Texture classes: a global codebook whose classes are laws of the latent vector.

A class says, for each band, how large coefficients are expected to be at a position of 16 x 16
pixels: it is one component of a mixture of Laplace laws, and so the hyperprior of all that
follows. It also says how coarsely its texture may be quantised (masking), and what it is about: the
mean of the semantic head's embeddings at its positions, which machines can use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from underpaint.codec.transform.subbands import COMPONENTS, band_index
from underpaint.codec.transform.wavelet import DYADIC_LEVELS, ORIENTATIONS

TEXTURE_BANDS = COMPONENTS * ORIENTATIONS * DYADIC_LEVELS
"""Bands of the levels that lie within one position: the texture of a class."""

EVIDENCE = np.repeat([2 ** (DYADIC_LEVELS - level) for level in range(1, 5)], 9).astype(np.float32)
"""Weight of each texture band in a code length, finest level first, float32 [36].

The square root of its number of coefficients at one position: neighbours in a band tell much of
the same, and with their full number the finest level would silence all others.
"""

TEXTURE_INDEX = np.array(
    [
        band_index(level, component, way)
        for level in range(1, DYADIC_LEVELS + 1)
        for component in range(COMPONENTS)
        for way in range(ORIENTATIONS)
    ]
)
"""Place of each texture band in walking order, int64 [36]."""

LAW_UNIT = 16
"""Laws are stored in sixteenths of a finest step, as integers."""


def texture_energies(bands: list[torch.Tensor], steps: np.ndarray) -> torch.Tensor:
    """Return the mean magnitude of each texture band at each position, in finest steps.

    `bands` as `wavelet.analyse` gives them for opponent colours, [N, 3, ...]; `steps` float32
    [BANDS]. The result is float32 [N, 36, h, w].
    """
    energies = []
    for level in range(1, DYADIC_LEVELS + 1):
        group = torch.stack(bands[ORIENTATIONS * (level - 1) : ORIENTATIONS * level], 2)
        index = [[band_index(level, c, way) for way in range(3)] for c in range(3)]
        step = torch.as_tensor(steps[index]).to(group)
        magnitude = (group / step[None, :, :, None, None]).abs().flatten(1, 2)
        side = 1 << (DYADIC_LEVELS - level)
        energies.append(torch.nn.functional.avg_pool2d(magnitude, side) if side > 1 else magnitude)
    return torch.cat(energies, 1)


@dataclass(frozen=True)
class TextureClasses:
    """The codebook.

    scale      float32 [K, 36], expected magnitude of each texture band, in finest steps
    law        int32 [K, BANDS], the same for every band after masking, in sixteenths of a step:
               the only part that the entropy coder reads
    mask       float32 [K], factor on the steps of the texture bands
    embedding  float32 [K, E], mean embedding of the class (`codec.palette.semantic_head`), of
    length 1
    """

    scale: np.ndarray
    law: np.ndarray
    mask: np.ndarray
    embedding: np.ndarray

    @property
    def count(self) -> int:
        """Number of classes, K."""
        return len(self.law)

    def code_lengths(self, energies: np.ndarray) -> np.ndarray:
        """Return the bits that each class's Laplace law spends on each position.

        `energies` float32 [positions, 36]; the result, float32 [positions, K], leaves out what is
        common to all classes.
        """
        per_sample = energies @ (EVIDENCE / self.scale).T
        return (per_sample + np.log(self.scale) @ EVIDENCE) * np.float32(1 / np.log(2.0))

    def costs(self, energies: np.ndarray, embedded: np.ndarray, evidence: float) -> np.ndarray:
        """Return what it costs, in bits, to give each position each class, float32 [positions, K].

        To the code lengths is added `evidence` times the squared distance between the position's
        embedding, `embedded` float32 [positions, E] of length 1, and the class's.
        """
        lengths = self.code_lengths(energies)
        if evidence:
            lengths -= embedded @ (self.embedding.T * np.float32(2 * evidence))
        return lengths

    def divergence(self) -> np.ndarray:
        """Return the bits a position loses, float32 [K, K], coded by column instead of its row."""
        lengths = self.code_lengths(self.scale)
        return lengths - np.diag(lengths)[:, None]


def smooth_assignment(lengths: np.ndarray, cost: float, sweeps: int = 4) -> np.ndarray:
    """Choose a class for each position: few bits for its texture, few changes in the map.

    `lengths` float32 [h, w, K] as `code_lengths` gives them; `cost` is the price, in the same
    bits, of each of the four neighbours that has another class. Iterated conditional modes (Besag
    1986) on the two colours of a checkerboard. Returns int64 [h, w].
    """
    h, w, count = lengths.shape
    labels = lengths.argmin(-1)
    colour = np.add.outer(np.arange(h), np.arange(w)) & 1
    eye = np.eye(count, dtype=np.float32) * np.float32(cost)
    for sweep in range(2 * sweeps):
        agree = np.zeros((h + 2, w + 2, count), np.float32)
        hot = eye[labels]
        agree[:-2, 1:-1] += hot
        agree[2:, 1:-1] += hot
        agree[1:-1, :-2] += hot
        agree[1:-1, 2:] += hot
        better = (lengths - agree[1:-1, 1:-1]).argmin(-1)
        labels = np.where(colour == sweep % 2, better, labels)
    return labels
