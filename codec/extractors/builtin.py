"""Features from the wavelet analysis: classes, textures, meaning and colours of a picture.

    picture ─resized to 128 x 128──> bands ─> class map ───────────> share of each class  [K]
                                         ├──> texture energies ────> mean and deviation   [2 x 36]
                                         ├──> semantic embeddings ─> mean                 [E]
                                         └──> low band, 4 x 4 ─────> colour layout        [3 x 16]

K is the number of texture classes of the weights, E the length of their embeddings, so a vector has
K + E + 120 values. Pictures of similar textures and colours are close; their content counts as far
as the semantic head can derive it from these. Resizing gives textures the same scale, and pictures
of any size the same cost. The small square and the lower bound of the energies keep copies of a
picture close that were scaled or compressed again.
"""

from __future__ import annotations

import numpy as np
import torch

from underpaint.codec.analysis import Spectrum, transform
from underpaint.codec.extractors.base import Preprocessing, unit_length
from underpaint.codec.extractors.names import UNDERPAINT
from underpaint.codec.palette.classes import TEXTURE_BANDS
from underpaint.codec.transform.subbands import COMPONENTS
from underpaint.codec.weights.model import Weights

VERSION = 1
"""Version of the features, for equal weights."""

SIDE = 128
GRID = 4
"""Rows and columns of the grid over which colours are averaged."""

HISTOGRAM_WEIGHT, TEXTURE_WEIGHT, MEANING_WEIGHT, COLOUR_WEIGHT = 1.0, 0.5, 1.0, 0.4
"""Lengths of the four parts before the vector is scaled to length 1."""

LEAST_ENERGY = 0.35
"""Lower bound of energies, in finest steps: smaller ones are noise or compression artefacts."""

MOST_DEVIATION = 3.0
"""Log energies are clipped to this many deviations of the codebook."""

CHROMA_WEIGHT = 2.0
"""Weight of chroma, which varies less than lightness in photos and distinguishes more."""


class TextureFeatures:
    """The extractor `underpaint`."""

    def __init__(self, weights: Weights, device: str = "cpu") -> None:
        """Take the weights of the codec; bands are computed on `device`."""
        self.name = UNDERPAINT
        self.identity = f"{UNDERPAINT}:{VERSION}#weights={weights.id}"
        own = 2 * TEXTURE_BANDS + COMPONENTS * GRID * GRID
        self.size = weights.classes.count + weights.head.size + own
        self._weights = weights
        self._device = torch.device(device)
        self.preprocessing = Preprocessing(SIDE, crop=None)
        scales = np.log(weights.classes.scale.clip(LEAST_ENERGY))
        self._mean, self._deviation = scales.mean(0), scales.std(0) + 1e-3

    @torch.inference_mode()
    def features(self, fitted: np.ndarray) -> np.ndarray:
        """See `Extractor`."""
        pixels = torch.from_numpy(np.ascontiguousarray(fitted)).to(self._device)
        pixels = pixels.permute(0, 3, 1, 2).float()
        spectrum = transform(pixels, self._weights.steps, None, self._weights.config.shear)
        layout = torch.nn.functional.adaptive_avg_pool2d(spectrum.colours, GRID)
        energies = spectrum.energies_by_position.clip(LEAST_ENERGY)
        by_position = energies.reshape(len(energies), -1, TEXTURE_BANDS)
        parts = (
            (HISTOGRAM_WEIGHT, self._histogram(by_position)),
            (TEXTURE_WEIGHT, self._texture(by_position)),
            (MEANING_WEIGHT, self._meaning(spectrum)),
            (COLOUR_WEIGHT, _colour(layout.flatten(2).cpu().numpy())),
        )
        return unit_length(np.concatenate([w * unit_or_zero(part) for w, part in parts], 1))

    def _histogram(self, energies: np.ndarray) -> np.ndarray:
        """Return the root of the share of each class, [N, K], of energies [N, positions, 36].

        The dot product of two such roots is the Bhattacharyya coefficient of the histograms.
        """
        classes = self._weights.classes
        found = np.empty((len(energies), classes.count), np.float32)
        for image, energy in enumerate(energies):
            nearest = classes.code_lengths(energy).argmin(-1)
            found[image] = np.bincount(nearest, minlength=classes.count)
        return np.sqrt(found / energies.shape[1])

    def _texture(self, energies: np.ndarray) -> np.ndarray:
        """Return mean and deviation of log energies, relative to the codebook, [N, 72]."""
        scaled = (np.log(energies) - self._mean) / self._deviation
        scaled = scaled.clip(-MOST_DEVIATION, MOST_DEVIATION)
        return np.concatenate([scaled.mean(1), scaled.std(1)], 1)

    def _meaning(self, spectrum: Spectrum) -> np.ndarray:
        """Mean of the semantic embeddings of all positions, [N, E]."""
        embed = self._weights.head.embed
        return np.stack([embed(inputs).mean((0, 1)) for inputs in spectrum.head_inputs()])


def _colour(opponent: np.ndarray) -> np.ndarray:
    """Return the colours of the parts of a picture, [N, 48], of opponent means [N, 3, 16]."""
    weights = np.array([[1], [CHROMA_WEIGHT], [CHROMA_WEIGHT]], np.float32)
    return (opponent * weights).reshape(len(opponent), -1)


def unit_or_zero(part: np.ndarray) -> np.ndarray:
    """Scale each row to length 1; a row of zeros (mid-grey has no colour) is unchanged."""
    return part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-6)
