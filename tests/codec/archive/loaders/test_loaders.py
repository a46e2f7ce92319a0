"""Archives in other libraries' loaders: the same pictures and labels as in `LayerMap`."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader

from underpaint import Archive, ArchiveWriter, Codec, LayerMap
from underpaint.codec.archive import Row, publish
from underpaint.codec.archive.loaders import flat_samples
from underpaint.codec.archive.loaders.daft_frame import read_daft
from underpaint.codec.archive.loaders.flat_samples import FlatSamples
from underpaint.codec.archive.loaders.hugging_face import load_dataset
from underpaint.codec.archive.loaders.ray_data import read_ray
from underpaint.codec.errors import UsageError

NAMES = ["cat", "dog", "fish"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine pictures of three sizes in two units, with a class and its name."""
    root = tmp_path_factory.mktemp("loaders") / "archive"
    codec, rng = Codec.load(), np.random.default_rng(4)
    pictures = [rng.integers(0, 256, (24, 30 + at % 3, 3)).astype(np.uint8) for at in range(9)]
    streams = codec.encode(pictures)
    schema = pa.schema([("cls", pa.int64()), ("cls_name", pa.string())])
    for unit in range(2):
        with ArchiveWriter(
            root, f"u{unit}", layers=codec.layer_names, weights_id=codec.weights_id,
            label_schema=schema,
        ) as writer:  # fmt: skip
            for at in range(unit * 5, min(9, unit * 5 + 5)):
                labels = {"cls": at % 3, "cls_name": NAMES[at % 3]}
                writer.add(Row(f"{at}", streams[at], 30 + at % 3, 24, labels=labels))
    publish(root)
    return root


def expected(root: Path, layers: int, size: int | None = None) -> dict[str, tuple[Any, int]]:
    """Pixels and class of each key."""
    samples = LayerMap(root, output="image", layers=layers, size=size)
    return {
        one["key"]: (one["image"].permute(1, 2, 0).numpy(), one["labels"]["cls"])
        for one in (samples[at] for at in range(len(samples)))
        if one is not None
    }


def check(found: dict[str, tuple[Any, int]], wanted: dict[str, tuple[Any, int]]) -> None:
    assert found.keys() == wanted.keys()
    for key, (pixels, label) in wanted.items():
        assert np.array_equal(np.asarray(found[key][0]), pixels)
        assert found[key][1] == label


def test_grain_reads_and_shuffles_and_resumes(root: Path) -> None:
    grain = pytest.importorskip("grain")
    source = FlatSamples(root, layers=2)
    assert isinstance(source, grain.sources.RandomAccessDataSource)
    assert repr(FlatSamples(root, layers=2)) == repr(source)
    assert len(pickle.loads(pickle.dumps(source))) == 9
    data = grain.MapDataset.source(source).shuffle(seed=3).to_iter_dataset()
    iterator = iter(data)
    first = [next(iterator) for _ in range(4)]
    state = iterator.get_state()
    rest = list(iterator)
    check({one["key"]: (one["image"], one["cls"]) for one in [*first, *rest]}, expected(root, 2))
    again = iter(data)
    again.set_state(state)
    assert [one["key"] for one in again] == [one["key"] for one in rest]


def test_daft_decodes_chosen_layers(root: Path) -> None:
    daft = pytest.importorskip("daft")
    frame = read_daft(root, layers=2, size=12)
    assert frame.column_names == ["key", "width", "height", "cls", "cls_name", "image"]
    rows = frame.where(daft.col("cls") != 1).to_pylist()
    wanted = {key: one for key, one in expected(root, 2, 12).items() if one[1] != 1}
    check({row["key"]: (row["image"], row["cls"]) for row in rows}, wanted)


@pytest.mark.slow
def test_ray_reads_in_batches(root: Path) -> None:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        rows = read_ray(root, layers=2, batch_size=4).take_all()
    finally:
        ray.shutdown()
    check({row["key"]: (row["image"], row["cls"]) for row in rows}, expected(root, 2))


def test_hugging_face_knows_the_names_of_classes(root: Path) -> None:
    data = load_dataset(root, layers=2)
    assert data.features["cls"].names == NAMES
    rows = list(data)
    check({row["key"]: (row["image"], row["cls"]) for row in rows}, expected(root, 2))
    assert data.features["cls"].int2str(rows[0]["cls"]) == rows[0]["cls_name"]
    small = next(iter(load_dataset(root, layers=1, size=12, where="cls == 2")))
    assert (small["cls"], min(small["image"].size)) == (2, 12)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_of_hugging_face_share_the_shards(
    root: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flat_samples, "TOGETHER", 2)
    data = load_dataset(root, layers=1)
    assert data.num_shards == 5
    loader = DataLoader(data, batch_size=None, num_workers=workers)
    assert sorted(row["key"] for row in loader) == [str(at) for at in range(9)]
    parts = [split_dataset_by_node(data, rank, 2) for rank in range(2)]
    assert sorted(row["key"] for part in parts for row in part) == [str(at) for at in range(9)]


