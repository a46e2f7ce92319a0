"""What a run starts from: earlier weights and the sizes of the network, checked before any work."""

from __future__ import annotations

import torch

from underpaint.codec.errors import UsageError
from underpaint.codec.reconstruct.network import BackwardNetwork
from underpaint.codec.reconstruct.network_shape import NetworkShape
from underpaint.codec.training.prune import larger_size, pruned
from underpaint.codec.training.recipe import PLANS
from underpaint.codec.training.samples import Samples
from underpaint.codec.training.settings import Kept, Recipe, TrainingPlan
from underpaint.codec.weights.loading import load_weights
from underpaint.codec.weights.model import Weights


def weights_of(option: str, location: str | None) -> Weights | None:
    """Load the weights that an option names, if it is given; UsageError if there are none."""
    if location is None:
        return None
    try:
        return load_weights(location)
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from error


def plan_shape(
    plan: TrainingPlan, recipe: Recipe, earlier: Weights | None, keep: Kept
) -> NetworkShape:
    """Return the shape of the network that a run trains."""
    classes, layers = recipe.classes, len(PLANS)
    if earlier and keep != "network":
        classes = earlier.classes.count
    if earlier and keep == "all":
        layers = len(earlier.config.layers)
    return plan.network_shape(classes, layers)


def check_start(option: str, weights: Weights | None, shape: NetworkShape) -> None:
    """Raise UsageError unless the network of weights can be pruned to a shape."""
    if weights is None:
        return
    _check_class_map(option, weights.network_shape, shape)
    if name := larger_size(weights.network_shape, shape):
        size, wanted = (getattr(sizes, name) for sizes in (weights.network_shape, shape))
        raise UsageError(
            f"{option}: its network has a {name.replace('_', ' ')} of {size}, which cannot grow to "
            f"{wanted}: give --{name.replace('_', '-')} {size} or less"
        )


def check_teacher(option: str, weights: Weights | None, shape: NetworkShape) -> None:
    """Raise UsageError unless the network of weights takes what the one in training takes."""
    if weights is not None:
        _check_class_map(option, weights.network_shape, shape)


def _check_class_map(option: str, network: NetworkShape, shape: NetworkShape) -> None:
    known, wanted = ((sizes.classes, sizes.layers) for sizes in (network, shape))
    if known != wanted:
        raise UsageError(
            f"{option}: its network is for {known[0]} classes and {known[1]} layers, not "
            f"{wanted[0]} and {wanted[1]}"
        )


def start_network(earlier: Weights | None, samples: Samples) -> BackwardNetwork:
    """Return the network to start with, in the sizes of the plan: new, earlier or pruned."""
    shape = samples.network_shape
    if earlier is None:
        torch.manual_seed(samples.plan.seed)
        return BackwardNetwork(shape)
    if earlier.network_shape == shape:
        return earlier.network
    return pruned(earlier.network, shape, samples.typical_inputs())
