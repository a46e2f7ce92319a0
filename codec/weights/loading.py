"""Reads and writes weights files: safetensors, named by the hash of their content.

The file holds the integer tables, the classes, the steps and the network; its metadata holds the
configuration as JSON. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from underpaint.codec.errors import WeightsDamaged
from underpaint.codec.palette.classes import TextureClasses
from underpaint.codec.palette.merging import MergeWeights
from underpaint.codec.palette.semantic_head import SemanticHead
from underpaint.codec.quantize.compander import Compander
from underpaint.codec.reconstruct.network import BackwardNetwork, NetworkShape
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
    check_network_tensors,
    check_weights,
)

_NETWORK = "network."

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
    tensors = {name: torch.from_numpy(array) for name, array in weights.arrays().items()}
    for name, tensor in weights.network.state_dict().items():
        tensors[_NETWORK + name] = tensor.detach().cpu().half().contiguous()
    config = {
        "format": WEIGHTS_FORMAT,
        "codec": asdict(weights.config),
        "network": asdict(weights.network.shape),
    }
    return save(tensors, {METADATA: json.dumps(config, sort_keys=True)})


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
    tensors = load(data)
    found = metadata(data)
    config = _config(found["codec"])
    check_config(config)
    network = _network(NetworkShape(**found["network"]), tensors)
    array = {n: t.numpy() for n, t in tensors.items() if not n.startswith(_NETWORK)}
    weights = Weights(
        config=config,
        steps=array["steps"],
        classes=TextureClasses(
            scale=array["classes.scale"],
            expected_magnitude=array["classes.law"],
            mask=array["classes.mask"],
            embedding=array["classes.embedding"],
        ),
        head=SemanticHead(*(array[f"semantics.{name}"] for name in ("widen", "narrow", "skip"))),
        activity=array["activity"],
        flag_activity=array["flag_activity"],
        sign_weights=array["sign_weights"],
        frequencies=array["frequencies"],
        centroids=array["centroids"],
        network=network,
        id=content_id(data),
    )
    if unknown := array.keys() - weights.arrays().keys():
        raise WeightsDamaged(f"unknown tensor {', '.join(sorted(unknown))}", rule="W3")
    return weights


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
    )


def _network(shape: NetworkShape, tensors: Mapping[str, torch.Tensor]) -> BackwardNetwork:
    """Build the network from its tensors; sizes are checked before anything is allocated."""
    check_network_shape(shape)
    network = BackwardNetwork.outline(shape)  # on the meta device, without memory
    found = {n.removeprefix(_NETWORK): t for n, t in tensors.items() if n.startswith(_NETWORK)}
    check_network_tensors(found, network.state_dict())
    network.load_state_dict({name: tensor.float() for name, tensor in found.items()}, assign=True)
    return network.eval()
