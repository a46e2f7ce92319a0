"""Features, pseudo-labels and the head that is taught them: invariances, losses, limits of use."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from skimage import data

from underpaint.codec.errors import UsageError
from underpaint.codec.palette.semantic_head import (
    HEAD_INPUTS,
    OWN_INPUTS,
    SemanticHead,
    head_inputs,
    unit_length,
)
from underpaint.codec.training.fit_classes import fit_masks, sensitivity_of_classes
from underpaint.codec.training.fit_head import (
    Positions,
    contrastive_loss,
    fit_head,
    sample_positions,
)
from underpaint.codec.training.pseudo_labels import fuse, pseudo_labels
from underpaint.codec.training.recipe import finest_steps
from underpaint.codec.training.semantic_layers import TEXTURE_ALONE, SemanticLayers, extractor_label
from underpaint.codec.training.settings import Recipe
from underpaint.codec.training.texture_features import TEXTURE_FEATURES, texture_features

TURNS = {
    "mirrored": lambda x: x.flip(-1),
    "upside down": lambda x: x.flip(-2),
    "quarter turn": lambda x: torch.rot90(x, 1, (-2, -1)),
    "half turn": lambda x: torch.rot90(x, 2, (-2, -1)),
    "three quarters": lambda x: torch.rot90(x, 3, (-2, -1)),
    "transposed": lambda x: x.transpose(-2, -1),
}


@pytest.mark.parametrize("turn", TURNS)
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31), rows=st.integers(1, 4), columns=st.integers(1, 4))
def test_texture_does_not_depend_on_flips_and_quarter_turns(turn, seed, rows, columns):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(3, 2 * rows, 2 * columns, generator=generator)[None]
    smooth = torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bilinear")[0]
    noise = torch.rand(3, 16 * rows, 16 * columns, generator=generator)
    pixels = 180 * smooth + 75 * noise
    straight = texture_features(pixels).permute(2, 0, 1)
    turned = texture_features(TURNS[turn](pixels)).permute(2, 0, 1)
    assert straight.shape == (TEXTURE_FEATURES, rows, columns)
    torch.testing.assert_close(turned, TURNS[turn](straight), rtol=1e-3, atol=1e-3)


def _stripes(degrees: float, wavelength: float) -> torch.Tensor:
    """Stripes of 64 x 64 pixels."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    turn = torch.deg2rad(torch.tensor(degrees))
    wave = torch.sin((x * torch.cos(turn) + y * torch.sin(turn)) * 2 * torch.pi / wavelength)
    return (128 + 60 * wave).expand(3, -1, -1)


@pytest.mark.parametrize("degrees", [10, 30, 45, 60, 80])
def test_a_turned_texture_is_nearer_than_another_one(degrees):
    generator = torch.Generator().manual_seed(1)
    noise = 128 + 42 * torch.randn(1, 64, 64, generator=generator).expand(3, -1, -1)

    def middle(pixels: torch.Tensor) -> torch.Tensor:
        return texture_features(pixels)[1:3, 1:3].mean((0, 1))

    upright = middle(_stripes(0, 6))
    to_turned = (middle(_stripes(degrees, 6)) - upright).norm()
    for other in (noise, _stripes(0, 12), _stripes(degrees, 3.5)):
        assert to_turned < 0.5 * (middle(other) - upright).norm()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), h=st.integers(1, 14), w=st.integers(1, 14))
def test_neighbourhoods_are_means_over_squares(seed, h, w):
    own = np.random.default_rng(seed).normal(size=(h, w, OWN_INPUTS)).astype(np.float32)
    itself, three, nine = np.split(head_inputs(own), 3, -1)
    np.testing.assert_array_equal(itself, own)
    padded = np.pad(own, ((1, 1), (1, 1), (0, 0)), "edge")
    shifted = [padded[y : y + h, x : x + w] for y, x in product(range(3), range(3))]
    np.testing.assert_allclose(three, np.mean(shifted, 0), atol=1e-5)
    for y in range(4, h - 4):
        for x in range(4, w - 4):
            square = own[y - 4 : y + 5, x - 4 : x + 5]
            np.testing.assert_allclose(nine[y, x], square.mean((0, 1)), atol=1e-5)
    np.testing.assert_allclose(head_inputs(own * 0 + 3), 3, rtol=1e-6)


def _head(rng: np.random.Generator) -> SemanticHead:
    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    return SemanticHead(normal(5, HEAD_INPUTS + 1), normal(4, 5), normal(4, HEAD_INPUTS + 1))


