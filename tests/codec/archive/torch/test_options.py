"""The content of samples: transforms, labels, columns, PIL pictures, one line of description."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from underpaint import Archive, ArchiveWriter, Codec, LayerDataset, LayerMap
from underpaint.codec.archive import Row, publish
from underpaint.codec.archive.loaders.flat_samples import FlatSamples
from underpaint.codec.archive.loaders.hugging_face import load_dataset
from underpaint.codec.archive.loaders.ray_data import read_ray
from underpaint.codec.archive.torch.options import DEFAULTS, SampleOptions
from underpaint.codec.errors import UsageError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("options")
    codec, rng = Codec.load(), np.random.default_rng(4)
    pictures = [rng.integers(0, 256, (20, 30 + at, 3)).astype(np.uint8) for at in range(5)]
    with ArchiveWriter(
        root,
        "unit",
        layers=codec.layer_names,
        weights_id=codec.weights_id,
        label_schema=pa.schema([("cls", pa.int64()), ("kind", pa.string())]),
    ) as writer:
        for at, stream in enumerate(codec.encode(pictures)):
            labels = {"cls": at, "kind": "ab"[at % 2]}
            writer.add(Row(f"{at}", stream, 30 + at, 20, labels=labels))
    publish(root)
    return root


@pytest.mark.parametrize("kind", [LayerDataset, LayerMap])
def test_functions_are_applied_to_content_and_labels(root: Path, kind: Any) -> None:
    def shape(content: Any) -> Any:
        return tuple(content.shape)

    for sample in kind(root, output="image", transform=shape, label="cls", columns=["width"]):
        assert sample["image"] == (3, 20, sample["columns"]["width"])
        assert sample["label"] == int(sample["key"])
        assert "labels" not in sample

    def of_labels(labels: dict[str, Any]) -> str:
        return f"{labels['kind']}{labels['cls']}"

    for sample in kind(root, output="bytes", layers=3, transform=len, label=of_labels):
        assert sample["layers"] == 3
        assert sample["label"] == "ab"[int(sample["key"]) % 2] + sample["key"]

    def joined(latents: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"input": torch.cat([latents["embedding"], latents["coefficients"]])}

    for sample in kind(root, layers=1, transform=joined):
        assert sample["input"].dim() == 3
        assert "class_map" not in sample


def test_pil_pictures_are_the_same_pixels(root: Path) -> None:
    for options in ({}, {"exact": (10, 10)}):
        for one, two in zip(
            LayerMap(root, output="pil", **options),
            LayerMap(root, output="image", **options),
            strict=True,
        ):
            assert isinstance(one["image"], Image.Image)
            assert np.array_equal(np.asarray(one["image"]), two["image"].permute(1, 2, 0))


def test_columns_are_read_once_where_they_are_labels_too(root: Path) -> None:
    [sample, *_] = LayerMap(root, output="bytes", columns=["key", "cls"])
    assert sample["columns"] == {"key": "0", "cls": 0}
    assert sample["labels"]["cls"] == 0


def test_a_data_set_describes_itself_in_a_line(root: Path) -> None:
    dataset = LayerDataset(root, layers=2, rank=1, world_size=2)
    assert repr(dataset) == (
        f"LayerDataset({str(root)!r}, latent, layers 1 to 2 of 6, 5 images, rank 1 of 2)"
    )
    assert repr(LayerMap(root, output="pil", layers=1)) == (
        f"LayerMap({str(root)!r}, pil, layers 1 to 1 of 6, 5 images)"
    )


def test_each_option_has_a_default() -> None:
    assert list(DEFAULTS) == list(SampleOptions.__annotations__)


def test_mistakes_get_one_line(root: Path) -> None:
    with pytest.raises(UsageError, match="no small column 'layer_0'"):
        LayerDataset(root, columns=["layer_0"])
    with pytest.raises(UsageError, match="no label 'no'"):
        LayerDataset(root, label="no")
    with pytest.raises(UsageError, match=r"open an archive with Archive.open\('photos'\)"):
        Archive("photos")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"load a codec with Codec.load\('fidelity'\)"):
        Codec("fidelity")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [LayerDataset, LayerMap, FlatSamples, read_ray, load_dataset])
def test_a_wrong_keyword_names_the_called_function_and_the_nearest_argument(
    root: Path, kind: Any
) -> None:
    name = kind.__name__
    for wrong, right in (("layer", "layers"), ("key", "keys"), ("normalise", "normalize")):
        expected = f"^{name} has no argument '{wrong}'; did you mean '{right}'\\?$"
        with pytest.raises(TypeError, match=expected):
            kind(root, **{wrong: 2})
    with pytest.raises(TypeError, match=f"^{name} has no argument 'zebra'$"):
        kind(root, zebra=1)


def test_own_keywords_are_suggested_too(root: Path) -> None:
    with pytest.raises(TypeError, match="no argument 'batchsize'; did you mean 'batch_size'"):
        LayerDataset(root, batchsize=2)  # type: ignore[call-arg]


def test_a_text_is_one_name(root: Path) -> None:
    [sample, *_] = LayerMap(root, output="bytes", labels="kind", columns="width")
    assert sample["labels"] == {"kind": "a"}
    assert sample["columns"] == {"width": 30}
    [group, *_] = Archive.open(root).row_groups("width")
    assert group.table.column_names == ["width"]
