"""Texture classes: a global codebook of Laplace distributions of the wavelet coefficients.

A class holds the expected magnitude of the coefficients of each band at a position of 16 x 16
pixels. It is one component of a mixture of Laplace distributions and serves as the hyperprior of
the stream. A class also holds the masking factor of its quantisation steps, and the mean of the
semantic head's embeddings at its positions, which tasks other than viewing can use.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from underpaint.codec.transform.subbands import COMPONENTS, DYADIC_LEVELS, ORIENTATIONS, band_index

if TYPE_CHECKING:
    import torch

TEXTURE_BANDS = COMPONENTS * ORIENTATIONS * DYADIC_LEVELS
"""Bands of the levels that lie within one position; they describe its texture."""

EVIDENCE = np.repeat([2 ** (DYADIC_LEVELS - level) for level in range(1, 5)], 9).astype(np.float32)
"""Weight of each texture band in a code length, finest level first, float32 [36].

The square root of the number of its coefficients at one position: neighbours in a band are
correlated, and with their full number the finest level would outweigh all others.
"""

TEXTURE_INDEX = np.array(
    [
        band_index(level, component, orientation)
        for level in range(1, DYADIC_LEVELS + 1)
        for component in range(COMPONENTS)
        for orientation in range(ORIENTATIONS)
    ]
)
"""Row of each texture band in the table of bands, int64 [36]."""

MAGNITUDE_UNIT = 16
"""Expected magnitudes are stored as integers in sixteenths of a finest step."""


def texture_energies(bands: list[torch.Tensor], steps: np.ndarray) -> torch.Tensor:
    """Return the mean magnitude of each texture band at each position, in finest steps.

    `bands` from `wavelet.analyse` of opponent colours, [N, 3, ...]; `steps` float32 [BANDS].
    Returns float32 [N, 36, h, w].
    """
    import torch

    energies = []
    for level in range(1, DYADIC_LEVELS + 1):
        group = torch.stack(bands[ORIENTATIONS * (level - 1) : ORIENTATIONS * level], 2)
        index = [[band_index(level, c, o) for o in range(ORIENTATIONS)] for c in range(COMPONENTS)]
        step = torch.as_tensor(steps[index]).to(group)
        magnitude = (group / step[None, :, :, None, None]).abs().flatten(1, 2)
        side = 1 << (DYADIC_LEVELS - level)
        energies.append(torch.nn.functional.avg_pool2d(magnitude, side) if side > 1 else magnitude)
    return torch.cat(energies, 1)


@dataclass(frozen=True)
class TextureClasses:
    """The codebook.

    scale               float32 [K, 36], expected magnitude of each texture band, in finest steps
    expected_magnitude  int32 [K, BANDS], the same for every band after masking, in sixteenths of a
                        step; the only part that the entropy coder reads
    mask                float32 [K], factor on the steps of the texture bands
    embedding           float32 [K, E], mean embedding of the class, of length 1
    """

    scale: np.ndarray
    expected_magnitude: np.ndarray
    mask: np.ndarray
    embedding: np.ndarray

    @property
    def count(self) -> int:
        """Number of classes, K."""
        return len(self.expected_magnitude)

    def code_lengths(self, energies: np.ndarray) -> np.ndarray:
        """Return the code length of each position under each class, in bits.

        `energies` float32 [positions, 36]; returns float32 [positions, K], without the terms that
        are common to all classes.
        """
        per_sample = energies @ (EVIDENCE / self.scale).T
        return (per_sample + np.log(self.scale) @ EVIDENCE) * np.float32(1 / np.log(2.0))

    def in_steps(self, ratio: np.ndarray) -> TextureClasses:
        """Return the same classes for energies in other finest steps; expected magnitudes stay.

        `ratio` float32 [36], new steps over old ones, by texture band.
        """
        return replace(self, scale=self.scale / ratio)

    def costs(self, energies: np.ndarray, embedded: np.ndarray, evidence: float) -> np.ndarray:
        """Return the cost of each class at each position in bits, float32 [positions, K].

        The cost is the code length plus `evidence` times the squared distance between the
        embeddings of position and class; `embedded` float32 [positions, E], of length 1.
        """
        lengths = self.code_lengths(energies)
        if evidence:
            lengths -= embedded @ (self.embedding.T * np.float32(2 * evidence))
        return lengths

    def divergence(self) -> np.ndarray:
        """Return the bits lost per position if the class of the column codes that of the row.

        float32 [K, K].
        """
        lengths = self.code_lengths(self.scale)
        return lengths - np.diag(lengths)[:, None]


def smooth_assignment(lengths: np.ndarray, cost: float, sweeps: int = 4) -> np.ndarray:
    """Choose a class for each position, trading code length against changes in the map.

    `lengths` float32 [h, w, K], from `TextureClasses.costs`; `cost` is added, in bits, for each of
    the four neighbours of another class. Returns int64 [h, w].

    Source: iterated conditional modes (Besag 1986), on the two colours of a checkerboard.
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