def test_spans_are_bounded_in_number(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flat_samples, "TOGETHER", 2)
    samples = FlatSamples(root, output="bytes", layers=1)
    assert samples.spans(most=2) == [range(5), range(5, 9)]
    taken = [sample["key"] for sample in samples.taken([range(5, 9), range(3)])]
    assert taken == ["5", "6", "7", "8", "0", "1", "2"]


NUMBERED: dict[str, tuple[list[tuple[int | None, str | None]], list[str]]] = {
    "gap": ([(0, "cat"), (2, "fish"), (2, "fish")], ["cat", "class 1", "fish"]),
    "unlabelled": ([(0, "cat"), (-1, None), (1, "dog"), (None, None)], ["cat", "dog"]),
    "unlabelled with a name": ([(0, "cat"), (-1, "none"), (None, "lost")], ["cat"]),
    "greatest without a name": ([(0, "cat"), (3, None)], ["cat", "class 1", "class 2", "class 3"]),
    "negative": ([(0, "cat"), (-2, "dog")], []),
    "unlabelled only": ([(-1, None), (-1, None)], []),
    "too large": ([(0, "cat"), (2**40, "dog")], []),
    "two names": ([(0, "cat"), (0, "dog")], []),
    "two numbers": ([(0, "crane"), (1, "crane")], []),
    "a name like those of gaps": ([(0, "class 1"), (2, "fish")], []),
    "nulls": ([(None, None), (None, "x")], []),
}


@pytest.mark.parametrize("case", NUMBERED)
def test_only_numbers_of_classes_become_class_labels(tmp_path: Path, case: str) -> None:
    pairs, names = NUMBERED[case]
    codec = Codec.load()
    [stream] = codec.encode([np.zeros((16, 16, 3), np.uint8)])
    with ArchiveWriter(
        tmp_path, "u", layers=codec.layer_names, weights_id=codec.weights_id,
        label_schema=pa.schema([("cls", pa.int64()), ("cls_name", pa.string())]),
    ) as writer:  # fmt: skip
        for at, (number, name) in enumerate(pairs):
            writer.add(Row(f"{at}", stream, 16, 16, labels={"cls": number, "cls_name": name}))
    publish(tmp_path)
    data = load_dataset(tmp_path, layers=1)
    assert getattr(data.features["cls"], "names", []) == names
    assert [(row["cls"], row["cls_name"]) for row in data] == pairs


@pytest.mark.parametrize(
    ("options", "values"),
    [
        ({}, {"cls": 1, "cls_name": "dog"}),
        ({"label": "cls"}, {"label": 1}),
        ({"label": "cls_name"}, {"label": "dog"}),
        ({"labels": "cls"}, {"cls": 1}),
        ({"labels": False}, {}),
        ({"labels": False, "columns": "width"}, {"width": 31}),
        ({"labels": ["cls"], "columns": ["width", "cls_name"]},
         {"cls": 1, "width": 31, "cls_name": "dog"}),
    ],
)  # fmt: skip
def test_hugging_face_gives_the_chosen_columns(
    root: Path, options: dict[str, Any], values: dict[str, Any]
) -> None:
    data = load_dataset(root, layers=1, keys=(key for key in ["4"]), **options)
    assert set(data.features) == {"key", "image", *values}
    [row] = data
    assert {name: row[name] for name in row if name not in ("key", "image")} == values
    if "label" in values or "cls" in values:
        name = "label" if "label" in values else "cls"
        kind = data.features[name]
        assert getattr(kind, "names", NAMES) == NAMES


def test_hugging_face_takes_an_open_archive(root: Path) -> None:
    rows = list(load_dataset(Archive.open(root), layers=2))
    check({row["key"]: (row["image"], row["cls"]) for row in rows}, expected(root, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "latent"}, "output 'latent': load_dataset gives pictures; leave it out"),
        ({"output": "bytes"}, "output 'bytes': load_dataset gives pictures; leave it out"),
        ({"label": len}, "label: want a name, for the types of columns, not a function"),
        ({"features": True}, "features: load_dataset gives no embeddings; use LayerDataset"),
        ({"label": "no"}, ".*: no label 'no'; there are: cls, cls_name"),
        ({"columns": "no"}, ".*: no small column 'no'; there are: key, .*, cls, cls_name"),
        ({"layers": 9}, "layers: 9; the archive has layers 1 to 6"),
    ],
)
def test_hugging_face_refuses_in_one_line(
    root: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=f"^{message}$"):
        load_dataset(root, **options)
