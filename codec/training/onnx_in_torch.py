"""Runs an ONNX network of convolutions in torch, so that a loss on its features has a gradient.

onnx2torch does the same for many more operators. It is not used because it imports torchvision,
whatever the network holds, and the torchvision of PyPI is built for the CUDA build of torch: beside
a CPU build it fails to import (torchvision 0.28 with torch 2.13: "operator torchvision::nms does
not exist"), and CPU builds are what `constraints.txt` is tested with. Six operators are enough for
the networks that teach: convolutions, poolings and joins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from underpaint.codec.errors import UsageError

JOINS = ("Concat", "Add")
"""Operators that join branches; the features of a network are their results."""


class JoinFeatures:
    """The results of all joins of branches in an ONNX network."""

    def __init__(self, model: Any, location: str, device: torch.device) -> None:
        """Take an `onnx.ModelProto`; `location` is where it came from, for messages.

        Raises UsageError if it has no joins, or an unknown operator before the last one.
        """
        from onnx import numpy_helper

        self._constants = {
            tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()).float().to(device)
            for tensor in model.graph.initializer
        }
        nodes = list(model.graph.node)
        joins = [index for index, node in enumerate(nodes) if node.op_type in JOINS]
        if not joins:
            raise UsageError(f"the network at {location} joins no branches: it has no features")
        self._nodes = [
            (_operation(node, location), list(node.input), node.output[0])
            for node in nodes[: joins[-1] + 1]
        ]
        self._taken = {nodes[index].output[0] for index in joins}
        known = set(self._constants)
        self._input = next(value.name for value in model.graph.input if value.name not in known)

    def __call__(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Return the feature maps float [N, C, h, w] of each join, for prepared [N, 3, H, W]."""
        values = self._constants | {self._input: pictures}
        taken = []
        for operation, inputs, output in self._nodes:
            values[output] = operation(*(values[name] for name in inputs))
            if output in self._taken:
                taken.append(values[output])
        return taken


def _operation(node: Any, location: str) -> Callable[..., torch.Tensor]:
    """Return the function of a node of the graph."""
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
    raise UsageError(
        f"the network at {location} has an operator {node.op_type} that is not supported here"
    )
