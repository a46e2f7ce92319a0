"""A perceptual loss: the distance of two pictures in the features of a network.

A feature map counts by the angle between its vectors at each position.

Source: Zhang et al. 2018 ("The unreasonable effectiveness of deep features as a perceptual
metric"), without their learned weights.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from underpaint.codec.training.onnx_in_torch import JoinFeatures
from underpaint.codec.training.semantic_layers import PREPARATIONS, open_network


class FeatureDistance:
    """Distance of pictures in the features of an ONNX network of convolutions."""

    def __init__(self, location: str, preparation: str, device: torch.device) -> None:
        """Read an ONNX file from a path or URL; `preparation` as in `semantic_layers`.

        Raises UsageError if it cannot be read or holds an operator that is not supported.
        """
        self._network = JoinFeatures(open_network(location), location, device)
        how = PREPARATIONS[preparation]
        self._order = [2, 1, 0] if how.bgr else [0, 1, 2]
        self._mean, self._deviation = (
            torch.tensor(figures, device=device)[:, None, None]
            for figures in (how.mean, how.deviation)
        )

    def features(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Return unit vectors [N, C, h, w] of each join for float RGB [N, 3, H, W] in 0..255."""
        prepared = (pixels[:, self._order] - self._mean) / self._deviation
        return [functional.normalize(m, dim=1, eps=1e-3) for m in self._network(prepared)]

    def __call__(self, original: list[torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
        """Return the mean squared distance to `features` of the originals, a scalar."""
        pairs = zip(original, self.features(pixels), strict=True)
        return torch.stack([(a - b).square().sum(1).mean() for a, b in pairs]).mean()
