"""What a training run is told: everything that decides the weights besides the photos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codec.bands import band_levels
from codec.wavelet import LEVELS
from codec.weights import CodecConfig, LayerPlan

WIDTHS = (1024, 512, 256, 128, 64, 32, 16, 8, 4, 2, 1)
"""Each state has half the cell width of the state before it."""

PLANS = (
    LayerPlan("merged palette, cells 32", 1, 6),
    LayerPlan("split palette, cells 16", 1, 1),
    LayerPlan("cells 8", 0, 1),
    LayerPlan("cells 4", 0, 1),
    LayerPlan("cells 2", 0, 1),
    LayerPlan("cells 1", 0, 1),
)


@dataclass(frozen=True)
class Recipe:
    """Choices of one profile.

    finest_step      quantisation step of the finest state, in orthonormal coefficients
    level_steps      factor on it for the low band and levels 1 to 6
    chroma_step      factor on it for the two chroma components
    masking          power of a class's texture energy in its steps
    classes          size of the codebook
    class_photos     photos that the classes are fitted on
    context_photos   photos that the activities are fitted on
    """

    profile: str = "balanced"
    finest_step: float = 8.0
    level_steps: tuple[float, ...] = (1.0,) * (LEVELS + 1)
    chroma_step: float = 1.0
    masking: float = 0.0
    classes: int = 64
    palette_budgets: tuple[float, ...] = (0.7, 1.6)
    smoothing: float = 12.0
    class_photos: int = 300
    class_rounds: int = 20
    context_photos: int = 200
    seed: int = 1

    def config(self) -> CodecConfig:
        """Return the configuration that the codec stores with its weights."""
        return CodecConfig(WIDTHS, PLANS, self.palette_budgets, self.smoothing, self.profile)

    def steps(self) -> np.ndarray:
        """Return the finest step of each band, float32 [BANDS]."""
        level, component = band_levels().T
        steps = self.finest_step * np.array(self.level_steps)[level]
        return np.where(component > 0, steps * self.chroma_step, steps).astype(np.float32)
