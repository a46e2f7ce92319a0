"""Prunes a trained network: a smaller one begins with the parts of it that matter most.

Hidden units are chosen one by one, each so that what the chosen ones explain of the outputs grows
most. The layer behind them is then fitted by least squares, to make up for the units that are gone.
Channels of a trunk are chosen by their energy, and the layers that read them are fitted alike. Of
the blocks of a trunk, the first, the last and those evenly between stay. Training repairs the rest.

Source: He, Zhang and Sun 2017, "Channel pruning for accelerating very deep neural networks"
(arXiv 1707.06168), with orthogonal matching pursuit in place of the LASSO.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict

import torch
from torch import nn

from underpaint.codec.reconstruct.network import BackwardNetwork
from underpaint.codec.reconstruct.network_shape import NetworkShape
from underpaint.codec.training.samples import Batch

_RIDGE = 1e-4
"""Share of the mean energy of the inputs that keeps a fit from failing."""

Moments = dict[str, torch.Tensor]
"""For each layer by its name: the mean products of its input channels, float64 [C, C]."""


def pruned(
    network: BackwardNetwork, shape: NetworkShape, samples: Iterable[Batch]
) -> BackwardNetwork:
    """Return a network of a smaller or equal shape, made of parts of `network`.

    `shape` has the classes, layers and embedding of the network. Raises ValueError if another size
    is larger than that of the network.
    """
    if larger_size(network.shape, shape):
        raise ValueError(f"cannot prune {network.shape} to {shape}")
    moments = _input_moments(network, samples)
    smaller = BackwardNetwork(shape)
    smaller.class_embedding.load_state_dict(network.class_embedding.state_dict())
    own = network.fine_in.in_features - network.shape.shared
    energies = _energies(moments["fine_in"]) * network.fine_in.weight.square().sum(0)
    features = _strongest(energies[own:], shape.shared)
    with torch.no_grad():
        channels = _prune_trunk(network, smaller, "coarse", moments)
        _copy(network.coarse_in, smaller.coarse_in, channels)
        rows = (16 * features[:, None] + torch.arange(16)).flatten()
        _copy(network.share, smaller.share, rows, channels, moments["share"])
        channels = _prune_trunk(network, smaller, "fine", moments)
        inputs = torch.cat([torch.arange(own), own + features])
        _copy(network.fine_in, smaller.fine_in, channels, inputs, moments["fine_in"])
    return smaller


def larger_size(shape: NetworkShape, wanted: NetworkShape) -> str | None:
    """Return the name of a size that is larger in `wanted` than in `shape`, or None."""
    sizes = asdict(wanted)
    return next((name for name, size in asdict(shape).items() if sizes[name] > size), None)


def _prune_trunk(
    network: BackwardNetwork, smaller: BackwardNetwork, trunk: str, moments: Moments
) -> torch.Tensor:
    """Fill in the blocks, the state and the last layer of a trunk; return the channels it keeps."""
    blocks, targets = getattr(network, trunk), getattr(smaller, trunk)
    numbers = torch.linspace(0, len(blocks) - 1, len(targets)).round().int().tolist()
    last, target = getattr(network, f"{trunk}_out"), getattr(smaller, f"{trunk}_out")
    names = [*(f"{trunk}.{number}.spatial" for number in numbers), f"{trunk}_out"]
    carried = torch.stack([_energies(moments[name]) for name in names]).sum(0)
    channels = _strongest(carried, target.in_features)
    for number, block in zip(numbers, targets, strict=True):
        whole, name = blocks[number], f"{trunk}.{number}"
        units = _pursued(
            whole.narrow.weight[channels], moments[f"{name}.narrow"], block.narrow.in_features
        )
        block.spatial.weight.copy_(whole.spatial.weight[channels])
        block.spatial.bias.copy_(whole.spatial.bias[channels])
        _copy(whole.widen, block.widen, units, channels, moments[f"{name}.widen"])
        _copy(whole.narrow, block.narrow, channels, units, moments[f"{name}.narrow"])
    _copy(last, target, torch.arange(last.out_features), channels, moments[f"{trunk}_out"])
    state, target = getattr(network, f"{trunk}_state"), getattr(smaller, f"{trunk}_state")
    target.weight.copy_(state.weight[:, channels])
    return channels


def _copy(
    layer: nn.Linear,
    target: nn.Linear,
    rows: torch.Tensor,
    inputs: torch.Tensor | None = None,
    moments: torch.Tensor | None = None,
) -> None:
    """Copy rows of a layer; where it keeps only some inputs, fit their weights to its outputs."""
    weight = layer.weight[rows]
    if inputs is not None and moments is not None:
        among = moments[inputs][:, inputs]
        among = among + _RIDGE * _energies(among).mean() * torch.eye(len(inputs))
        fitted = torch.linalg.solve(among, moments[inputs] @ weight.double().T)
        weight = fitted.T.float()
    target.weight.copy_(weight)
    if layer.bias is not None:
        target.bias.copy_(layer.bias[rows])


def _input_moments(network: BackwardNetwork, samples: Iterable[Batch]) -> Moments:
    moments: Moments = {}

    def record(name: str) -> Callable[[nn.Module, tuple[torch.Tensor]], None]:
        def add(_: nn.Module, inputs: tuple[torch.Tensor]) -> None:
            rows = inputs[0].detach().float().permute(1, 0, 2, 3).flatten(1)
            products = (rows @ rows.T / rows.shape[1]).double()
            moments[name] = moments[name] + products if name in moments else products

        return add

    hooks = [
        layer.register_forward_pre_hook(record(name))
        for name, layer in network.named_modules()
        if isinstance(layer, (nn.Linear, nn.Conv2d))
    ]
    with torch.no_grad():
        for batch in samples:
            batch.estimate(network)
    for hook in hooks:
        hook.remove()
    return moments


def _energies(moments: torch.Tensor) -> torch.Tensor:
    return moments.diagonal()


def _strongest(energies: torch.Tensor, count: int) -> torch.Tensor:
    """Return the indices of the largest energies, ascending."""
    return energies.topk(count).indices.sort().values


def _pursued(weight: torch.Tensor, moments: torch.Tensor, count: int) -> torch.Tensor:
    """Choose so many inputs of a layer that together explain most of its outputs, ascending."""
    weight, left = weight.double(), moments.clone()
    floor = _RIDGE * _energies(moments).mean()
    chosen: list[int] = []
    for _ in range(count):
        explained = (weight @ left).square().sum(0) / (_energies(left) + floor)
        explained[chosen] = -1
        best = int(explained.argmax())
        chosen.append(best)
        left = left - torch.outer(left[best], left[best]) / (left[best, best] + floor)
    return torch.tensor(sorted(chosen))
