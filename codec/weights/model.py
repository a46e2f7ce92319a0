"""The weights of a codec in memory: configuration, integer tables, classes and network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from underpaint.codec.entropy.estimates import Estimates
from underpaint.codec.entropy.tables import cumulative
from underpaint.codec.palette.classes import TextureClasses
from underpaint.codec.palette.semantic_head import SemanticHead
from underpaint.codec.reconstruct.latent_statistics import LatentStatistics
from underpaint.codec.reconstruct.network_shape import NetworkShape
from underpaint.codec.transform.prediction_shape import PredictionShape
from underpaint.codec.weights.configuration import CodecConfig

if TYPE_CHECKING:
    import torch

    from underpaint.codec.reconstruct.network import BackwardNetwork
    from underpaint.codec.transform.prediction import DetailPrediction


@dataclass(frozen=True)
class Weights:
    """Everything that `underpaint train` produces, for S steps of the scalar chain.

    steps         float32 [BANDS], finest quantisation steps, in units of orthonormal coefficients
    activity      int32 [S, BANDS, FEATURES], weights of activities
    flag_activity int32 [S, FLAG_GROUPS, FLAG_FEATURES], weights of the activities of block flags
    sign_weights  int16 [S, BANDS, SIGN_FEATURES], weights of sign contexts
    frequencies   uint16 [tables, MOST_CHILDREN]: see `entropy.tables`
    estimates     where the estimates of splits and signs start
    centroids     float32 [S, LEVELS + 1, 2, CENTROID_KINDS]: see `quantize.cell_tables`
    latents       mean and standard deviation of latents, for each number of layers
    parameters    of the backward network, by name: see `NetworkShape.parameters`
    prediction_shape       of the learned lifting step; None: there is none
    prediction_parameters  by name: see `PredictionShape.parameters`
    id            16 hex digits of the SHA-256 of the weights file
    """

    config: CodecConfig
    steps: np.ndarray
    classes: TextureClasses
    head: SemanticHead
    activity: np.ndarray
    flag_activity: np.ndarray
    sign_weights: np.ndarray
    frequencies: np.ndarray
    estimates: Estimates
    centroids: np.ndarray
    latents: LatentStatistics
    network_shape: NetworkShape
    parameters: Mapping[str, np.ndarray]
    prediction_shape: PredictionShape | None = None
    prediction_parameters: Mapping[str, np.ndarray] = field(default_factory=dict)
    id: str = "0" * 16

    @cached_property
    def cumulative(self) -> np.ndarray:
        """The tables in the form of the range coder, uint32 [tables, MOST_CHILDREN + 1]."""
        return cumulative(self.frequencies)

    @cached_property
    def network(self) -> BackwardNetwork:
        """The backward network in float32, on the CPU; torch is imported for it only."""
        from underpaint.codec.reconstruct.network import BackwardNetwork

        return BackwardNetwork.of(self.network_shape, self.parameters)

    def with_network(self, network: BackwardNetwork) -> Weights:
        """Return weights with the parameters of another network."""
        return replace(self, network_shape=network.shape, parameters=network.parameter_arrays())

    def prediction_on(self, device: torch.device) -> DetailPrediction | None:
        """Return the learned lifting step in float32 on a device; None if there is none."""
        if self.prediction_shape is None:
            return None
        from underpaint.codec.transform.prediction import DetailPrediction

        return DetailPrediction.of(self.prediction_shape, self.prediction_parameters).to(device)

    def with_prediction(self, prediction: DetailPrediction | None) -> Weights:
        """Return weights with another learned lifting step, in float16 as it is stored."""
        if prediction is None:
            return replace(self, prediction_shape=None, prediction_parameters={})
        parameters = {
            name: array.astype(np.float16) for name, array in prediction.parameter_arrays().items()
        }
        return replace(self, prediction_shape=prediction.shape, prediction_parameters=parameters)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays but those of networks, by their names in a weights file."""
        return {
            "steps": self.steps,
            "classes.scale": self.classes.scale,
            "classes.law": self.classes.expected_magnitude,
            "classes.mask": self.classes.mask,
            "classes.embedding": self.classes.embedding,
            "semantics.widen": self.head.widen,
            "semantics.narrow": self.head.narrow,
            "semantics.skip": self.head.skip,
            "activity": self.activity,
            "flag_activity": self.flag_activity,
            "sign_weights": self.sign_weights,
            "frequencies": self.frequencies,
            "estimates.shares": self.estimates.shares,
            "estimates.counts": self.estimates.counts,
            "estimates.mixing": self.estimates.mixing,
            "centroids": self.centroids,
            "latents.mean": self.latents.mean,
            "latents.std": self.latents.std,
        }
