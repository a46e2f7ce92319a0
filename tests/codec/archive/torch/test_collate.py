"""Batches: stacked, padded with a mask, ready from the data set or made by a loader."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader

from underpaint import ArchiveWriter, Codec, LayerDataset, LayerMap, collate
from underpaint.codec.archive import Row, publish
from underpaint.codec.errors import StateMismatch

ROWS = 14


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sizes")
    codec, rng = Codec.load(), np.random.default_rng(3)
    shapes = [(int(rng.integers(17, 60)), int(rng.integers(17, 60)), 3) for _ in range(ROWS)]
    streams = codec.encode([rng.integers(0, 256, shape).astype(np.uint8) for shape in shapes])
    schema = pa.schema([("cls", pa.int64()), ("name", pa.string())])
    with ArchiveWriter(
        root,
        "unit",
        layers=codec.layer_names,
        weights_id=codec.weights_id,
        label_schema=schema,
        row_group_bytes=3000,
    ) as writer:
        for index, (stream, (height, width, _)) in enumerate(zip(streams, shapes, strict=True)):
            labels = {"cls": index, "name": f"n{index}"}
            writer.add(Row(f"{index:02}", stream, width, height, labels=labels))
    publish(root)
    return root


def single(batch: dict[str, Any], name: str, at: int) -> torch.Tensor:
    """One sample of a batch without its padding."""
    rows, columns = (int(batch["mask"][at].any(axis).sum()) for axis in (1, 0))
    assert int(batch["mask"][at].sum()) == rows * columns
    return batch[name][at][..., :rows, :columns]


@pytest.mark.parametrize(
    ("output", "names"),
    [("image", ["image"]), ("latent", ["class_map", "embedding", "coefficients"])],
)
def test_batches_hold_the_samples_and_zeros(root: Path, output: Any, names: list[str]) -> None:
    alone = {s["key"]: s for s in LayerMap(root, layers=2, output=output)}
    dataset = LayerDataset(
        root, layers=2, output=output, batch_size=4, window_bytes=3000, prefetch_bytes=3000
    )
    made = list(dataset)
    assert [len(batch["key"]) for batch in made] == [4, 4, 4, 2]
    assert len(dataset) == len(made)
    assert sorted(key for batch in made for key in batch["key"]) == sorted(alone)
    loader = DataLoader(
        LayerDataset(root, layers=2, output=output), batch_size=5, collate_fn=collate
    )
    for batch in [*made, *loader]:
        assert batch["labels"]["cls"].dtype == batch["position"].dtype == torch.int64
        assert batch["labels"]["name"] == [f"n{at}" for at in batch["labels"]["cls"].tolist()]
        for at, key in enumerate(batch["key"]):
            for name in names:
                difference = single(batch, name, at).double() - alone[key][name].double()
                assert difference.abs().max() <= (1 if name == "image" else 0)
                rest = torch.where(batch["mask"][at], 0, batch[name][at])
                assert not rest.any()


def test_the_pages_name_what_a_loader_without_collate_ends_in(root: Path) -> None:
    said = "stack expects each tensor to be equal size"
    with pytest.raises(RuntimeError, match=said):
        next(iter(DataLoader(LayerMap(root, output="image"), batch_size=ROWS)))
    page = Path(__file__).parents[4] / "docs" / "reading.md"
    for text in (page.read_text(), LayerDataset.__doc__, LayerMap.__doc__):
        assert said in " ".join((text or "").split())


def test_pictures_of_one_shape_have_a_mask_without_gaps(root: Path) -> None:
    [batch] = LayerDataset(root, output="image", exact=(24, 32), batch_size=ROWS)
    assert batch["image"].shape == (ROWS, 3, 24, 32)
    assert batch["mask"].all()


def test_values_without_one_shape_come_as_lists() -> None:
    batch = collate(
        [{"a": 1, "b": None, "c": b"x", "d": torch.ones(1), "e": 1.5, "f": {"g": True}}] * 2
    )
    assert batch["b"] == [None, None]
    assert batch["c"] == [b"x", b"x"]
    assert batch["d"].shape == (2, 1)
    assert batch["e"].dtype == torch.float64
    assert batch["f"]["g"].dtype == torch.bool
    assert collate([{"a": 1}, {"a": None}])["a"] == [1, None]
    with pytest.raises(ValueError, match="no samples"):
        collate([])


@pytest.mark.parametrize(("workers", "drop_last"), [(0, False), (2, False), (3, True)])
def test_batches_of_ranks_and_workers_are_as_many_as_len_says(
    root: Path, workers: int, drop_last: bool
) -> None:
    for rank in range(3):
        dataset = LayerDataset(
            root, output="bytes", batch_size=2, drop_last=drop_last, rank=rank, world_size=3
        )
        loader = DataLoader(dataset, batch_size=None, num_workers=workers)
        sizes = sorted(len(batch["key"]) for batch in loader)
        assert sizes == ([2, 2] if drop_last else [1, 2, 2])
        assert len(loader) == len(dataset) == len(sizes)


def test_batches_resume_behind_the_last_one_that_came(root: Path) -> None:
    options: Any = {"output": "bytes", "batch_size": 3, "window_bytes": 3000}
    whole = [batch["key"] for batch in LayerDataset(root, **options)]
    for stop in range(1, 5):
        first = LayerDataset(root, **options)
        head = [batch["key"] for batch in itertools.islice(first, stop)]
        second = LayerDataset(root, **options)
        second.load_state_dict(first.state_dict())
        assert head + [batch["key"] for batch in second] == whole
        third = LayerDataset(root, **options)
        for batch in itertools.islice(LayerDataset(root, **options), stop):
            third.acknowledge(batch["position"])
        assert third.state_dict()["consumed"] == first.state_dict()["consumed"]
    with pytest.raises(StateMismatch, match="batches of 3"):
        LayerDataset(root, output="bytes").load_state_dict(first.state_dict())
