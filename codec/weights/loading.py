"""Reads and writes weights files: safetensors, named by the hash of their content.

The file holds the integer tables, the classes, the steps and the network; its metadata holds the
configuration as JSON. Nothing is pickled.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from underpaint.codec.entropy.estimates import Estimates
from underpaint.codec.errors import WeightsDamaged
from underpaint.codec.palette.classes import TextureClasses
from underpaint.codec.palette.merging import MergeWeights
from underpaint.codec.palette.semantic_head import SemanticHead
from underpaint.codec.quantize.compander import Compander
from underpaint.codec.reconstruct.latent_statistics import LatentStatistics
from underpaint.codec.reconstruct.network_shape import NetworkShape
from underpaint.codec.transform.prediction_shape import PredictionShape
from underpaint.codec.weights.configuration import CodecConfig, LayerPlan
from underpaint.codec.weights.header import (
    METADATA,
    PROFILES,
    WEIGHTS_FORMAT,
    content_id,
    fetch_weights,
    metadata,
    named,
)
from underpaint.codec.weights.model import Weights
from underpaint.codec.weights.rules import (
    check_config,
    check_network_shape,
    check_parameters,
    check_prediction_shape,
    check_weights,
)

_NETWORK = "network."
_PREDICTION = "prediction."

_UNREADABLE = (
    SafetensorError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Errors that a file of any other content may cause."""


def load_weights(path: str | None) -> Weights:
    """Load weights from a path, URL or profile name; None is the default profile.

    Raises UsageError if there are none and WeightsDamaged if they are not valid.
    """
    data = fetch_weights(path)
    with named(path):
        return unpack_weights(data)


def matching(location: str | None, made_with: str) -> str | None:
    """Return the location of the weights that read streams made with the weights `made_with`.

    That is `location` if given, else the name of the profile with this id, else None.
    """
    if location is None:
        for profile, path in PROFILES.items():
            if content_id(path.read_bytes()) == made_with:
                return profile
    return location


def pack_weights(weights: Weights) -> bytes:
    """Return the bytes of a weights file; the network is stored in float16."""
    arrays = dict(weights.arrays())
    for name, array in weights.parameters.items():
        arrays[_NETWORK + name] = np.ascontiguousarray(array, np.float16)
    for name, array in weights.prediction_parameters.items():
        arrays[_PREDICTION + name] = np.ascontiguousarray(array, np.float16)
    config = {
        "format": WEIGHTS_FORMAT,
        "codec": asdict(weights.config),
        "network": asdict(weights.network_shape),
    }
    if weights.prediction_shape is not None:
        config["prediction"] = asdict(weights.prediction_shape)
    return save(arrays, {METADATA: json.dumps(config, sort_keys=True)})


def unpack_weights(data: bytes) -> Weights:
    """Return the weights of a file; raises WeightsDamaged if it breaks a rule (see `rules`)."""
    try:
        weights = _unpacked(data)
    except WeightsDamaged:
        raise
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise WeightsDamaged(f"not a weights file ({reason})", rule="W3") from error
    check_weights(weights)
    return weights


def _unpacked(data: bytes) -> Weights:
    arrays = {name: array.copy() for name, array in load(data).items()}  # writable, aligned
    found = metadata(data)
    config = _config(found["codec"])
    check_config(config)
    shape = NetworkShape(**found["network"])
    check_network_shape(shape)
    parameters = _taken(arrays, _NETWORK)
    check_parameters("network", parameters, shape.parameters())
    prediction, predicting = _prediction(found, config), _taken(arrays, _PREDICTION)
    check_parameters("prediction", predicting, prediction.parameters() if prediction else {})
    weights = Weights(
        config=config,
        steps=arrays["steps"],
        classes=TextureClasses(
            scale=arrays["classes.scale"],
            expected_magnitude=arrays["classes.law"],
            mask=arrays["classes.mask"],
            embedding=arrays["classes.embedding"],
        ),
        head=SemanticHead(*(arrays[f"semantics.{name}"] for name in ("widen", "narrow", "skip"))),
        activity=arrays["activity"],
        flag_activity=arrays["flag_activity"],
        sign_weights=arrays["sign_weights"],
        frequencies=arrays["frequencies"],
        estimates=Estimates(
            *(arrays[f"estimates.{name}"] for name in ("shares", "counts", "mixing"))
        ),
        centroids=arrays["centroids"],
        latents=LatentStatistics(arrays["latents.mean"], arrays["latents.std"]),
        network_shape=shape,
        parameters=parameters,
        prediction_shape=prediction,
        prediction_parameters=predicting,
        id=content_id(data),
    )
    if unknown := arrays.keys() - weights.arrays().keys():
        raise WeightsDamaged(f"unknown tensor {', '.join(sorted(unknown))}", rule="W3")
    return weights


def _taken(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Move the arrays whose names begin with a prefix out of `arrays`; return them without it."""
    names = [name for name in arrays if name.startswith(prefix)]
    return {name.removeprefix(prefix): arrays.pop(name) for name in names}


def _prediction(found: dict[str, Any], config: CodecConfig) -> PredictionShape | None:
    """Return the sizes of the learned lifting step, checked; None if the weights have none."""
    if "prediction" not in found:
        return None
    shape = PredictionShape(**found["prediction"])
    check_prediction_shape(shape, len(config.widths))
    return PredictionShape(tuple(shape.widths), shape.states)


def _pair(values: list[float]) -> tuple[float, float]:
    first, second = values
    return first, second


def _config(codec: dict[str, Any]) -> CodecConfig:
    if unknown := codec.keys() - {field.name for field in fields(CodecConfig)}:
        raise WeightsDamaged(f"unknown configuration {', '.join(sorted(unknown))}", rule="W3")
    return CodecConfig(
        widths=tuple(codec["widths"]),
        layers=tuple(LayerPlan(**layer) for layer in codec["layers"]),
        palette_budgets=tuple(codec["palette_budgets"]),
        compander=Compander(**codec["compander"]),
        merge=MergeWeights(**codec["merge"]),
        evidence=codec["evidence"],
        smoothing=codec["smoothing"],
        profile=codec["profile"],
        mixes_splits=codec["mixes_splits"],
        shear=_pair(codec["shear"]),
    )
