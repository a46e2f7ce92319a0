"""Pruned networks keep what the kept parts can do."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage import data

from underpaint import Codec
from underpaint.codec.reconstruct.network import BackwardNetwork
from underpaint.codec.reconstruct.network_shape import NetworkShape
from underpaint.codec.training.prune import pruned
from underpaint.codec.training.samples import Batch, CropSource, Samples
from underpaint.codec.training.settings import TrainingPlan
from underpaint.codec.weights.loading import load_weights

SMALL = NetworkShape(
    64, 6, coarse_width=12, coarse_hidden=10, fine_width=8, fine_hidden=6, fine_depth=2, shared=3
)


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    weights = load_weights(None)
    pictures = [data.astronaut()[:160, :200], data.coffee()[:160, :200]]
    codec = Codec(weights)
    plan = TrainingPlan(batch=2, crop=96)
    source = CropSource(pictures, lambda photo: codec.quantised([photo])[0], plan.crop)
    return list(Samples(weights, source, plan, torch.device("cpu")).typical_inputs())


def network_of(shape: NetworkShape, seed: int) -> BackwardNetwork:
    """A network that changes what it sees: in a new one, the last layers are zero."""
    torch.manual_seed(seed)
    network = BackwardNetwork(shape).eval()
    for last in (network.coarse_out, network.fine_out):
        torch.nn.init.normal_(last.weight, std=0.05)
    return network


def change(network: BackwardNetwork, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        bands, before = batch.estimate(network), batch.plain()
    return torch.cat([(bands[band] - before[band]).flatten() for band in range(3)])


def unlike(one: BackwardNetwork, other: BackwardNetwork, batches: list[Batch]) -> float:
    """Energy of the difference of what two networks change, relative to what the first changes."""
    pairs = [(change(one, batch), change(other, batch)) for batch in batches]
    difference = sum((a - b).square().sum().item() for a, b in pairs)
    return difference / sum(a.square().sum().item() for a, _ in pairs)


def test_a_network_of_the_same_shape_does_the_same(batches):
    network = network_of(SMALL, 1)
    assert unlike(network, pruned(network, SMALL, batches), batches) < 1e-3


def test_units_without_effect_and_copies_of_units_go_first(batches):
    network = network_of(SMALL, 2)
    larger = BackwardNetwork(replace(SMALL, coarse_hidden=20, fine_hidden=12)).eval()
    state = network.state_dict()
    for name in [name for name in state if "widen" in name or "narrow" in name]:
        rows = state[name]
        if "widen" in name:  # every unit twice
            state[name] = torch.cat([rows, rows])
        else:  # of the first copy nothing is used, of the second everything
            state[name] = torch.cat([0 * rows, rows], 1)
    larger.load_state_dict(state)
    assert unlike(network, larger, batches) < 1e-9
    assert unlike(network, pruned(larger, SMALL, batches), batches) < 1e-3


def test_the_layer_behind_pruned_units_makes_up_for_them(batches):
    network = network_of(replace(SMALL, fine_hidden=16), 3)
    fitted = pruned(network, SMALL, batches)
    left_out = pruned(network, SMALL, batches)
    for block, whole in zip(left_out.fine, network.fine, strict=True):
        units = [
            int((whole.widen.weight - row).abs().sum(1).argmin()) for row in block.widen.weight
        ]
        block.narrow.weight.data = whole.narrow.weight.detach()[:, units]
    assert unlike(network, fitted, batches) < 0.8 * unlike(network, left_out, batches)


def test_a_larger_shape_is_refused(batches):
    with pytest.raises(ValueError, match="cannot prune"):
        pruned(network_of(SMALL, 4), replace(SMALL, shared=4), batches)


def test_typical_inputs_are_of_all_states(batches):
    layers = [np.unique(batch.last_layer.numpy()).tolist() for batch in batches]
    assert layers == [[0], [1], [2], [3], [4], [5]]
