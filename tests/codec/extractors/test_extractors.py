"""Extractors: names, files held to their SHA-256, preprocessing, and what a vector is."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.helpers.networks import CHANNELS, mean_of_map, network, photo, saved, two_inputs
from underpaint.codec.errors import ChecksumMismatch, FeaturesInvalid, UsageError
from underpaint.codec.extractors import Extractor, Preprocessing, open_extractor
from underpaint.codec.extractors.base import pooled
from underpaint.codec.extractors.names import ExtractorName
from underpaint.codec.extractors.onnx_network import with_output
from underpaint.codec.image_io.read import read_picture, write_picture
from underpaint.codec.palette.classes import TEXTURE_BANDS
from underpaint.codec.storage import download as fetching
from underpaint.codec.weights.loading import load_weights

DIGEST = "0123456789abcdef" * 4
PLAIN = "mean=0,0,0&std=1,1,1"
"""Options of a network that is given 0..255."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(fetching.CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def library(name: str) -> ModuleType:
    """An optional library; the test is skipped where it is not there or does not fit torch."""
    try:
        return importlib.import_module(name)
    except ImportError:
        pytest.skip(f"{name} is not installed")
    except (RuntimeError, OSError) as error:
        pytest.skip(f"{name} does not fit the torch that is installed: {error}")


def vectors(extractor: Extractor, *images: np.ndarray) -> np.ndarray:
    fitted = np.stack([extractor.preprocessing.fit(image) for image in images])
    return extractor.features(fitted)


def unit(array: np.ndarray) -> np.ndarray:
    normalised: np.ndarray = array / np.linalg.norm(array, axis=1, keepdims=True)
    return normalised


@pytest.mark.parametrize(
    ("text", "kind", "network", "location"),
    [
        ("underpaint", "underpaint", "", ""),
        ("torchvision:resnet50", "torchvision", "resnet50", ""),
        ("timm:vit_small_patch14_dinov2.lvd142m", "timm", "vit_small_patch14_dinov2.lvd142m", ""),
        (f"timm:net@gs://b/f.safetensors#sha256={DIGEST}", "timm", "net", "gs://b/f.safetensors"),
        (f"onnx:https://h/n.onnx#sha256={DIGEST}&output=x/y", "onnx", "", "https://h/n.onnx"),
        ("my.module:Class", "my.module", "Class", ""),
    ],
)
def test_names_are_read_and_written(text: str, kind: str, network: str, location: str) -> None:
    name = ExtractorName.parse(text)
    assert (name.kind, name.network, name.location) == (kind, network, location)
    assert str(name) == text
    assert location not in name.identity or not location
    assert name.sha256 == (DIGEST if "sha256" in text else None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":x",
        "onnx:",
        "timm:",
        "torchvision:@file",
        "onnx:file#sha256=abc",
        "onnx:file#output",
        "onnx:file#size=1&size=2",
        f"torchvision:resnet50#sha256={DIGEST}",
        "timm:net@file#size=224",
        "underpaint#size=3",
    ],
)
def test_mistaken_names_are_told(text: str) -> None:
    with pytest.raises(UsageError):
        ExtractorName.parse(text)


@pytest.mark.parametrize("name", ["resnet50", "nowhere.to.be.found:Class", "json:NoSuchClass"])
def test_names_of_nothing_are_told(name: str) -> None:
    with pytest.raises(UsageError, match=name.split(":")[0]):
        open_extractor(name)


def test_our_own_features_have_the_documented_size_and_length() -> None:
    extractor = open_extractor("underpaint")
    weights = load_weights(None)
    assert extractor.size == weights.classes.count + weights.head.size + 2 * TEXTURE_BANDS + 48
    assert extractor.identity == f"underpaint:1#weights={weights.id}"
    flat = np.full((5, 3, 3), 128, np.uint8)
    found = vectors(extractor, photo(0), photo(1, 40, 300), flat)
    assert found.dtype == np.float32
    assert found.shape == (3, extractor.size)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)


def test_a_picture_is_nearest_to_its_copies() -> None:
    extractor = open_extractor("underpaint")
    photos = [photo(number, 200, 240) for number in range(6)]
    for copy in (
        [np.asarray(Image.fromarray(each).resize((150, 140))) for each in photos],
        [read_picture(write_picture(each, "jpeg", quality=60)).pixels for each in photos],
        [each[4:-4, 4:-4] for each in photos],
    ):
        similarity = vectors(extractor, *photos) @ vectors(extractor, *copy).T
        assert similarity.argmax(1).tolist() == list(range(6))
        assert similarity.diagonal().min() > 0.8


