"""The loss on features: what onnxruntime computes, with a gradient that leads to the picture."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from underpaint.codec.errors import UsageError
from underpaint.codec.quantize.cells import Cells
from underpaint.codec.training.perceptual import FeatureDistance
from underpaint.codec.training.samples import cell_index

CPU = torch.device("cpu")


def _fire(path: Path, last: str = "Concat") -> str:
    """Save a small network: a convolution, a pooling, two branches joined, and a score."""
    rng = np.random.default_rng(5)
    shapes = {"w0": (8, 3, 3, 3), "b0": (8,), "w1": (6, 8, 1, 1), "w2": (6, 8, 3, 3)}
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Conv", ["x", "w0", "b0"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
            node("Relu", ["a"], ["b"]),
            node("MaxPool", ["b"], ["c"], kernel_shape=[3, 3], strides=[2, 2]),
            node("Conv", ["c", "w1"], ["d"]),
            node("Conv", ["c", "w2"], ["e"], pads=[1, 1, 1, 1]),
            node(last, ["d", "e"], ["f"], **({"axis": 1} if last == "Concat" else {})),
            node("GlobalAveragePool", ["f"], ["g"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, "height", "width"))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("g", "f")],
        [
            numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name)
            for name, shape in shapes.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return str(path)


@pytest.mark.parametrize("last", ["Concat", "Add"])
def test_features_are_those_of_onnxruntime(tmp_path, last):
    location = _fire(tmp_path / "net.onnx", last)
    pixels = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(1)) * 255
    [found] = FeatureDistance(location, "caffe", CPU).features(pixels)
    shown = pixels.numpy()[:, ::-1] - np.float32([104, 117, 123])[:, None, None]
    [plain] = onnxruntime.InferenceSession(location).run(["f"], {"x": np.ascontiguousarray(shown)})
    expected = plain / np.linalg.norm(plain, axis=1, keepdims=True)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


def test_a_step_along_the_gradient_brings_pictures_closer(tmp_path):
    distance = FeatureDistance(_fire(tmp_path / "net.onnx"), "imagenet", CPU)
    draw = torch.Generator().manual_seed(2)
    original = torch.rand(2, 3, 32, 32, generator=draw) * 255
    wanted = distance.features(original)
    assert distance(wanted, original).item() == pytest.approx(0, abs=1e-9)
    other = (original + 20 * torch.randn(original.shape, generator=draw)).requires_grad_()
    before = distance(wanted, other)
    before.backward()
    moved = other.detach() - 5 * other.grad / other.grad.abs().max()
    assert 0 < distance(wanted, moved).item() < before.item()


def test_networks_that_cannot_be_run_get_one_clear_line(tmp_path):
    with pytest.raises(UsageError, match="no extractor at"):
        FeatureDistance(str(tmp_path / "none.onnx"), "unit", CPU)
    with pytest.raises(UsageError, match="an operator Mul that is not supported"):
        FeatureDistance(_with_mul(tmp_path), "unit", CPU)


def _with_mul(folder: Path) -> str:
    model = onnx.load(_fire(folder / "net.onnx"))
    model.graph.node.insert(1, helper.make_node("Mul", ["a", "a"], ["square"]))
    onnx.save(model, folder / "mul.onnx")
    return str(folder / "mul.onnx")


@pytest.mark.parametrize("cells", [Cells(0, 1), Cells(7, 8), Cells(8, 9)])
def test_cells_are_found_on_any_device_as_by_the_coder(cells):
    q = np.arange(-300, 301, dtype=np.int16)
    assert np.array_equal(cell_index(torch.from_numpy(q), cells).numpy(), cells.index(q))
