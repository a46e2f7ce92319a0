"""Validation of weights: the rules W1 to W13 of `docs/stream.md`.

A weights file may come from anyone. Its sizes are checked before anything of such a size is
allocated, and its integers so that no picture can overflow the arithmetic of the coder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from itertools import pairwise

import numpy as np

from underpaint.codec.entropy.activity import FEATURES, LARGEST_ACTIVITY, activity_reach
from underpaint.codec.entropy.estimates import (
    MOST_COUNT,
    MOST_MIXING,
    Estimates,
    mixing_inputs,
    stored_estimates,
)
from underpaint.codec.entropy.significance import FLAG_FEATURES
from underpaint.codec.entropy.signs import SIGN_FEATURES
from underpaint.codec.entropy.tables import TOTAL
from underpaint.codec.errors import WeightsDamaged
from underpaint.codec.limits import (
    MAX_CLASSES,
    MAX_EMBEDDING,
    MAX_EXPECTED_MAGNITUDE,
    MAX_HEAD_WIDTH,
    MAX_LAYERS,
    MAX_NETWORK_DEPTH,
    MAX_NETWORK_WIDTH,
    MAX_PALETTE_STEPS,
    MAX_PREDICTION_WIDTH,
    MAX_WIDTH,
)
from underpaint.codec.palette.classes import TEXTURE_BANDS
from underpaint.codec.palette.semantic_head import HEAD_INPUTS
from underpaint.codec.quantize.cell_tables import CENTROID_KINDS
from underpaint.codec.quantize.cells import MOST_CHILDREN
from underpaint.codec.reconstruct.latent_statistics import LATENT_BANDS, LEAST_DEVIATION
from underpaint.codec.reconstruct.network_shape import NetworkShape
from underpaint.codec.transform.prediction_shape import MOST_LEVELS, PredictionShape
from underpaint.codec.transform.subbands import BANDS, FLAG_GROUPS, LEVELS
from underpaint.codec.weights.configuration import CodecConfig
from underpaint.codec.weights.model import Weights


def check_config(config: CodecConfig) -> None:
    """Raise WeightsDamaged unless the chain nests within int16 and the plan is complete."""
    _check_chain(config)
    _check_plan(config)
    factors = (config.compander.knee, config.compander.power)
    if any(type(factor) not in (int, float) or not 0 < factor < math.inf for factor in factors):
        raise WeightsDamaged(f"the compander has factors {factors}", rule="W8")
    if type(config.mixes_splits) is not bool:
        raise WeightsDamaged(f"mixes_splits is {config.mixes_splits!r}, no bool", rule="W13")
    if any(type(part) not in (int, float) or not abs(part) <= 1 for part in config.shear):
        raise WeightsDamaged(f"a shear of colours of {config.shear}", rule="W14")
    costs = (*asdict(config.merge).values(), config.evidence)
    if any(type(value) not in (int, float) or not 0 <= value < math.inf for value in costs):
        raise WeightsDamaged(f"merge weights or evidence of {costs}", rule="W9")


def _check_chain(config: CodecConfig) -> None:
    widths = config.widths
    if not widths or any(type(width) is not int for width in widths):
        raise WeightsDamaged(f"cell widths {widths} are not integers", rule="W1")
    if not 1 <= widths[-1] <= widths[0] <= MAX_WIDTH:
        raise WeightsDamaged(f"cell widths {widths} are not within 1 and {MAX_WIDTH}", rule="W1")
    if any(coarse not in (2 * fine, 3 * fine) for coarse, fine in pairwise(widths)):
        raise WeightsDamaged(
            f"cell widths {widths} are not twice or three times the next", rule="W1"
        )


def _check_plan(config: CodecConfig) -> None:
    plans, palette_states = config.layers, len(config.palette_budgets)
    numbers = [number for plan in plans for number in (plan.palette_steps, plan.cell_steps)]
    if any(type(number) is not int or number < 0 for number in numbers):
        raise WeightsDamaged(f"layers have {numbers} steps", rule="W5")
    if not 1 <= len(plans) <= MAX_LAYERS:
        raise WeightsDamaged(f"{len(plans)} layers, not 1 to {MAX_LAYERS}", rule="W5")
    if min(plans[0].palette_steps, plans[0].cell_steps) < 1:
        raise WeightsDamaged("the first layer has no palette or no cells", rule="W5")
    if max(plan.cell_steps for plan in plans) > 1:
        raise WeightsDamaged("a layer has several cell steps; want at most one", rule="W5")
    if palette_states > MAX_PALETTE_STEPS:
        raise WeightsDamaged(
            f"{palette_states} palette steps, limit is {MAX_PALETTE_STEPS}", rule="W5"
        )
    if sum(plan.palette_steps for plan in plans) != palette_states:
        raise WeightsDamaged(f"the layers do not hold {palette_states} palette steps", rule="W5")
    if sum(plan.cell_steps for plan in plans) != len(config.widths):
        raise WeightsDamaged(f"the layers do not hold {len(config.widths)} cell steps", rule="W5")


def check_network_shape(shape: NetworkShape) -> None:
    """Raise WeightsDamaged unless every size of the network is within its limit."""
    for name, size in asdict(shape).items():
        most = MAX_NETWORK_DEPTH if name.endswith("_depth") else MAX_NETWORK_WIDTH
        if type(size) is not int or not 1 <= size <= most:
            raise WeightsDamaged(f"network: {name} is {size!r}, not 1 to {most}", rule="W3")


def check_prediction_shape(shape: PredictionShape, states: int) -> None:
    """Raise WeightsDamaged unless every size of the learned lifting step is within its limit."""
    widths: object = shape.widths
    if not isinstance(widths, list) or not 1 <= len(widths) <= MOST_LEVELS:
        raise WeightsDamaged(f"prediction: widths are {widths!r}", rule="W12")
    for width in widths:
        if type(width) is not int or not 1 <= width <= MAX_PREDICTION_WIDTH:
            raise WeightsDamaged(
                f"prediction: a width is {width!r}, not 1 to {MAX_PREDICTION_WIDTH}", rule="W12"
            )
    if type(shape.states) is not int or shape.states != states:
        raise WeightsDamaged(f"prediction: for {shape.states!r} states, not {states}", rule="W12")


def check_parameters(
    part: str, found: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise WeightsDamaged unless the parameters of a part have these names and shapes, float16."""
    if found.keys() != wanted.keys():
        wrong = min(found.keys() ^ wanted.keys())
        raise WeightsDamaged(f"{part}: {wrong!r} is missing or unknown", rule="W3")
    for name, array in found.items():
        if array.dtype != np.float16 or array.shape != wanted[name]:
            raise WeightsDamaged(
                f"{part}: {name} is {array.dtype} {list(array.shape)}, not float16 "
                f"{list(wanted[name])}",
                rule="W3",
            )


