"""Prunes a trained network: a smaller one starts with the parts of it that matter most.

Channels of a trunk, hidden units and shared features are kept by the energy that they carry on
samples; of the blocks of a trunk, the first, the last and those evenly between are kept. Training
then repairs what the removed parts did.

Source: Li et al. 2017, "Pruning filters for efficient ConvNets" (arXiv 1608.08710), with energies
in place of norms of weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict

import torch
from torch import nn

from underpaint.codec.reconstruct.network import BackwardNetwork
from underpaint.codec.reconstruct.network_shape import NetworkShape
from underpaint.codec.training.samples import Batch


def pruned(
    network: BackwardNetwork,
    shape: NetworkShape,
    samples: Iterable[Batch],
) -> BackwardNetwork:
    """Return a network of a smaller or equal shape, made of parts of `network`.

    `shape` has the classes, layers and embedding of the network. Raises ValueError if another size
    is larger than that of the network.
    """
    if any(asdict(shape)[name] > size for name, size in asdict(network.shape).items()):
        raise ValueError(f"cannot prune {network.shape} to {shape}")
    energies = _input_energies(network, samples)
    fine_in, shared = network.fine_in, network.shape.shared
    own = fine_in.in_features - shared
    features = _strongest(_output_energies(fine_in, energies["fine_in"])[own:], shape.shared)
    smaller = BackwardNetwork(shape)
    smaller.class_embedding.load_state_dict(network.class_embedding.state_dict())
    with torch.no_grad():
        rows = (16 * features[:, None] + torch.arange(16)).flatten()
        channels = _prune_trunk(network, smaller, "coarse", shape.coarse_hidden, energies)
        _copy(network.share, smaller.share, rows, channels)
        _copy(network.coarse_in, smaller.coarse_in, channels)
        inputs = torch.cat([torch.arange(own), own + features])
        channels = _prune_trunk(network, smaller, "fine", shape.fine_hidden, energies)
        _copy(fine_in, smaller.fine_in, channels, inputs)
    return smaller


def _prune_trunk(
    network: BackwardNetwork,
    smaller: BackwardNetwork,
    trunk: str,
    units: int,
    energies: dict[str, torch.Tensor],
) -> torch.Tensor:
    """Fill in the blocks, the state and the last layer of a trunk; return the channels it keeps."""
    blocks, targets = getattr(network, trunk), getattr(smaller, trunk)
    kept = torch.linspace(0, len(blocks) - 1, len(targets)).round().int().tolist()
    last, target = getattr(network, f"{trunk}_out"), getattr(smaller, f"{trunk}_out")
    carried = [energies[f"{trunk}.{number}.spatial"] for number in kept]
    channels = _strongest(
        torch.stack([*carried, energies[f"{trunk}_out"]]).sum(0), target.in_features
    )
    for number, block in zip(kept, targets, strict=True):
        whole = blocks[number]
        hidden = _strongest(
            _output_energies(whole.narrow, energies[f"{trunk}.{number}.narrow"]), units
        )
        block.spatial.weight.copy_(whole.spatial.weight[channels])
        block.spatial.bias.copy_(whole.spatial.bias[channels])
        _copy(whole.widen, block.widen, hidden, channels)
        _copy(whole.narrow, block.narrow, channels, hidden)
    _copy(last, target, torch.arange(last.out_features), channels)
    state, target = getattr(network, f"{trunk}_state"), getattr(smaller, f"{trunk}_state")
    target.weight.copy_(state.weight[:, channels])
    return channels


def _copy(
    layer: nn.Linear, target: nn.Linear, rows: torch.Tensor, columns: torch.Tensor | None = None
) -> None:
    """Copy rows and columns, by default all columns, of a linear layer."""
    weight = layer.weight[rows]
    target.weight.copy_(weight if columns is None else weight[:, columns])
    if layer.bias is not None:
        target.bias.copy_(layer.bias[rows])


def _input_energies(network: BackwardNetwork, samples: Iterable[Batch]) -> dict[str, torch.Tensor]:
    """Return the mean square of each input channel of every layer on samples, by its name."""
    sums: dict[str, torch.Tensor] = {}

    def record(name: str) -> Callable[[nn.Module, tuple[torch.Tensor]], None]:
        def add(_: nn.Module, inputs: tuple[torch.Tensor]) -> None:
            energy = inputs[0].detach().float().square().mean((0, 2, 3))
            sums[name] = sums.get(name, torch.zeros_like(energy)) + energy

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
    return sums


def _output_energies(layer: nn.Linear, energies: torch.Tensor) -> torch.Tensor:
    """Return the energy that each input of a linear layer adds to its outputs."""
    return energies * layer.weight.detach().square().sum(0)


def _strongest(energies: torch.Tensor, count: int) -> torch.Tensor:
    """Return the indices of the largest energies, ascending."""
    return energies.topk(count).indices.sort().values
