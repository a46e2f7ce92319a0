"""How far two pictures are for a network that was trained to see: a loss on its features.

The extractor is an ONNX file of a plain convolutional network, run here in torch so that the loss
has a gradient. A feature map counts by the angle between its vectors at each position, as in Zhang
et al. 2018 ("The unreasonable effectiveness of deep features as a perceptual metric"), without
their learned weights.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from underpaint.codec.errors import UsageError
from underpaint.codec.training.semantic_layers import PREPARATIONS, open_network

_JOINS = ("Concat", "Add")


class FeatureDistance:
    """Distance of pictures in the features of a network of convolutions, poolings and joins."""

    def __init__(self, location: str, preparation: str, device: torch.device) -> None:
        """Read an ONNX file from a path or URL; `preparation` as `semantic_layers` names them.

        Raises UsageError if it cannot be read, or holds what this small interpreter does not know
        before its last join of branches.
        """
        model = open_network(location)
        from onnx import numpy_helper

        self._constants = {
            tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()).float().to(device)
            for tensor in model.graph.initializer
        }
        nodes = list(model.graph.node)
        joins = [place for place, node in enumerate(nodes) if node.op_type in _JOINS]
        if not joins:
            raise UsageError(f"the network at {location} joins no branches: no features to take")
        self._nodes = [
            (_operation(node, location), list(node.input), node.output[0])
            for node in nodes[: joins[-1] + 1]
        ]
        self._taken = {nodes[place].output[0] for place in joins}
        known = set(self._constants)
        self._input = next(v.name for v in model.graph.input if v.name not in known)
        how = PREPARATIONS[preparation]
        self._order = [2, 1, 0] if how.bgr else [0, 1, 2]
        self._mean, self._deviation = (
            torch.tensor(figures, device=device)[:, None, None]
            for figures in (how.mean, how.deviation)
        )

    def features(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Return unit vectors [N, C, h, w] of each join for float RGB [N, 3, H, W] in 0..255."""
        prepared = (pixels[:, self._order] - self._mean) / self._deviation
        values = self._constants | {self._input: prepared}
        taken = []
        for operation, inputs, output in self._nodes:
            values[output] = operation(*(values[name] for name in inputs))
            if output in self._taken:
                taken.append(functional.normalize(values[output], dim=1, eps=1e-3))
        return taken

    def __call__(self, original: list[torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
        """Return the mean squared distance to `features` of the originals, a scalar."""
        pairs = zip(original, self.features(pixels), strict=True)
        return torch.stack([(a - b).square().sum(1).mean() for a, b in pairs]).mean()


def _operation(node, location: str) -> Callable[..., torch.Tensor]:
    """Return what a node of the graph does to its inputs."""
    from onnx import helper

    settings = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    if node.op_type == "Conv":
        pads = settings.get("pads", [0, 0, 0, 0])
        if pads[:2] == pads[2:]:
            return lambda x, weight, bias=None: functional.conv2d(
                x, weight, bias, settings.get("strides", 1), pads[:2],
                settings.get("dilations", 1), settings.get("group", 1),
            )  # fmt: skip
    if node.op_type == "MaxPool" and not any(settings.get("pads", [])):
        return lambda x: functional.max_pool2d(x, settings["kernel_shape"], settings["strides"])
    if node.op_type == "Relu":
        return torch.relu
    if node.op_type == "Concat":
        return lambda *parts: torch.cat(parts, settings["axis"])
    if node.op_type == "Add":
        return torch.add
    if node.op_type == "Dropout":
        return lambda x, *_: x
    raise UsageError(f"the network at {location} holds a {node.op_type} that is not known here")
