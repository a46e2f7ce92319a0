"""The content of samples: transforms, labels, columns, PIL pictures, one line of description."""

from __future__ import annotations

import re
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
from underpaint.codec.errors import UsageError, WeightsMismatch
from underpaint.codec.weights.header import PROFILES


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


READERS = [LayerDataset, LayerMap, FlatSamples, read_ray, load_dataset]

WRONG_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"layers": True}, "layers: want a whole number, not True"),
    ({"size": 2.5}, "size: want a whole number, not 2.5"),
    ({"limit": 0}, "limit: 0; want 1 or more"),
    ({"output": "jpeg"}, "output 'jpeg': choose image, latent, bytes or pil"),
    ({"fit": "no"}, "fit 'no': choose crop or stretch"),
    ({"exact": 32}, "exact: want a height and a width, not 32"),
    ({"exact": (32, 0)}, "exact: 0; want 1 or more"),
    ({"exact": (10**6, 10**6)}, "exact: (1000000, 1000000); a picture has sides of at most 65,535"),
    ({"exact": (10**30, 1)}, "exact: (9223372036854775807, 1); a picture has sides of at most"),
    ({"exact": (60000, 60000)}, "exact: (60000, 60000); a picture has sides of at most 65,535"),
    ({"exact": (32, 32), "output": "bytes"}, "exact: an exact shape needs output="),
    ({"normalize": "x"}, "normalize: want True or False, not 'x'"),
    ({"features": 1}, "features: want True or False, not 1"),
    ({"refine": None}, "refine: want True or False, not None"),
    ({"refine": True, "output": "bytes"}, "refine: only pictures are refined"),
    ({"refine": True, "output": "latent"}, "refine: only pictures are refined"),
    ({"normalize": True, "output": "pil"}, "normalize: only latents are normalised"),
    ({"on_damage": 3}, "on_damage: want a function or None, not 3"),
    ({"transform": "flip"}, "transform: want a function or None, not 'flip'"),
    ({"label": 3}, "label: want a function or None, not 3"),
    ({"device": "gpu"}, "device 'gpu': not a torch device; try cpu or cuda"),
    ({"device": None}, "device None: not a torch device; try cpu or cuda"),
    ({"weights": 5}, "weights: want a name, a path or a URL as a text, not 5"),
    ({"weights": b"fidelity"}, "weights: want a name, a path or a URL as a text, not b'fidelity'"),
    ({"weights": "nowhere", "output": "pil"}, "no weights at nowhere: No such file or directory"),
    ({"keys": b""}, "keys: want a text or a list of texts, not bytes"),
    ({"keys": b"0"}, "keys: want a text or a list of texts, not bytes"),
    ({"labels": 3}, "labels: want a text or a list of texts, not int"),
]


@pytest.mark.parametrize(("options", "message"), WRONG_OPTIONS)
@pytest.mark.parametrize("kind", READERS)
def test_values_are_checked_where_a_reader_is_made(
    root: Path, kind: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}"):
        kind(root, **options)


@pytest.mark.parametrize("name", ["decode_batch", "batch_size", "threads", "window_bytes"])
def test_counts_of_a_data_set_are_checked_where_it_is_made(root: Path, name: str) -> None:
    for value in (0, -3):
        with pytest.raises(UsageError, match=f"^{name}: {value}; want 1 or more$"):
            LayerDataset(root, **{name: value})
    for wrong in (2.5, "x", True):
        with pytest.raises(UsageError, match=f"^{name}: want a whole number, not {wrong!r}$"):
            LayerDataset(root, **{name: wrong})  # type: ignore[arg-type]
    for right in (1, np.int32(2), 2**70):
        assert len(list(LayerDataset(root, output="bytes", **{name: right}))) > 0


WRONG_ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    ({"seed": "x"}, "seed: want a whole number, not 'x'"),
    ({"seed": True}, "seed: want a whole number, not True"),
    ({"shuffle": None}, "shuffle None: choose windows or full"),
    ({"even": []}, "even []: choose pad, drop or uneven"),
    ({"drop_last": 1, "batch_size": 2}, "drop_last: want True or False, not 1"),
    ({"prefetch_bytes": -1}, "prefetch_bytes: -1; want 0 or more"),
    ({"mix": 1}, "mix: want a list of numbers, not 1"),
    ({"mix": [0]}, "mix: [0.0]; want numbers above 0"),
    ({"mix": [1, 2]}, "mix: 2 proportions for 1 archives"),
    ({"rank": 0.0, "world_size": 2}, "rank: want a whole number, not 0.0"),
    ({"rank": 0, "world_size": "2"}, "world_size: want a whole number, not '2'"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG_ARGUMENTS)
