"""Weights with a learned lifting step that is drawn at random, strong enough to show in pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from underpaint.codec.transform.prediction import DetailPrediction
from underpaint.codec.transform.prediction_shape import PredictionShape
from underpaint.codec.weights.loading import load_weights, pack_weights, unpack_weights
from underpaint.codec.weights.model import Weights

WIDTHS = (5, 8, 7, 4)


def random_prediction(widths: Sequence[int], states: int, seed: int = 3) -> DetailPrediction:
    """A step whose parameters are normal draws."""
    step = DetailPrediction(PredictionShape(tuple(widths), states))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in step.parameters():
            parameter.normal_(0, 0.12, generator=generator)
    return step


def predicting_weights(profile: str = "fidelity", widths: Sequence[int] = WIDTHS) -> Weights:
    """The weights of a profile with a random step, as a weights file gives them."""
    weights = load_weights(profile)
    step = random_prediction(widths, len(weights.config.widths))
    return unpack_weights(pack_weights(weights.with_prediction(step)))
