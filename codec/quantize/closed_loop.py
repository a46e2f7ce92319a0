"""Quantisation of a picture's bands, level by level, with details predicted in a closed loop.

An encoder predicts the details of a level from the low band that a decoder of the finest state
has, not from its own: an error of quantisation is then part of what the next level's residuals
code, and does not add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from underpaint.codec.quantize.cells import Cells
from underpaint.codec.quantize.compander import Compander
from underpaint.codec.quantize.rate_distortion import SEARCHED_LEVELS, spare_dear_ones
from underpaint.codec.quantize.reconstruction_points import level_points
from underpaint.codec.transform.band_lists import band_group
from underpaint.codec.transform.prediction import Predictions
from underpaint.codec.transform.subbands import LEVELS
from underpaint.codec.transform.wavelet import synthesise


@dataclass(frozen=True)
class Quantised:
    """Bands of pictures after quantisation, as lists that begin at level 1.

    residuals  float32 [N, 3, ...], bands less their predictions, in pixel units
    indices    int16 [N, 3, ...], finest indices
    """

    residuals: list[torch.Tensor]
    indices: list[torch.Tensor]


@dataclass(frozen=True)
class ClosedLoop:
    """How bands become finest indices.

    finest     the finest state of the scalar chain
    limit      largest magnitude of an index
    centroids  float32 [LEVELS + 1, 2, CENTROID_KINDS], of the finest state
    optimise   drop ones of the finest state that cost more than they are worth
    """

    finest: Cells
    limit: int
    compander: Compander
    centroids: np.ndarray
    optimise: bool = False

    def quantise(
        self,
        bands: Sequence[torch.Tensor],
        steps: Sequence[torch.Tensor],
        predictions: Predictions,
    ) -> Quantised:
        """Quantise bands, float32 [N, 3, ...] in rotated colours, by steps of their shapes.

        Gradients pass from residuals to the parameters of predictions, and nowhere else.
        """
        residuals, indices = list(bands), [torch.empty(0)] * len(bands)
        low, coarser = torch.empty(0), [torch.empty(0)] * 3
        for level in (0, *range(LEVELS, 0, -1)):
            group = band_group(level)
            details = predictions.details(level, low)
            if details is not None:
                residuals[group] = [
                    band - detail for band, detail in zip(bands[group], details, strict=True)
                ]
            values = [
                self.compander.compress(residual.detach() / step)
                for residual, step in zip(residuals[group], steps[group], strict=True)
            ]
            rounded = [value.round() for value in values]
            kept = rounded
            if self.optimise and 0 < level <= SEARCHED_LEVELS:
                kept = [spare_dear_ones(*b) for b in zip(values, rounded, coarser, strict=True)]
            coarser = rounded
            indices[group] = [band.clamp(-self.limit, self.limit).to(torch.int16) for band in kept]
            if predictions.needs_low_bands and level != 1:
                low = self._joined(level, low, indices[group], steps[group], details)
        return Quantised(residuals, indices)

    @torch.no_grad()
    def _joined(
        self,
        level: int,
        low: torch.Tensor,
        indices: Sequence[torch.Tensor],
        steps: Sequence[torch.Tensor],
        details: Sequence[torch.Tensor] | None,
    ) -> torch.Tensor:
        """Join a level to its low band, as a decoder of the finest state does."""
        points = level_points(indices, self.finest, self.compander, self.centroids[level])
        decoded = [point * step for point, step in zip(points, steps, strict=True)]
        if details is not None:
            decoded = [
                band + detail.detach() for band, detail in zip(decoded, details, strict=True)
            ]
        return synthesise([*decoded, low]) if level else decoded[0]
