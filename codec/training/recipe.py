"""The configuration of the codec that a recipe defines."""

from __future__ import annotations

import numpy as np

from underpaint.codec.palette.merging import MergeWeights
from underpaint.codec.quantize.compander import Compander
from underpaint.codec.training.settings import Recipe
from underpaint.codec.transform.subbands import LEVELS, ORIENTATIONS, band_index, band_levels
from underpaint.codec.weights.configuration import CodecConfig, LayerPlan

WIDTHS = (32, 16, 8, 4, 2, 1)
"""Cell widths of the chain: each state has half the width of the state before."""

PLANS = (
    LayerPlan("merged palette, cells 32", 1, 1),
    LayerPlan("split palette, cells 16", 1, 1),
    LayerPlan("cells 8", 0, 1),
    LayerPlan("cells 4", 0, 1),
    LayerPlan("cells 2", 0, 1),
    LayerPlan("cells 1", 0, 1),
)


def codec_config(recipe: Recipe) -> CodecConfig:
    """Return the configuration that the codec stores with its weights."""
    return CodecConfig(
        widths=WIDTHS,
        layers=PLANS,
        palette_budgets=tuple(recipe.palette_budgets),
        compander=Compander(recipe.knee, recipe.power),
        merge=MergeWeights(
            latent=recipe.merge_latent,
            texture=recipe.merge_texture,
            semantic=recipe.merge_semantic,
            colour=recipe.merge_colour,
        ),
        evidence=recipe.evidence,
        smoothing=recipe.smoothing,
        profile=recipe.profile,
        mixes_splits=recipe.mixes_splits,
        shear=recipe.shear,
    )


def finest_steps(recipe: Recipe) -> np.ndarray:
    """Return the finest step of each band, float32 [BANDS]."""
    level, component = band_levels().T
    beside_lightness = np.array(
        [(1.0,) * (LEVELS + 1), recipe.first_chroma_steps, recipe.second_chroma_steps]
    )
    steps = recipe.finest_step * np.array(recipe.level_steps)[level]
    steps *= beside_lightness[component, level]
    diagonal = [band_index(level, 0, ORIENTATIONS - 1) for level in range(1, LEVELS + 1)]
    steps[diagonal] *= recipe.diagonal_steps
    return steps.astype(np.float32)
