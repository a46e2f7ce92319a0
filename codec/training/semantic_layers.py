"""Semantic features of positions: feature maps of an image network, resampled to the latent grid.

The network is any ONNX file with one picture as its input, by path or URL. The last feature map of
each resolution is taken: early layers respond to textures, late ones to objects. Needs the
extra `train`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from underpaint.codec.errors import UsageError
from underpaint.codec.storage.download import fetch
from underpaint.codec.storage.extras import install_hint
from underpaint.codec.transform.subbands import BLOCK

TEXTURE_ALONE = "none: texture alone"

LEAST_CHANNELS = 16
"""Least number of channels of a feature map; outputs with fewer are scores or pictures."""

STRIDES = (4, 32)
"""Least and largest stride of the feature maps, in pixels."""

MOST_LAYERS = 3

_PROBE = 4 * BLOCK
"""Side of the picture that is used to find feature maps; the least side of an input."""


@dataclass(frozen=True)
class Preparation:
    """Input of a network: order of channels, then (x - mean) / deviation of 0..255."""

    bgr: bool
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


PREPARATIONS = {
    "imagenet": Preparation(False, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "caffe": Preparation(True, (104.0, 117.0, 123.0), (1.0, 1.0, 1.0)),
    "unit": Preparation(False, (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
}
"""Preparations by name: of torchvision and timm, of Caffe, and plain 0..1."""


def extractor_label(location: str) -> str:
    """Return the file name and SHA-256 of a network, for the record of a training run."""
    if not location:
        return TEXTURE_ALONE
    name = location.partition("#")[0].rstrip("/").rpartition("/")[2]
    return f"{name} sha256={hashlib.sha256(_fetched(location)).hexdigest()}"


def _fetched(location: str) -> bytes:
    try:
        return fetch(location)
    except OSError as error:
        raise UsageError(f"no extractor at {location}: {error}") from error


class SemanticLayers:
    """An ONNX network that returns its feature maps."""

    def __init__(self, location: str, preparation: str) -> None:
        """Load a network; raises UsageError if it has no feature maps or cannot run."""
        if preparation not in PREPARATIONS:
            names = ", ".join(sorted(PREPARATIONS))
            raise UsageError(f"unknown extractor input {preparation!r}; there are {names}")
        self._preparation = PREPARATIONS[preparation]
        self._location = location
        model = open_network(location)
        name, self._dtype = _picture_input(model, location)
        self._input = name
        candidates = [output for node in model.graph.node for output in node.output if output]
        probe = np.zeros((_PROBE, _PROBE, 3), np.uint8)
        shapes = [array.shape for array in self._run(_session(model, candidates), probe)]
        self.layers = _last_of_each_stride(candidates, shapes, location)
        self._session = _session(model, list(self.layers))

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Return each layer over the positions of a uint8 [H, W, 3] picture, float32 [h, w, C].

        Sides are multiples of 16 and at least 64.
        """
        rows, columns = (side // BLOCK for side in pixels.shape[:2])
        fields = []
        for array in self._run(self._session, pixels):
            layer = torch.from_numpy(array.astype(np.float32))
            field = torch.nn.functional.interpolate(
                layer, (rows, columns), mode="bilinear", antialias=True
            )
            fields.append(field[0].permute(1, 2, 0).numpy())
        return fields

    def _run(self, session: Any, pixels: np.ndarray) -> list[np.ndarray]:
        how = self._preparation
        picture = pixels[..., ::-1] if how.bgr else pixels
        scaled = (picture - np.array(how.mean)) / np.array(how.deviation)
        array = np.ascontiguousarray(scaled.transpose(2, 0, 1)[None].astype(self._dtype))
        try:
            return session.run(None, {self._input: array})
        except Exception as error:  # onnxruntime's errors share no class of their own
            raise UsageError(f"{self._location}: {str(error).splitlines()[0]}") from error


def open_network(location: str) -> Any:
    """Return the ONNX model at a path or URL; raises UsageError if there is none."""
    try:
        import onnx
    except ImportError as error:
        raise UsageError(f"--extractor needs {install_hint('train')} ({error})") from error
    data = _fetched(location)
    try:
        return onnx.load_from_string(data)
    except Exception as error:  # protobuf's error class differs between its implementations
        raise UsageError(f"{location} is no ONNX network: {error}") from error


def _picture_input(model: Any, location: str) -> tuple[str, type]:
    """Return name and type of the input [1, 3, H, W], and make its sides variable."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    shapes = [value.type.tensor_type.shape.dim for value in inputs]
    if len(inputs) != 1 or len(shapes[0]) != 4 or shapes[0][1].dim_value not in (0, 3):
        raise UsageError(f"{location} does not take one picture as [1, 3, H, W]")
    for place, name in ((2, "height"), (3, "width")):
        shapes[0][place].dim_param = name
    kinds: dict[int, type] = {1: np.float32, 10: np.float16}  # onnx.TensorProto.DataType
    kind = inputs[0].type.tensor_type.elem_type
    if kind not in kinds:
        raise UsageError(f"{location}: its input is not a floating-point picture")
    return inputs[0].name, kinds[kind]


def _session(model: Any, outputs: list[str]) -> Any:
    """Open a network with these outputs; nodes that lead to other outputs only are not run."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(f"--extractor needs {install_hint('train')} ({error})") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    graph = model.graph
    graph.ClearField("value_info")
    graph.ClearField("output")
    for name in outputs:
        graph.output.add().name = name
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # as above
        raise UsageError(f"the extractor cannot be run: {str(error).splitlines()[0]}") from error


def _last_of_each_stride(
    names: list[str], shapes: list[tuple[int, ...]], location: str
) -> tuple[str, ...]:
    """Choose the last feature map of each stride within `STRIDES`, finest first."""
    last: dict[int, str] = {}
    for name, shape in zip(names, shapes, strict=True):
        if len(shape) == 4 and shape[1] >= LEAST_CHANNELS and min(shape[2:]) > 1:
            stride = round(_PROBE / shape[2])
            if STRIDES[0] <= stride <= STRIDES[1]:
                last[stride] = name
    if not last:
        raise UsageError(f"{location} has no feature maps at strides {STRIDES[0]} to {STRIDES[1]}")
    return tuple(last[stride] for stride in sorted(last)[-MOST_LAYERS:])