def check_weights(weights: Weights) -> None:
    """Raise WeightsDamaged unless shapes, types and values of all arrays follow the rules."""
    _check_shapes(weights)
    arrays = [array for array in weights.arrays().values() if array.dtype == np.float32]
    finite = all(np.isfinite(array).all() for array in arrays)
    networks = (*weights.parameters.values(), *weights.prediction_parameters.values())
    if not finite or not all(np.isfinite(array).all() for array in networks):
        raise WeightsDamaged("a number is not finite", rule="W8")
    if (weights.latents.std < LEAST_DEVIATION).any():
        raise WeightsDamaged(
            f"a standard deviation of latents is less than {LEAST_DEVIATION}", rule="W11"
        )
    _check_classes(weights)
    reach = activity_reach(
        weights.activity, weights.classes.expected_magnitude, weights.config.chain[0].zero
    )
    if (reach > LARGEST_ACTIVITY).any():
        raise WeightsDamaged("an activity may overflow 32 bits", rule="W10")
    _check_tables(weights)
    _check_estimates(weights.estimates)


def _check_shapes(weights: Weights) -> None:
    config, steps, layers = weights.config, len(weights.config.widths), len(weights.config.layers)
    for name, matrix in (
        ("classes.embedding", weights.classes.embedding),
        ("semantics.narrow", weights.head.narrow),
    ):
        if matrix.ndim != 2:
            raise WeightsDamaged(f"{name} is not a matrix", rule="W3")
    count, embedding = weights.classes.embedding.shape
    hidden = weights.head.narrow.shape[1]
    if not (1 <= embedding <= MAX_EMBEDDING and 1 <= hidden <= MAX_HEAD_WIDTH):
        raise WeightsDamaged(
            f"an embedding of {embedding} values, a head of {hidden} hidden units", rule="W9"
        )
    expected: dict[str, tuple[type, tuple[int, ...]]] = {
        "steps": (np.float32, (BANDS,)),
        "classes.scale": (np.float32, (count, TEXTURE_BANDS)),
        "classes.law": (np.int32, (count, BANDS)),
        "classes.mask": (np.float32, (count,)),
        "classes.embedding": (np.float32, (count, embedding)),
        "semantics.widen": (np.float32, (hidden, HEAD_INPUTS + 1)),
        "semantics.narrow": (np.float32, (embedding, hidden)),
        "semantics.skip": (np.float32, (embedding, HEAD_INPUTS + 1)),
        "activity": (np.int32, (steps, BANDS, FEATURES)),
        "flag_activity": (np.int32, (steps, FLAG_GROUPS, FLAG_FEATURES)),
        "sign_weights": (np.int16, (steps, BANDS, SIGN_FEATURES)),
        "frequencies": (np.uint16, (config.table_layout.count, MOST_CHILDREN)),
        "estimates.shares": (np.uint16, (steps, BANDS, stored_estimates(config.mixes_splits))),
        "estimates.counts": (np.uint8, (steps, BANDS, stored_estimates(config.mixes_splits))),
        "estimates.mixing": (np.int32, (steps, BANDS, mixing_inputs(config.mixes_splits))),
        "centroids": (np.float32, (steps, LEVELS + 1, 2, CENTROID_KINDS)),
        "latents.mean": (np.float32, (layers, LATENT_BANDS)),
        "latents.std": (np.float32, (layers, LATENT_BANDS)),
    }
    for name, array in weights.arrays().items():
        kind, shape = expected[name]
        if array.dtype != kind or array.shape != shape:
            raise WeightsDamaged(
                f"{name} is {array.dtype} {list(array.shape)}, not {np.dtype(kind)} {list(shape)}",
                rule="W3",
            )