def test_vectors_do_not_depend_on_the_batch() -> None:
    extractor = open_extractor("underpaint")
    together = vectors(extractor, *(photo(number) for number in range(5)))
    alone = np.concatenate([vectors(extractor, photo(number)) for number in range(5)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_preprocessing_keeps_the_centre_and_scales() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 20:60] = (10, 20, 30)
    kept = Preprocessing(16, crop=1.0).fit(image)
    assert abs(kept - np.float64((10, 20, 30))).max() <= 3
    assert (Preprocessing(16, crop=None).fit(image)[:, 0] < 5).all()
    how = Preprocessing(16, 1.0, (10, 10, 10), (1, 2, 4), "bgr", "nchw")
    array = how.array(how.fit(image)[None])
    assert array.shape == (1, 3, 16, 16)
    assert array[0, :, 8, 8].tolist() == [5, 5, 0]
    assert how.array(how.probe()).dtype == np.float32


def test_outputs_are_averaged_over_positions_or_tokens() -> None:
    array = np.arange(48, dtype=np.float32).reshape(2, 4, 2, 3)
    assert pooled(array).tolist() == array.mean((2, 3)).tolist()
    assert pooled(array, "nhwc").tolist() == array.mean((1, 2)).tolist()
    assert pooled(array[:, :, 0]).tolist() == array[:, :, 0].mean(1).tolist()
    with pytest.raises(UsageError, match="dimensions"):
        pooled(array[0, 0, 0])


@pytest.mark.parametrize("batch", ["n", 1, 3])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("nhwc", [False, True])
def test_an_onnx_file_gives_what_its_network_computes(
    tmp_path: Path, batch: int | str, half: bool, nhwc: bool
) -> None:
    path, digest = saved(tmp_path, network(batch, 32, half=half, nhwc=nhwc))
    extractor = open_extractor(f"onnx:{path}#sha256={digest}&output=mean&{PLAIN}&crop=1")
    assert extractor.size == CHANNELS
    photos = [photo(number) for number in range(4)]
    fitted = np.stack([extractor.preprocessing.fit(each) for each in photos])
    assert fitted.shape == (4, 32, 32, 3)
    expected = unit(mean_of_map(fitted.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(extractor.features(fitted), expected, atol=2e-3 if half else 1e-5)


def test_any_tensor_of_an_onnx_file_can_be_asked_for(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, network())
    sizes = {name: open_extractor(f"onnx:{path}#output={name}").size for name in ("map", "scores")}
    assert sizes == {"map": CHANNELS, "scores": 5}
    assert open_extractor(f"onnx:{path}#output=map&output_layout=nhwc").size == 32 // 4
    assert open_extractor(f"onnx:{path}").size == 5
    with pytest.raises(UsageError, match=r"small\.onnx"):
        open_extractor(f"onnx:{path}#output=nothing")


def test_an_added_output_is_what_onnx_itself_would_write() -> None:
    import onnx

    model = onnx.load_from_string(with_output(network(), "x" * 200))
    assert [output.name for output in model.graph.output] == ["scores", "x" * 200]
    assert len(model.graph.node) == 4


def test_free_sides_take_the_size_that_is_asked_for(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, network(1, "side"))
    assert open_extractor(f"onnx:{path}#output=mean").preprocessing.side == 224
    small = open_extractor(f"onnx:{path}#output=mean&size=64&order=bgr&layout=nchw")
    assert small.preprocessing == Preprocessing(64, order="bgr")


def test_the_identity_is_of_the_bytes_and_options_and_not_of_the_place(tmp_path: Path) -> None:
    first, digest = saved(tmp_path, network())
    second, _ = saved(tmp_path, first.read_bytes(), "other.onnx")
    one, two = (open_extractor(f"onnx:{path}#std=1,1,1&mean=0,0,0") for path in (first, second))
    assert one.identity == two.identity == f"onnx#sha256={digest}&mean=0,0,0&std=1,1,1"
    assert one.name != two.name
    assert open_extractor(one.name).identity == one.identity
    assert open_extractor(f"onnx:{first}").identity != one.identity


def test_another_file_than_the_named_one_is_refused(tmp_path: Path) -> None:
    path, digest = saved(tmp_path, network())
    path.write_bytes(network(1))
    with pytest.raises(ChecksumMismatch, match=digest):
        open_extractor(f"onnx:{path}#sha256={digest}")


def test_a_network_comes_from_cloud_storage_once(gs_folder: str, tmp_path: Path) -> None:
    import fsspec

    path, digest = saved(tmp_path, network())
    fs = fsspec.filesystem("gs")
    fs.put_file(str(path), f"{gs_folder}/net.onnx")
    name = f"onnx:{gs_folder}/net.onnx#sha256={digest}"
    first = open_extractor(name)
    assert (tmp_path / "cache" / digest).read_bytes() == path.read_bytes()
    fs.rm_file(f"{gs_folder}/net.onnx")
    again = open_extractor(name)
    assert again.identity == first.identity
    assert (vectors(again, photo(0)) == vectors(first, photo(0))).all()
    with pytest.raises(UsageError, match="no network at"):
        open_extractor(f"onnx:{gs_folder}/net.onnx")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("output_layout=x", "nchw or nhwc"),
        ("size=64", "sees 32"),
        ("order=rbg", "rgb or bgr"),
        ("layout=chw", "nchw or nhwc"),
        ("mean=1,2", "values"),
        ("std=0,1,1", "above 0"),
        ("crop=2", "0 to 1"),
        ("colour=red", "colour"),
    ],
)
def test_mistaken_options_are_told(tmp_path: Path, options: str, text: str) -> None:
    path, _ = saved(tmp_path, network())
    with pytest.raises(UsageError, match=text):
        open_extractor(f"onnx:{path}#{options}")


def test_files_that_are_no_networks_of_pictures_are_told(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, b"no network")
    with pytest.raises(UsageError, match=r"small\.onnx"):
        open_extractor(f"onnx:{path}")
    path, _ = saved(tmp_path, two_inputs())
    with pytest.raises(UsageError, match="2 inputs"):
        open_extractor(f"onnx:{path}")
    with pytest.raises(UsageError, match="no network at"):
        open_extractor(f"onnx:{tmp_path / 'nothing.onnx'}")


def test_features_that_are_none_are_an_error(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, network(logarithm=True))
    extractor = open_extractor(f"onnx:{path}#{PLAIN}")
    assert np.isfinite(vectors(extractor, photo(0))).all()
    with pytest.raises(FeaturesInvalid):
        vectors(extractor, np.zeros((20, 20, 3), np.uint8))


def test_torchvision_takes_weights_from_a_file(tmp_path: Path) -> None:
    library("torchvision")
    from torchvision.models import resnet18

    torch.manual_seed(1)
    made = resnet18(weights=None).eval()
    path = tmp_path / "r18.safetensors"
    save_file(made.state_dict(), path)
    extractor = open_extractor(f"torchvision:resnet18@{path}")
    assert extractor.size == 512
    assert extractor.preprocessing.side == 224
    assert extractor.preprocessing.crop == pytest.approx(224 / 256)
    assert extractor.identity.startswith("torchvision:resnet18#sha256=")
    assert open_extractor(extractor.name).identity == extractor.identity
    fitted = np.stack([extractor.preprocessing.fit(photo(number)) for number in range(3)])
    made.fc = torch.nn.Identity()  # type: ignore[assignment]
    with torch.inference_mode():
        expected = made(torch.from_numpy(extractor.preprocessing.array(fitted))).numpy()
    np.testing.assert_allclose(extractor.features(fitted), unit(expected), atol=1e-5)
    with pytest.raises(UsageError, match="no weights of vgg16"):
        open_extractor(f"torchvision:vgg16@{path}")
    with pytest.raises(UsageError, match="resnet19"):
        open_extractor(f"torchvision:resnet19@{path}")
    path.write_bytes(b"no weights")
    with pytest.raises(UsageError, match="no safetensors"):
        open_extractor(f"torchvision:resnet18@{path}")


def test_timm_takes_weights_from_a_file(tmp_path: Path) -> None:
    timm = library("timm")
    torch.manual_seed(1)
    made = timm.create_model("test_vit", pretrained=False).eval()
    path = tmp_path / "vit.safetensors"
    save_file(made.state_dict(), path)
    extractor = open_extractor(f"timm:test_vit@{path}")
    fitted = np.stack([extractor.preprocessing.fit(photo(number)) for number in range(3)])
    with torch.inference_mode():
        array = torch.from_numpy(extractor.preprocessing.array(fitted))
        expected = made.forward_head(made.forward_features(array), pre_logits=True).numpy()
    assert extractor.size == expected.shape[1] == made.num_features
    np.testing.assert_allclose(extractor.features(fitted), unit(expected), atol=1e-5)
    with pytest.raises(UsageError, match="no such network"):
        open_extractor(f"timm:nothing@{path}")


@pytest.mark.parametrize(
    ("name", "module"), [("torchvision", "torchvision.models"), ("timm", "timm")]
)
def test_a_library_that_is_missing_is_told(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"pip install .*\[extractors\]'"):
        open_extractor(f"{name}:resnet18")
