"""The options of a training run: all that decides the weights, except the photos.

Plain values only, so that the command line can list them without loading torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

Kept = Literal["network", "classes", "all"]
"""Parts of earlier weights that a run keeps: the network; the classes, the semantic head and the
learned lifting step too; or all but the statistics of latents."""


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Recipe:
    """Choices of one profile: what is fitted by counting."""

    profile: str = "fidelity"
    """Name of the profile."""
    finest_step: float = _option(
        10.0, "quantisation step of the finest state, in orthonormal coefficients"
    )
    level_steps: tuple[float, ...] = _option(
        (1.0,) * 7, "factors on the step for the low band and levels 1 (finest) to 6"
    )
    first_chroma_steps: tuple[float, ...] = _option(
        (1.0,) * 7, "factors, on top of these, on the steps of the first chroma component"
    )
    second_chroma_steps: tuple[float, ...] = _option(
        (1.0,) * 7, "factors, on top of these, on the steps of the second chroma component"
    )
    diagonal_steps: tuple[float, ...] = _option(
        (1.0,) * 6,
        "factors, on top of these, on the steps of diagonal details of lightness, levels 1 to 6",
    )
    masking: float = _option(0.0, "exponent of a class's texture energy in its quantisation steps")
    salience: float = _option(
        0.0, "exponent of a class's salience for the extractor in its steps; needs --extractor"
    )
    knee: float = _option(8.0, "knee of the compander, in finest steps")
    power: float = _option(1.0, "power of the compander; 1 means uniform quantisation")
    mixes_splits: bool = _option(
        False, "mix several estimates for splits of the zero cell: fewer bits, slower decoding"
    )
    shear: tuple[float, float] = _option(
        (0.0, 0.0), "how much of the two chroma components lightness contains"
    )
    classes: int = _option(64, "size of the codebook of texture classes")
    palette_budgets: tuple[float, ...] = _option(
        (0.9, 1.6), "maximal bits for each position of the class map, one number a palette state"
    )
    smoothing: float = _option(
        12.0, "cost of a border between classes in the map, in bits of texture"
    )
    evidence: float = _option(
        20.0, "weight of semantics in the choice of a class, in bits of texture"
    )
    merge_latent: float = _option(
        1.0, "weight of additional bits in the cost of merging two palette entries"
    )
    merge_texture: float = _option(
        30.0, "weight of the texture distance in the cost of merging two palette entries"
    )
    merge_semantic: float = _option(
        30.0, "weight of the semantic distance in the cost of merging two palette entries"
    )
    merge_colour: float = _option(
        0.0, "weight of the colour distance in the cost of merging two palette entries"
    )
    extractor: str = _option(
        "",
        "path or URL of an ONNX network that teaches semantics; without it, only texture is used",
    )
    extractor_input: str = _option(
        "imagenet", "pixel values that the extractor expects: imagenet, caffe or unit"
    )
    pseudo_labels: int = _option(
        128, "number of pseudo-labels that the semantic head is trained on"
    )
    contrastive_steps: int = _option(1500, "steps of contrastive learning of the semantic head")
    embedding: int = _option(16, "length of the embeddings of the semantic head")
    head_width: int = _option(64, "number of hidden units of the semantic head")
    class_photos: int = _option(300, "number of photos for fitting the classes")
    class_rounds: int = _option(20, "rounds of expectation maximisation of the classes")
    context_photos: int = _option(300, "number of photos for fitting the weights of contexts")
    latent_photos: int = _option(300, "number of photos for the statistics of latents")
    seed: int = 1


@dataclass(frozen=True)
class TrainingPlan:
    """How the backward network is trained."""

    steps: int = _option(10_000, "optimiser steps")
    batch: int = _option(8, "crops in each step")
    crop: int = _option(160, "side of a crop in pixels, a multiple of 32")
    drawn: float = _option(0.15, "share of crops of drawn pictures: flat colours, text, charts")
    learning_rate: float = _option(1.5e-3, "peak learning rate; it decays to zero along a cosine")
    warm_up: int = _option(200, "steps of linear warm-up")
    average: float = _option(0.998, "decay of the moving average of the weights")
    ssim_weight: float = _option(0.0, "share of 1 - MS-SSIM in the loss; the rest is squared error")
    feature_weight: float = _option(
        0.0, "share of the distance in the extractor's features in the loss"
    )
    feature_layers: int = _option(3, "largest number of layers to which --feature-weight applies")
    pattern_weight: float = _option(
        0.1, "weight of the penalty on patterns that repeat on the grid of positions"
    )
    checkpoint_every: int = _option(250, "steps between checkpoints")
    measure_every: int = _option(1000, "steps between measurements on held-out photos")
    teacher_weight: float = _option(
        0.0, "share of the distance to the pictures of --teacher in the loss"
    )
    coarse_width: int = _option(96, "channels of the network's trunk at 1/16 of the sides")
    coarse_hidden: int = _option(96, "hidden units of its blocks")
    coarse_depth: int = _option(2, "number of its blocks")
    fine_width: int = _option(64, "channels of the network's trunk at 1/4 of the sides")
    fine_hidden: int = _option(64, "hidden units of its blocks")
    fine_depth: int = _option(4, "number of its blocks")
    shared: int = _option(8, "channels that the fine trunk takes from the coarse one")
    seed: int = 1

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step: linear warm-up, then a cosine to zero."""
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@dataclass(frozen=True)
class LiftingPlan:
    """How the learned lifting step is trained, before contexts are fitted to what it leaves."""

    lifting_steps: int = _option(0, "optimiser steps of the learned lifting step; 0 does without")
    lifting_widths: tuple[int, ...] = _option(
        (16, 24, 32, 32), "channels of the learned lifting step at levels 1 (finest) to 4"
    )
    lifting_batch: int = _option(8, "crops in each of these steps")
    lifting_crop: int = _option(160, "side of these crops in pixels, a multiple of 32")
    lifting_rate: float = _option(2e-3, "peak learning rate of these steps")
    lifting_warm_up: int = _option(
        300, "first of these steps, in which only the estimate of bits is trained"
    )
    lifting_measure_every: int = _option(
        500, "number of these steps between checkpoints and measurements on held-out photos"
    )
    seed: int = 1

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step: none in the warm-up, then a cosine to zero."""
        done = step - self.lifting_warm_up
        return self.lifting_rate * min(1.0, max(0, done + 1) / 100) * self.decay_at(step)

    def decay_at(self, step: int) -> float:
        """Return the share that a step has of peak rates: 1 in the warm-up, then a cosine to 0."""
        whole = max(1, self.lifting_steps - self.lifting_warm_up)
        done = min(1.0, max(0, step - self.lifting_warm_up) / whole)
        return 0.5 * (1 + math.cos(math.pi * done))


PROFILES = {
    "perceptual": (
        Recipe(
            profile="perceptual",
            level_steps=(0.72, 2.04, 1.02, 0.67, 0.55, 0.51, 0.64),
            first_chroma_steps=(1.2, 0.99, 1.48, 1.62, 1.53, 1.51, 1.3),
            second_chroma_steps=(1.2, 0.86, 1.27, 1.39, 1.32, 1.3, 1.12),
            diagonal_steps=(1.0, 1.35, 1.25, 1.0, 1.0, 1.0),
            masking=0.8,
            knee=4.0,
            power=0.75,
            shear=(0.125, 0.5),
        ),
        TrainingPlan(ssim_weight=0.6, feature_weight=0.15),
        LiftingPlan(),
    ),
    "fidelity": (
        Recipe(profile="fidelity", mixes_splits=True),
        TrainingPlan(
            coarse_width=160, coarse_hidden=320, coarse_depth=4, fine_hidden=128, shared=16
        ),
        LiftingPlan(),
    ),
}
"""Recipe and plans of each profile, the default first: `perceptual` for visual quality (MS-SSIM),
`fidelity` for squared error (PSNR)."""
