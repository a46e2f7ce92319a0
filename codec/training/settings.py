"""The options of a training run: all that decides the weights, except the photos.

Plain values only, so that the command line can list them without loading torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from underpaint.codec.errors import UsageError
from underpaint.codec.limits import (
    MAX_CLASSES,
    MAX_HEAD_WIDTH,
    MAX_LAYERS,
    MAX_NETWORK_DEPTH,
    MAX_NETWORK_WIDTH,
    MAX_PREDICTION_WIDTH,
)
from underpaint.codec.reconstruct.network_shape import NetworkShape
from underpaint.codec.training.options import check_options, option, seed
from underpaint.codec.transform.prediction_shape import MOST_LEVELS

Kept = Literal["network", "classes", "all"]
"""Parts of earlier weights that a run keeps: the network; the classes, the semantic head and the
learned lifting step too; or all but the statistics of latents."""


EXTRACTOR_INPUTS = ("imagenet", "caffe", "unit")
"""Pixel values that an extractor may expect, see `semantic_layers.PREPARATIONS`."""

LEAST_CROP = 64
"""Least side of a crop in pixels."""

MOST_EMBEDDING = 117
"""Longest embedding: the principal axes of the head's inputs, of which there are so many."""

FACTOR = {"least": 0.001, "most": 1000}
"""Values of factors on quantisation steps."""

WEIGHT = {"least": 0, "most": 1e6}
"""Values of weights of costs."""


@dataclass(frozen=True)
class Recipe:
    """Choices of one profile: what is fitted by counting."""

    profile: str = "fidelity"
    """Name of the profile."""
    finest_step: float = option(
        10.0,
        "quantisation step of the finest state, in orthonormal coefficients",
        least=0.01,
        most=1e4,
    )
    level_steps: tuple[float, ...] = option(
        (1.0,) * 7, "factors on the step for the low band and levels 1 (finest) to 6", **FACTOR
    )
    first_chroma_steps: tuple[float, ...] = option(
        (1.0,) * 7, "factors, on top of these, on the steps of the first chroma component", **FACTOR
    )
    second_chroma_steps: tuple[float, ...] = option(
        (1.0,) * 7,
        "factors, on top of these, on the steps of the second chroma component",
        **FACTOR,
    )
    diagonal_steps: tuple[float, ...] = option(
        (1.0,) * 6,
        "factors, on top of these, on the steps of diagonal details of lightness, levels 1 to 6",
        **FACTOR,
    )
    masking: float = option(
        0.0, "exponent of a class's texture energy in its quantisation steps", least=0, most=10
    )
    salience: float = option(
        0.0,
        "exponent of a class's salience for the extractor in its steps; needs --extractor",
        least=0,
        most=10,
    )
    knee: float = option(8.0, "knee of the compander, in finest steps", **FACTOR)
    power: float = option(
        1.0, "power of the compander; 1 means uniform quantisation", least=0.1, most=4
    )
    mixes_splits: bool = option(
        False, "mix several estimates for splits of the zero cell: fewer bits, slower decoding"
    )
    shear: tuple[float, float] = option(
        (0.0, 0.0), "how much of the two chroma components lightness contains", least=-1, most=1
    )
    classes: int = option(64, "size of the codebook of texture classes", least=1, most=MAX_CLASSES)
    palette_budgets: tuple[float, ...] = option(
        (0.9, 1.6),
        "maximal bits for each position of the class map, one number a palette state",
        **WEIGHT,
    )
    smoothing: float = option(
        12.0, "cost of a border between classes in the map, in bits of texture", **WEIGHT
    )
    evidence: float = option(
        20.0, "weight of semantics in the choice of a class, in bits of texture", **WEIGHT
    )
    merge_latent: float = option(
        1.0, "weight of additional bits in the cost of merging two palette entries", **WEIGHT
    )
    merge_texture: float = option(
        30.0, "weight of the texture distance in the cost of merging two palette entries", **WEIGHT
    )
    merge_semantic: float = option(
        30.0, "weight of the semantic distance in the cost of merging two palette entries", **WEIGHT
    )
    merge_colour: float = option(
        0.0, "weight of the colour distance in the cost of merging two palette entries", **WEIGHT
    )
    extractor: str = option(
        "",
        "path or URL of an ONNX network that teaches semantics; without it, only texture is used",
    )
    extractor_input: str = option(
        "imagenet",
        "pixel values that the extractor expects: imagenet, caffe or unit",
        choices=EXTRACTOR_INPUTS,
    )
    pseudo_labels: int = option(
        128, "number of pseudo-labels that the semantic head is trained on", least=1
    )
    contrastive_steps: int = option(
        1500, "steps of contrastive learning of the semantic head", least=0
    )
    embedding: int = option(
        16, "length of the embeddings of the semantic head", least=1, most=MOST_EMBEDDING
    )
    head_width: int = option(
        64, "number of hidden units of the semantic head", least=1, most=MAX_HEAD_WIDTH
    )
    class_photos: int = option(300, "number of photos for fitting the classes", least=1)
    class_rounds: int = option(20, "rounds of expectation maximisation of the classes", least=1)
    context_photos: int = option(
        300, "number of photos for fitting the weights of contexts", least=1
    )
    latent_photos: int = option(300, "number of photos for the statistics of latents", least=1)
    seed: int = seed()

    def __post_init__(self) -> None:
        """Raise UsageError for a value that an option may not have."""
        check_options(self)
        if self.salience and not self.extractor:
            raise UsageError("--salience: no effect without --extractor; give both or neither")