def test_other_arguments_of_a_data_set(root: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        LayerDataset(root, **arguments)


@pytest.mark.parametrize("kind", [LayerDataset, LayerMap, FlatSamples])
def test_weights_of_another_profile_are_refused_where_a_reader_is_made(
    root: Path, kind: Any
) -> None:
    with pytest.raises(WeightsMismatch, match=r"^made with weights [0-9a-f]{16}, not [0-9a-f]{16}"):
        kind(root, output="image", weights="fidelity")
    given = kind(root, output="image", layers=1, weights=PROFILES["perceptual"])
    assert len(list(given)) == 5


def test_latents_of_other_weights_are_not_mixed(root: Path, tmp_path: Path) -> None:
    codec = Codec.load("fidelity")
    (stream,) = codec.encode([np.zeros((20, 30, 3), np.uint8)])
    with ArchiveWriter(
        tmp_path, "unit", layers=codec.layer_names, weights_id=codec.weights_id
    ) as writer:
        writer.add(Row("other", stream, 30, 20))
    publish(tmp_path)
    message = f"^latents of {re.escape(str(root))} .weights [0-9a-f]{{16}}. and .* do not mean"
    with pytest.raises(WeightsMismatch, match=message):
        LayerDataset([root, tmp_path], output="latent")
    assert len(list(LayerDataset([root, tmp_path], output="image", layers=1))) == 6


@pytest.mark.parametrize("position", ["x", 2.5, None, -5, [3, -1], [None], True])
def test_only_positions_are_acknowledged(root: Path, position: Any) -> None:
    dataset = LayerDataset(root, output="bytes")
    with pytest.raises(UsageError, match=r"^position: "):
        dataset.acknowledge(position)
    for right in (0, np.int64(1), np.array([2]), torch.tensor(3)):
        dataset.acknowledge(right)
    resumed = LayerDataset(root, output="bytes")
    resumed.load_state_dict(dataset.state_dict())
    assert [sample["position"] for sample in resumed] == [4]


def test_few_of_many_archives_are_described(root: Path) -> None:
    described = repr(LayerDataset([root] * 9, output="bytes"))
    assert described.startswith(f"LayerDataset({', '.join([repr(str(root))] * 3)} and 6 more, ")


def test_values_of_rows_are_checked_before_the_first_is_read(root: Path) -> None:
    archive = Archive.open(root)
    for options, message in (
        ({"labels": "kind"}, "labels: want True or False, not 'kind'"),
        ({"source": 1}, "source: want True or False, not 1"),
        ({"on_damage": 3}, "on_damage: want a function or None, not 3"),
    ):
        with pytest.raises(UsageError, match=f"^{message}$"):
            archive.rows(**options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^labels: want True or False, not 3$"):
        archive.get("0", labels=3)  # type: ignore[arg-type]
    for read in (archive.row_groups, lambda name: LayerMap(archive, columns=name)):
        with pytest.raises(UsageError, match=r"column 'widht'; there are: key, .*, cls, kind"):
            read("widht")


def test_other_counts(root: Path) -> None:
    with pytest.raises(UsageError, match=r"^cache_bytes: -1; want 0 or more$"):
        LayerMap(root, cache_bytes=-1)
    with pytest.raises(UsageError, match=r"^batch_size: want a whole number, not 2.5$"):
        read_ray(root, batch_size=2.5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^epoch: -1; want 0 or more$"):
        LayerDataset(root).set_epoch(-1)


@pytest.mark.parametrize("kind", [*READERS, Archive.open])
def test_what_is_no_archive_is_refused(kind: Any) -> None:
    with pytest.raises(UsageError, match=r"^want a path or a URL as a text, not 3$"):
        kind(3)


@pytest.mark.parametrize("limit", [5, 6, np.int64(9), 2**63 - 1, 2**63, 10**23])
def test_a_large_limit_reads_all(root: Path, limit: Any) -> None:
    archive = Archive.open(root)
    assert len(list(archive.rows(limit=limit))) == 5
    assert len(list(archive.rows(limit=limit, keys=["1", "3"]))) == 2
    assert len(LayerMap(archive, output="bytes", limit=limit)) == 5
    assert len(list(LayerDataset(archive, output="bytes", limit=limit))) == 5


@pytest.mark.parametrize("which", [1.5, True, np.bool_(False), None, "x", slice(1, 3), (1, 2)])
def test_a_picture_number_is_an_integer(root: Path, which: Any) -> None:
    expected = f"^want the number of a picture, not {re.escape(repr(which))}$"
    for samples in (LayerMap(root, output="bytes"), FlatSamples(root, output="bytes")):
        with pytest.raises(TypeError, match=expected):
            samples[which]
    if not isinstance(which, str | slice):
        with pytest.raises(TypeError, match=r"^want the key or the number of a picture, not "):
            Archive.open(root)[which]


@pytest.mark.parametrize("which", [1, -4, np.int8(1), torch.tensor(1)])
def test_integers_of_other_types_are_picture_numbers(root: Path, which: Any) -> None:
    assert LayerMap(root, output="bytes")[which]["key"] == "1"
    assert Archive.open(root)[which].key == "1"


@pytest.mark.parametrize("key", [0, None, b"0", True, ["0"]])
def test_a_key_is_a_text(root: Path, key: Any) -> None:
    archive = Archive.open(root)
    for read in (archive.get, archive.place):
        with pytest.raises(UsageError, match=f"^key: want a text, not {re.escape(repr(key))};"):
            read(key)