def _check_classes(weights: Weights) -> None:
    count, shape = weights.classes.count, weights.network_shape
    layers = len(weights.config.layers)
    if not 1 <= count <= MAX_CLASSES:
        raise WeightsDamaged(f"{count} classes, not 1 to {MAX_CLASSES}", rule="W6")
    if (shape.classes, shape.layers) != (count, layers):
        raise WeightsDamaged(
            f"a network for {shape.classes} classes and {shape.layers} layers, "
            f"not {count} and {layers}",
            rule="W3",
        )
    magnitude = weights.classes.expected_magnitude
    if ((magnitude < 0) | (magnitude >= MAX_EXPECTED_MAGNITUDE)).any():
        raise WeightsDamaged(
            f"an expected magnitude is not within 0 and {MAX_EXPECTED_MAGNITUDE - 1}", rule="W6"
        )


def _check_tables(weights: Weights) -> None:
    symbols = weights.config.table_layout.symbols(weights.config.chain)
    used = np.arange(MOST_CHILDREN) < symbols[:, None]
    sums = weights.frequencies.sum(1, dtype=np.int64)
    if ((weights.frequencies > 0) != used).any() or (sums != TOTAL * (symbols > 0)).any():
        raise WeightsDamaged("frequencies of a table are wrong or do not add up", rule="W4")
    if (weights.frequencies[0, :2] != TOTAL // 2).any():
        raise WeightsDamaged("the table of plain bits is not even", rule="W4")


def _check_estimates(estimates: Estimates) -> None:
    if (estimates.shares < 1).any() or (estimates.counts > MOST_COUNT).any():
        raise WeightsDamaged(
            f"an estimate starts from a share of 0 or a count above {MOST_COUNT}", rule="W13"
        )
    if (np.abs(estimates.mixing.astype(np.int64)) > MOST_MIXING).any():
        raise WeightsDamaged(
            f"a mixing weight is not within -{MOST_MIXING} and {MOST_MIXING}", rule="W13"
        )