@dataclass(frozen=True)
class TrainingPlan:
    """How the backward network is trained."""

    steps: int = option(10_000, "optimiser steps", least=0)
    batch: int = option(8, "crops in each step", least=1)
    crop: int = option(
        160, "side of a crop in pixels, a multiple of 32", least=LEAST_CROP, multiple_of=32
    )
    drawn: float = option(
        0.15, "share of crops of drawn pictures: flat colours, text, charts", least=0, most=1
    )
    learning_rate: float = option(
        1.5e-3, "peak learning rate; it decays to zero along a cosine", above=0, most=1
    )
    warm_up: int = option(200, "steps of linear warm-up", least=0)
    average: float = option(0.998, "decay of the moving average of the weights", least=0, below=1)
    ssim_weight: float = option(
        0.0, "share of 1 - MS-SSIM in the loss; the rest is squared error", least=0, most=1
    )
    feature_weight: float = option(
        0.0, "share of the distance in the extractor's features in the loss", least=0, most=1
    )
    feature_layers: int = option(
        3, "largest number of layers to which --feature-weight applies", least=0, most=MAX_LAYERS
    )
    pattern_weight: float = option(
        0.1, "weight of the penalty on patterns that repeat on the grid of positions", **WEIGHT
    )
    checkpoint_every: int = option(250, "steps between checkpoints", least=1)
    measure_every: int = option(1000, "steps between measurements on held-out photos", least=1)
    teacher_weight: float = option(
        0.0, "share of the distance to the pictures of --teacher in the loss", least=0, most=1
    )
    coarse_width: int = option(
        96, "channels of the network's trunk at 1/16 of the sides", least=1, most=MAX_NETWORK_WIDTH
    )
    coarse_hidden: int = option(96, "hidden units of its blocks", least=1, most=MAX_NETWORK_WIDTH)
    coarse_depth: int = option(2, "number of its blocks", least=1, most=MAX_NETWORK_DEPTH)
    fine_width: int = option(
        64, "channels of the network's trunk at 1/4 of the sides", least=1, most=MAX_NETWORK_WIDTH
    )
    fine_hidden: int = option(64, "hidden units of its blocks", least=1, most=MAX_NETWORK_WIDTH)
    fine_depth: int = option(4, "number of its blocks", least=1, most=MAX_NETWORK_DEPTH)
    shared: int = option(
        8, "channels that the fine trunk takes from the coarse one", least=1, most=MAX_NETWORK_WIDTH
    )
    seed: int = seed()

    def __post_init__(self) -> None:
        """Raise UsageError for a value that an option may not have."""
        check_options(self)
        if self.ssim_weight + self.feature_weight > 1:
            raise UsageError(
                f"--ssim-weight {self.ssim_weight} and --feature-weight {self.feature_weight}: "
                "shares of the loss, want at most 1 together"
            )

    def network_shape(self, classes: int, layers: int) -> NetworkShape:
        """Return the shape of the plan's network for so many classes and layers."""
        names = NetworkShape.__dataclass_fields__.keys() & self.__dataclass_fields__.keys()
        return NetworkShape(classes, layers, **{name: getattr(self, name) for name in names})

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step: linear warm-up, then a cosine to zero."""
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@dataclass(frozen=True)
class LiftingPlan:
    """How the learned lifting step is trained, before contexts are fitted to what it leaves."""

    lifting_steps: int = option(
        0, "optimiser steps of the learned lifting step; 0 does without", least=0
    )
    lifting_widths: tuple[int, ...] = option(
        (16, 24, 32, 32),
        "channels of the learned lifting step at levels 1 (finest) to 4",
        least=1,
        most=MAX_PREDICTION_WIDTH,
        lengths=tuple(range(1, MOST_LEVELS + 1)),
    )
    lifting_batch: int = option(8, "crops in each of these steps", least=1)
    lifting_crop: int = option(
        160, "side of these crops in pixels, a multiple of 32", least=LEAST_CROP, multiple_of=32
    )
    lifting_rate: float = option(2e-3, "peak learning rate of these steps", above=0, most=1)
    lifting_warm_up: int = option(
        300, "first of these steps, in which only the estimate of bits is trained", least=0
    )
    lifting_measure_every: int = option(
        500,
        "number of these steps between checkpoints and measurements on held-out photos",
        least=1,
    )
    seed: int = seed()

    def __post_init__(self) -> None:
        """Raise UsageError for a value that an option may not have."""
        check_options(self)

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