def test_embeddings_have_length_one_and_agree_for_maps_and_single_positions():
    rng = np.random.default_rng(3)
    head, own = _head(rng), rng.normal(size=(6, 7, OWN_INPUTS)).astype(np.float32)
    embedded = head.embed(own)
    assert embedded.shape == (6, 7, 4)
    assert embedded.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=-1), 1, rtol=1e-5)
    inputs = head_inputs(own)
    np.testing.assert_allclose(head.embed_inputs(inputs.reshape(-1, HEAD_INPUTS)),
                               embedded.reshape(-1, 4), atol=1e-5)  # fmt: skip
    plain = inputs.astype(np.float64)
    hidden = np.maximum(plain @ head.widen[:, :-1].T + head.widen[:, -1], 0)
    expected = hidden @ head.narrow.T + plain @ head.skip[:, :-1].T + head.skip[:, -1]
    np.testing.assert_allclose(embedded, unit_length(expected), atol=1e-5)
    assert not unit_length(np.zeros((2, 3))).any()


def _clusters(count: int, each: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    places = 6 * torch.randn(count, 5, generator=generator)
    truth = torch.arange(count).repeat_interleave(each)
    return places[truth] + 0.2 * torch.randn(count * each, 5, generator=generator), truth


@pytest.mark.parametrize("seed", range(4))
def test_pseudo_labels_find_clusters(seed):
    points, truth = _clusters(8, 700, seed)
    labels = pseudo_labels(points, 8, 4, torch.Generator().manual_seed(seed))
    pairs = set(zip(labels.tolist(), truth.tolist(), strict=True))
    assert len(pairs) == 8


def test_pseudo_labels_of_fewer_points_than_labels():
    labels = pseudo_labels(torch.eye(3), 10, 2, torch.Generator().manual_seed(0))
    assert len(set(labels.tolist())) == 3


def test_fused_groups_weigh_the_same_however_many_channels_they_have():
    generator = torch.Generator().manual_seed(0)
    few, many = torch.randn(900, 3, generator=generator), torch.rand(900, 80, generator=generator)
    groups = [50 * few, many]
    fused = fuse(groups, 8)
    assert fused.shape == (900, 3 + 8)
    for part in fused.split([3, 8], 1):
        assert part.square().sum(1).mean().item() == pytest.approx(1, rel=1e-3)


def test_the_contrastive_loss_is_that_of_the_paper():
    generator = torch.Generator().manual_seed(2)
    z = torch.nn.functional.normalize(torch.randn(7, 3, generator=generator), dim=1)
    labels = torch.tensor([0, 1, 0, 2, 1, 0, 3])
    terms = []
    for i in range(7):
        others = [j for j in range(7) if j != i]
        friends = [j for j in others if labels[j] == labels[i]]
        if friends:
            total = sum(torch.exp(z[i] @ z[j] / 0.1) for j in others)
            chances = [torch.log(torch.exp(z[i] @ z[j] / 0.1) / total) for j in friends]
            terms.append(-sum(chances) / len(friends))
    expected = sum(terms) / len(terms)
    torch.testing.assert_close(contrastive_loss(z, labels), expected)


@pytest.mark.slow
def test_contrastive_learning_brings_positions_of_a_label_together():
    rng = np.random.default_rng(5)
    label = rng.integers(0, 6, 3000)
    inputs = rng.normal(size=(3000, HEAD_INPUTS)).astype(np.float32)
    inputs[np.arange(3000), label] += 4  # what tells labels apart is small beside what does not
    inputs[:, 60:] *= 6
    shown = 5 * np.eye(6)[label] + 0.1 * rng.normal(size=(3000, 6))
    positions = Positions(
        np.zeros((3000, 36)), inputs, [shown.astype(np.float32)], label, np.zeros((3000, 0))
    )

    def closeness(steps: int) -> float:
        recipe = Recipe(pseudo_labels=6, contrastive_steps=steps, embedding=8, head_width=16)
        likeness = (z := fit_head(positions, recipe).embed_inputs(inputs[:500])) @ z.T
        same = label[:500, None] == label[:500]
        return float(likeness[same].mean() - likeness[~same].mean())

    assert closeness(0) < 0.2
    assert closeness(300) > 0.35


def _network(path: Path, *, wide: int = 20, shape: tuple = (1, 3, 64, 64), strides=(4, 4)) -> str:
    """Write a network of two convolutions and a mean: layers at strides 4 and 16, then no map."""
    rng = np.random.default_rng(0)
    weights = [
        rng.normal(size=(wide, 3, strides[0], strides[0])).astype(np.float32),
        rng.normal(size=(wide, wide, strides[1], strides[1])).astype(np.float32),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], strides=[strides[0]] * 2),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"], strides=[strides[1]] * 2),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
    ]
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("d", TensorProto.FLOAT, (1, wide, 1, 1))],
        [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return str(path)


def test_layers_of_a_network_lie_over_the_positions(tmp_path):
    layers = SemanticLayers(_network(tmp_path / "net.onnx"), "unit")
    assert layers.layers == ("b", "c")
    picture = data.astronaut()[:96, :160]
    fine, coarse = layers(picture)
    assert fine.shape == coarse.shape == (6, 10, 20)
    changed = picture.copy()
    changed[80:, :16] = 0
    differs = [np.abs(a - b).max(-1) for a, b in zip(layers(changed), (fine, coarse), strict=True)]
    assert all(d[5, 0] > 0.01 and not d[:4].any() and not d[:, 3:].any() for d in differs)


def test_what_a_network_is_shown(tmp_path):
    location = _network(tmp_path / "net.onnx")
    picture = data.astronaut()[:64, :64]
    unit, caffe = (SemanticLayers(location, name) for name in ("unit", "caffe"))
    backwards = picture[..., ::-1].astype(float) - (104, 117, 123)
    shown = backwards.transpose(2, 0, 1)[None].astype(np.float32)
    _, expected = unit._session.run(None, {"x": shown})
    np.testing.assert_allclose(caffe(picture)[1], expected[0].transpose(1, 2, 0), rtol=1e-3)


def test_positions_are_sampled_with_and_without_an_extractor(tmp_path):
    photos = [data.astronaut()[:100, :130], data.coffee()[:64, :64]]
    steps = finest_steps(Recipe())
    extractor = _network(tmp_path / "net.onnx")
    recipes = (Recipe(), Recipe(extractor=extractor, extractor_input="unit"))
    bare, taught = (
        sample_positions(photos, steps, recipe, 30, np.random.default_rng(0)) for recipe in recipes
    )
    assert [f.shape for f in bare.features] == [(46, TEXTURE_FEATURES)]
    assert [f.shape[1] for f in taught.features] == [TEXTURE_FEATURES, 20, 20]
    np.testing.assert_array_equal(bare.inputs, taught.inputs)
    assert np.bincount(bare.photo).tolist() == [30, 16]
    assert bare.changes.shape == (46, 0)
    assert taught.changes.shape == (46, 2)
    assert (taught.changes > 0).all()
    head = fit_head(taught, replace(recipes[1], pseudo_labels=5, contrastive_steps=3))
    assert head.embed_inputs(taught.inputs).shape == (46, 16)


def test_what_is_noticed_sooner_is_quantised_finer():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 5000)
    pixels = rng.gamma(2, 20, 5000)
    features = pixels * np.array([1e-3, 4e-3, 1e-3])[labels] * rng.gamma(5, 0.2, 5000)
    notice = sensitivity_of_classes(np.stack([features, pixels], 1), labels, 4)
    assert notice[1] / notice[0] == pytest.approx(4, rel=0.1)
    assert notice[3] == pytest.approx(features.sum() / pixels.sum(), rel=1e-6)  # no position
    scale = np.full((4, 36), 2.0, np.float32)
    masks = fit_masks(scale, 0.6, notice, 1.0)
    assert masks[0] / masks[1] == pytest.approx(2, rel=0.05)
    np.testing.assert_array_equal(fit_masks(scale, 0.6, notice, 0.0), 1)
    scale[2:] *= 2
    masks = fit_masks(scale, 0.5, None, 0.0)
    assert masks[2] / masks[0] == pytest.approx(2**0.5, rel=1e-4)


def test_what_is_no_extractor_gets_one_clear_line(tmp_path):
    assert extractor_label("") == TEXTURE_ALONE
    with pytest.raises(UsageError, match="no extractor at"):
        extractor_label(str(tmp_path / "nowhere.onnx"))
    location = _network(tmp_path / "net.onnx")
    assert extractor_label(location).startswith("net.onnx sha256=")
    with pytest.raises(UsageError, match="caffe, imagenet, unit"):
        SemanticLayers(location, "vgg")
    with pytest.raises(UsageError, match="no feature maps"):
        SemanticLayers(_network(tmp_path / "narrow.onnx", wide=8), "unit")
    with pytest.raises(UsageError, match="one picture"):
        SemanticLayers(_network(tmp_path / "flat.onnx", shape=(1, 3)), "unit")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(UsageError, match="ONNX"):
        SemanticLayers(str(tmp_path / "text.onnx"), "unit")
