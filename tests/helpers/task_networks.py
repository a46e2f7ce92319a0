"""Networks that see what can be worked out by hand, and a folder of tasks for them."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from skimage import data

CELL = 8
"""Side in pixels of what the detector sees."""


def save_network(path: Path, nodes, inputs, outputs, weights) -> Path:
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def bright_cell_detector(path: Path, side: int = 64) -> Path:
    """YOLOX's interface; sees an object of class 0 in each blue cell of 8x8 pixels."""
    count, rest = (side // 8) ** 2, (side // 16) ** 2 + (side // 32) ** 2
    mix = np.zeros((3, 85), np.float32)
    mix[0, 4] = 1 / 255
    bias = np.zeros(85, np.float32)
    bias[[0, 1, 5]] = 0.5, 0.5, 1
    nodes = [
        helper.make_node("AveragePool", ["images"], ["means"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Reshape", ["means", "shape"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["cells"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["cells", "mix"], ["mixed"]),
        helper.make_node("Add", ["mixed", "bias"], ["fine"]),
        helper.make_node("Concat", ["fine", "coarse"], ["output"], axis=1),
    ]
    weights = {
        "shape": np.array([1, 3, count], np.int64),
        "mix": mix,
        "bias": bias,
        "coarse": np.zeros((1, rest, 85), np.float32),
    }
    shapes = {"images": [1, 3, side, side]}, {"output": [1, count + rest, 85]}
    return save_network(path, nodes, *shapes, weights)


def colour_segmenter(path: Path, side: int = 48) -> Path:
    """DeepLab's interface; red is a person, all else background."""
    mix = np.zeros((3, 21), np.float32)
    mix[:, 15] = 1, -1, -1
    bias = np.full(21, -9, np.float32)
    bias[[0, 15]] = 0, -2
    nodes = [
        helper.make_node("MatMul", ["image", "mix"], ["mixed"]),
        helper.make_node("Add", ["mixed", "bias"], ["scores"]),
    ]
    shapes = {"image": [1, side, side, 3]}, {"scores": [1, side, side, 21]}
    return save_network(path, nodes, *shapes, {"mix": mix, "bias": bias})


def bright_cell_nanodet(path: Path, side: int = 64) -> Path:
    """NanoDet's interface; sees an object of class 0 where a cell of 8 x 8 pixels is blue.

    Its box reaches from half a cell to one and a half cells about the middle.
    """
    count = (side // CELL) ** 2
    mix = np.zeros((3, 80), np.float32)
    mix[0, 0] = 0.25  # blue stands first, and its deviation is about 2 where all else is -2
    distances = np.full((1, count, 4, 3), -20, np.float32)
    distances[:, :, :2] = 9, 9, -20  # half a cell to the left and the top
    distances[:, :, 2:] = -20, 9, 9  # one and a half to the right and the bottom
    nodes = [
        helper.make_node("AveragePool", ["data"], ["means"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Relu", ["means"], ["bright"]),
        helper.make_node("Reshape", ["bright", "shape"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["cells"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["cells", "mix"], ["classes"]),
        helper.make_node("ReduceMean", ["data"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["laws", "nothing"], ["distances"]),
    ]
    weights = {
        "shape": np.array([1, 3, count], np.int64),
        "mix": mix,
        "laws": distances.reshape(1, count, 12),
        "zero": np.zeros((), np.float32),
    }
    outputs = {"distances": [1, count, 12], "classes": [1, count, 80]}
    return save_network(path, nodes, {"data": [1, 3, side, side]}, outputs, weights)


def red_person(path: Path, side: int = 48) -> Path:
    """The interface of a segmenter of people; whoever is red is one."""
    mix = np.array([[1], [-1], [-1]], np.float32)
    nodes = [helper.make_node("MatMul", ["image", "mix"], ["chance"])]
    shapes = {"image": [1, side, side, 3]}, {"chance": [1, side, side, 1]}
    return save_network(path, nodes, *shapes, {"mix": mix})


def constant_network(path: Path, shape, **outputs: np.ndarray) -> Path:
    """The same answers whatever it is shown: what is tested is where they are put."""
    nodes = [helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0)]
    nodes += [helper.make_node("Mul", ["mean", "zero"], ["nothing"])]
    nodes += [helper.make_node("Add", [f"{n}_value", "nothing"], [n]) for n in outputs]
    weights = {f"{n}_value": v.astype(np.float32) for n, v in outputs.items()}
    weights["zero"] = np.zeros((), np.float32)
    shapes = {n: list(v.shape) for n, v in outputs.items()}
    return save_network(path, nodes, {"input": list(shape)}, shapes, weights)


def blue_cells(*cells: tuple[int, int], shape=(64, 64)) -> np.ndarray:
    picture = np.zeros((*shape, 3), np.uint8)
    for row, column in cells:
        picture[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL, 2] = 255
    return picture


def make_task_folder(folder: Path) -> Path:
    """Two photos with blue cells and a red patch painted in, with boxes and masks of these."""
    bright_cell_detector(folder / "networks" / "yolox_cells.onnx")
    colour_segmenter(folder / "networks" / "deeplab_red.onnx")
    shapes = folder / "shapes"
    for name in ("images", "boxes", "masks"):
        (shapes / name).mkdir(parents=True)
    (shapes / "classes-masks.yaml").write_text("classes:\n  0: unlabeled\n  1: person\n  2: sky\n")
    for index, cells in enumerate([[(1, 1), (5, 6)], [(3, 2)]]):
        texture = data.grass()[64 * index : 64 * index + 64, :64] // 3
        picture = np.stack([texture] * 3, 2)
        picture[..., 2] = 0
        mask = np.full((64, 64), 2, np.uint8)
        picture[51:62, 3:16] = 255, 0, 0
        mask[51:62, 3:16] = 1
        lines = []
        for row, column in cells:
            picture[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = 0, 0, 255
            lines.append(f"0 {(column + 0.5) / 8} {(row + 0.5) / 8} 0.125 0.125")
        Image.fromarray(picture).save(shapes / "images" / f"{index}.png")
        Image.fromarray(mask).save(shapes / "masks" / f"{index}.png")
        (shapes / "boxes" / f"{index}.txt").write_text("\n".join(lines) + "\n")
    return folder
