"""Small ONNX networks and photos for tests of extractors.

Their last byte is the version of their operators: 17 and not 13, a carriage return, which the
storage emulator would cut off.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from skimage import data

CHANNELS = 8


def photo(number: int, height: int = 96, width: int = 120) -> np.ndarray:
    """A crop of a photo, another one for each number: uint8 [height, width, 3]."""
    source = [data.astronaut(), data.chelsea(), data.coffee()][number % 3]
    top, left = 31 * number % 150, 47 * number % 200
    return np.ascontiguousarray(source[top : top + height, left : left + width])


def filters(seed: int = 3) -> np.ndarray:
    """Weights of the one layer, float32 [CHANNELS, 3, 4, 4], above zero."""
    draw = np.random.default_rng(seed).random((CHANNELS, 3, 4, 4))
    return draw.astype(np.float32)


def network(
    batch: int | str = "n",
    side: int | str = 32,
    *,
    nhwc: bool = False,
    half: bool = False,
    logarithm: bool = False,
) -> bytes:
    """A convolution ("map"), its mean over positions ("mean") and a matrix ("scores") as ONNX.

    `logarithm` ends in the logarithm of the mean, which a picture of zeros has none of.
    """
    kind, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
    shape = [batch, side, side, 3] if nhwc else [batch, 3, side, side]
    nodes, first = [], "picture"
    if nhwc:
        nodes.append(helper.make_node("Transpose", ["picture"], ["turned"], perm=[0, 3, 1, 2]))
        first = "turned"
    nodes += [
        helper.make_node("Conv", [first, "filters"], ["map"], strides=[4, 4]),
        helper.make_node("GlobalAveragePool", ["map"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["scores"]),
    ]
    if logarithm:
        nodes.append(helper.make_node("Log", ["flat"], ["logarithm"]))
    matrix = np.eye(CHANNELS, 5, dtype=dtype) - dtype(0.1)
    weights = {"filters": filters().astype(dtype), "matrix": matrix}
    last = "logarithm" if logarithm else "scores"
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("picture", kind, shape)],
        [helper.make_tensor_value_info(last, kind, [batch, CHANNELS if logarithm else 5])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def two_inputs() -> bytes:
    """A network of two pictures."""
    shape = [1, 3, 8, 8]
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["sum"])],
        "two",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "ab"],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, shape)],
    )
    content: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    return content


def saved(folder: Path, content: bytes, name: str = "small.onnx") -> tuple[Path, str]:
    """Path and SHA-256 of a file with that content."""
    path = folder / name
    path.write_bytes(content)
    return path, hashlib.sha256(content).hexdigest()


def mean_of_map(pictures: np.ndarray) -> np.ndarray:
    """What "mean" is for float [N, 3, H, W], by another convolution than ONNX's."""
    import torch

    found: Any = torch.nn.functional.conv2d(
        torch.from_numpy(pictures.astype(np.float32)), torch.from_numpy(filters()), stride=4
    )
    mean: np.ndarray = found.mean((2, 3)).numpy()
    return mean
