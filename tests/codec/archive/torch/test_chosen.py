"""Data sets of some images of an archive, and of several archives; full shuffles."""

from __future__ import annotations

import itertools
import json
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch.utils.data._utils.worker as worker_module
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from tests.helpers.streams import framed
from underpaint.codec.archive import Archive, ArchiveWriter, LayerDataset, LayerMap, Row, publish
from underpaint.codec.archive.loaders.flat_samples import FlatSamples
from underpaint.codec.bitstream import PictureHeader
from underpaint.codec.errors import NoSuchKey, StateMismatch, UsageError

ROWS = 120


def make(
    root: Path,
    rows: int,
    *,
    first: int = 0,
    layer_bytes: tuple[int, ...] = (60, 200),
    group_bytes: int = 1200,
    classes: int = 20,
    extra: str = "",
) -> Path:
    """An archive of two units, whose rows are sorted by the label `cls`."""
    rng = np.random.default_rng(first)
    labels = [("cls", pa.int64()), *([(extra, pa.string())] if extra else [])]
    for unit in range(2):
        with ArchiveWriter(
            root, f"unit-{unit}", layers=[f"L{n}" for n in range(len(layer_bytes))],
            weights_id="0" * 16,
            label_schema=pa.schema(labels), row_group_bytes=group_bytes,
        ) as writer:  # fmt: skip
            for index in range(unit * rows // 2, (unit + 1) * rows // 2):
                header = PictureHeader(8, index + 1, "0" * 16)
                blobs = tuple(framed([rng.bytes(size) for size in layer_bytes], header))
                values: dict[str, Any] = {"cls": index * classes // rows}
                values |= {extra: "x"} if extra else {}
                writer.add(Row(f"{first + index:06}", blobs, index + 1, 8, labels=values))
    publish(str(root))
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("chosen") / "one", ROWS)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("chosen") / "two", 50, first=1000, extra="kind")


def reader(archive: Any, **changes: Any) -> LayerDataset:
    options = {"layers": 1, "output": "bytes", "seed": 3, "window_bytes": 1500, "threads": 2}
    return LayerDataset(archive, **{**options, **changes})


def keys(samples: Any) -> list[str]:
    return [sample["key"] for sample in samples]


CONDITIONS = {
    "expression": (pc.field("cls") == 3, pc.field("cls") == 3),
    "text": ("cls == 3", pc.field("cls") == 3),
    "two columns": (
        "cls in (3, 9) and width > 25",
        pc.field("cls").isin([3, 9]) & (pc.field("width") > 25),
    ),
    "nothing": ("width < 0", pc.field("width") < 0),
}


@pytest.mark.parametrize("name", CONDITIONS)
@pytest.mark.parametrize("shuffle", ["windows", "full"])
def test_a_condition_chooses_the_rows_for_which_it_holds(
    root: Path, name: str, shuffle: str
) -> None:
    archive = Archive.open(root)
    rows = {row.key: row for row in archive.rows()}
    where, expression = CONDITIONS[name]
    expected = [row.key for row in archive.rows(where=expression)]
    dataset = reader(root, where=where, shuffle=shuffle, columns=["width"])
    assert len(dataset) == len(expected)
    for _ in range(2):
        samples = list(dataset)
        assert sorted(keys(samples)) == expected
        for sample in samples:
            row = rows[sample["key"]]
            assert sample["layers"] == row.layers[:1]
            assert sample["labels"] == row.labels
            assert sample["columns"] == {"width": row.width}
    mapped = LayerMap(root, layers=1, output="bytes", where=where)
    assert keys(mapped[at] for at in range(len(mapped))) == expected


@pytest.mark.parametrize("name", CONDITIONS)
def test_rows_and_row_groups_take_a_condition_as_text_or_expression(root: Path, name: str) -> None:
    archive = Archive.open(root)
    where, expression = CONDITIONS[name]
    expected = [row.key for row in archive.rows() if _holds(row, name)]
    for one in (where, expression):
        assert [row.key for row in archive.rows(layers=1, where=one)] == expected
        groups = archive.row_groups(["key"], where=one)
        assert [key for group in groups for key in group.table["key"].to_pylist()] == expected


@pytest.mark.parametrize(
    "name", ["my label", "x-y", "in", "a.b", "it's", "blob_bytes.x", "layer_0.y"]
)
def test_every_reader_finds_rows_by_a_label_of_any_name(tmp_path: Path, name: str) -> None:
    root = make(tmp_path / "archive", 6, extra=name)
    for where, count in ((f"field({name!r}) == 'x'", 6), (f"field({name!r}) != 'x'", 0)):
        archive = Archive.open(root)
        assert len(list(archive.rows(where=where))) == count
        assert len(list(archive.rows(where=where, keys=["000001", "000004"]))) == min(count, 2)
        for found in (reader(root, where=where), LayerMap(root, output="bytes", where=where)):
            assert [sample["labels"][name] for sample in found] == ["x"] * count


def _holds(row: Row, name: str) -> bool:
    return {
        "expression": row.labels["cls"] == 3,
        "text": row.labels["cls"] == 3,
        "two columns": row.labels["cls"] in (3, 9) and row.width > 25,
        "nothing": False,
    }[name]


READERS: dict[str, Callable[..., list[str]]] = {
    "Archive.rows": lambda root, **chosen: [row.key for row in Archive.open(root).rows(**chosen)],
    "LayerDataset": lambda root, **chosen: sorted(keys(reader(root, **chosen))),
    "LayerMap": lambda root, **chosen: keys(LayerMap(root, output="bytes", **chosen)),
    "FlatSamples": lambda root, **chosen: keys(FlatSamples(root, output="bytes", **chosen)),
}


@pytest.mark.parametrize("name", READERS)
def test_where_keys_and_limit_mean_the_same_to_all_readers(root: Path, name: str) -> None:
    read = READERS[name]
    some = ["000090", "000003", "000004", "000003"]
    assert read(root, keys="000004") == ["000004"]
    assert read(root, keys=iter(some), where="width > 4") == ["000004", "000090"]
    assert read(root, keys=some, where=pc.field("cls") == 0, limit=1) == ["000003"]
    assert read(root, where="cls == 3", limit=4) == [f"{at:06}" for at in range(18, 22)]
    assert read(root, limit=2) == ["000000", "000001"]
    assert read(root, keys=[]) == []
    assert len(read(root, limit=10 * ROWS)) == ROWS
    mistakes: dict[str, dict[str, Any]] = {
        "keys: want texts, not 3": {"keys": [3]},
        "keys: want a text or a list of texts, not int": {"keys": 3},
        "limit: 0; want 1 or more": {"limit": 0},
        "limit: want a whole number, not '2'": {"limit": "2"},
        "where: want a text such as 'width > 640'": {"where": 3},
        "condition 'colour == 3': no column 'colour'": {"where": "colour == 3"},
    }
    for message, chosen in mistakes.items():
        with pytest.raises(UsageError, match=message):
            read(root, **chosen)


def test_keys_choose_images_and_meet_the_condition(root: Path) -> None:
    chosen = ["000090", "000003", "000004", "000003"]
    assert sorted(keys(reader(root, keys=chosen))) == ["000003", "000004", "000090"]
    assert keys(LayerMap(root, output="bytes", keys=chosen)) == ["000003", "000004", "000090"]
    both = reader(root, keys=chosen, where="width > 4")
    assert sorted(keys(both)) == ["000004", "000090"]
    with pytest.raises(NoSuchKey, match="nothing"):
        reader(root, keys=["000003", "nothing"])


def test_fetching_a_label_of_one_row_in_20_costs_little_more_than_those_rows(
    tmp_path: Path,
) -> None:
    root = make(tmp_path / "sorted", 4000, layer_bytes=(1500, 4500), group_bytes=1 << 18)
    dataset = reader(root, layers=2, where="cls == 7", window_bytes=1 << 20)
    samples = list(dataset)
    assert len(samples) == 200
    wanted = sum(len(layer) for sample in samples for layer in sample["layers"])
    assert wanted > 200 * 6000
    assert dataset.traffic.fetched <= 1.3 * wanted


def test_a_full_shuffle_reads_each_image_by_its_own_bytes(tmp_path: Path) -> None:
    root = make(tmp_path / "large", 600, layer_bytes=(20_000, 30_000), group_bytes=1 << 22)
    whole = reader(root, shuffle="full")
    first = keys(whole)
    assert sorted(first) == sorted(Archive.open(root).keys())
    assert keys(reader(root, shuffle="full")) == first
    assert keys(reader(root, shuffle="full", seed=4)) != first
    assert keys(whole) != first  # the next epoch
    assert whole.traffic.fetched <= 1.1 * 2 * 600 * 20_000
    units = [int(key) >= 300 for key in first]
    runs = 1 + sum(one != next_ for one, next_ in itertools.pairwise(units))
    assert abs(runs - 301) < 5 * np.sqrt(600 / 4)  # runs of a fair coin


def test_archives_are_mixed_in_proportion_and_none_comes_short(root: Path, other: Path) -> None:
    dataset = reader([root, other], mix=[0.75, 0.25])
    assert len(dataset) == 120 + 40
    came: Counter[str] = Counter()
    for epoch in range(5):
        samples = list(dataset)
        assert Counter(sample["archive"] for sample in samples) == {0: 120, 1: 40}
        half = Counter(sample["archive"] for sample in samples[:80])
        assert abs(half[1] - 20) <= 8
        assert all(set(sample["labels"]) == {"cls"} for sample in samples)
        came.update(keys(samples))
        assert all(came[key] == epoch + 1 for key in Archive.open(root).keys())  # noqa: SIM118
    assert {came[f"{1000 + at:06}"] for at in range(50)} == {4}  # 200 of 50
    assert repr(dataset) == (
        f"LayerDataset({str(root)!r}, {str(other)!r}, bytes, layers 1 to 1 of 2, 170 images, "
        "rank 0 of 1)"
    )


def test_archives_without_proportions_come_whole(root: Path, other: Path) -> None:
    dataset = reader([root, other], seed=None, where="cls < 10")
    expected = [
        key for one in (root, other)
        for key in keys(reader(one, seed=None, where="cls < 10"))
    ]  # fmt: skip
    assert sorted(keys(dataset)) == sorted(expected)
    one = reader([root, other], keys=["000003", "001004"])
    assert sorted(keys(one)) == ["000003", "001004"]
    with pytest.raises(NoSuchKey, match="'no' in any of 2 archives"):
        reader([root, other], keys=["000003", "no"])


@pytest.mark.parametrize("counts", [(2, 1), (1, 2), (3, 2, 1), (2, 3), (2, 2)])
def test_archives_of_several_have_the_layers_that_all_have(
    tmp_path: Path, counts: tuple[int, ...]
) -> None:
    roots = [
        make(tmp_path / f"{at}", 20, first=1000 * at, layer_bytes=(60, 200, 90)[:count])
        for at, count in enumerate(counts)
    ]
    none = tmp_path / "none"
    with ArchiveWriter(none, "unit", layers=["only"], weights_id="0" * 16):
        pass
    publish(str(none))
    common, most = min(counts), max(counts)
    of = " or ".join(map(str, sorted(set(counts))))
    for archives in (roots, [none, *roots], [*roots, none]):
        dataset = LayerDataset(archives, output="bytes", labels=False)
        samples = list(dataset)
        assert len(samples) == 20 * len(counts)
        assert {len(sample["layers"]) for sample in samples} == {common}
        assert f"bytes, layers 1 to {common} of {of}, " in repr(dataset)
        assert {
            len(sample["layers"]) for sample in LayerDataset(archives, layers=1, output="bytes")
        } == {1}
        if most > common:
            short = roots[next(at for at, count in enumerate(counts) if count < most)]
            with pytest.raises(UsageError) as caught:
                LayerDataset(archives, layers=most, output="bytes")
            assert str(caught.value).startswith(f"layers: {most}; {short} has layers 1 to ")
            assert str(caught.value).endswith(f"ask for at most {common}, which all archives have")


def test_batches_of_several_archives_come_ready_from_workers(root: Path, other: Path) -> None:
    dataset = reader([root, other], mix=[1, 1], batch_size=7, shuffle="full", where="cls < 18")
    loader = DataLoader(dataset, batch_size=None, num_workers=2)
    batches = list(loader)
    assert len(batches) == len(dataset) == len(loader)
    assert Counter(np.concatenate([batch["archive"] for batch in batches]).tolist()) == {
        0: 45, 1: 45,
    }  # fmt: skip


def test_a_state_belongs_to_its_images_and_their_order(root: Path, other: Path) -> None:
    state = reader(root).state_dict()
    for changes in (
        {"where": "cls == 3"}, {"keys": ["000003"]}, {"shuffle": "full"}, {"even": "drop"},
    ):  # fmt: skip
        with pytest.raises(StateMismatch):
            reader(root, **changes).load_state_dict(state)
    mixed = reader([root, other], mix=[1, 1]).state_dict()
    with pytest.raises(StateMismatch):
        reader([root, other], mix=[1, 2]).load_state_dict(mixed)
    reader(root, where="cls == 3").load_state_dict(
        reader(root, where=pc.field("cls").isin([3])).state_dict()
    )  # the same images


def test_data_sets_of_chosen_images_can_be_sent_to_other_processes(root: Path) -> None:
    dataset = reader(root, where=pc.field("cls") == 3, shuffle="full")
    expected = keys(pickle.loads(pickle.dumps(dataset)))
    assert keys(dataset) == expected
    assert len(expected) == 6


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(st.data())
def test_each_image_of_an_epoch_once_over_any_stops_ranks_and_workers(
    two_roots: tuple[Path, Path], data: st.DataObject
) -> None:
    archives = [Archive.open(root) for root in two_roots]
    options: dict[str, Any] = {
        "shuffle": data.draw(st.sampled_from(["windows", "full"]), label="shuffle"),
        "mix": data.draw(st.sampled_from([None, [0.5, 0.5], [0.9, 0.1]]), label="mix"),
        "where": data.draw(st.sampled_from([None, "cls in (2, 3, 7)"]), label="where"),
        "batch_size": data.draw(st.sampled_from([None, 4]), label="batch size"),
        "even": data.draw(st.sampled_from(["pad", "drop", "uneven"]), label="even"),
    }
    expected = Counter(keys(reader(archives, **{**options, "batch_size": None})))
    left = sum(expected.values())
    came: Counter[str] = Counter()
    state: Any = None
    ranks_so_far = 0
    for stop in (True, True, False):
        ranks = data.draw(st.integers(1, 3), label="ranks")
        workers = data.draw(st.integers(0, 2), label="workers")
        before = worker_module._worker_info
        states = []
        most = 3 * ranks * max(workers, 1) * (options["batch_size"] or 1)
        if stop and left <= most + ranks:
            continue
        for rank, worker in itertools.product(range(ranks), range(max(workers, 1))):
            dataset = reader(archives, rank=rank, world_size=ranks, **options)
            if state is not None:
                dataset.load_state_dict(state)
            try:
                if workers:
                    worker_module._worker_info = worker_module.WorkerInfo(
                        id=worker, num_workers=workers, seed=0, dataset=dataset
                    )
                steps = data.draw(st.integers(0, 3), label="steps") if stop else None
                for sample in itertools.islice(iter(dataset), steps):
                    found = sample["key"]
                    came.update([found] if isinstance(found, str) else found)
                states.append(dataset.state_dict())
            finally:
                worker_module._worker_info = before
        ranks_so_far += ranks
        state = json.loads(json.dumps(states))
        left = sum(expected.values()) - sum(came.values())
    lost, extra = expected - came, came - expected
    assert sum(lost.values()) <= (ranks_so_far if options["even"] == "drop" else 0)
    assert sum(extra.values()) <= (ranks_so_far if options["even"] == "pad" else 0)


@pytest.fixture(scope="module")
def two_roots(root: Path, other: Path) -> tuple[Path, Path]:
    return root, other


def test_mistakes_get_one_line(root: Path, other: Path) -> None:
    with pytest.raises(UsageError, match="shuffle 'all': choose windows or full"):
        reader(root, shuffle="all")
    with pytest.raises(UsageError, match="3 proportions for 2 archives"):
        reader([root, other], mix=[1, 1, 1])
    with pytest.raises(UsageError, match="a data set needs an archive"):
        reader([])
    with pytest.raises(UsageError, match="no column 'layer_0'"):
        reader(root, where="layer_0 == 'a'")
    with pytest.raises(UsageError, match="layer_0"):
        reader(root, where=pc.field("layer_0") == b"a")


@pytest.mark.parametrize("sizes", [(0,), (256, 512, 0)])
def test_archives_without_pictures_give_no_samples(
    root: Path, tmp_path: Path, sizes: tuple[int, ...]
) -> None:
    none = tmp_path / "none"
    with ArchiveWriter(none, "unit", layers=("coarse", "fine"), weights_id="0" * 16, sizes=sizes):
        pass
    publish(str(none))
    for shuffle in ("windows", "full"):
        empty = reader(none, shuffle=shuffle, where="width > 3", batch_size=2)
        assert (len(empty), list(empty)) == (0, [])
    assert (len(LayerMap(none, output="bytes")), list(LayerMap(none, output="bytes"))) == (0, [])
    expected = {row.key for row in Archive.open(root).rows()}
    for archives in ([none, root], [root, none]):
        samples = list(reader(archives, labels=False))
        assert len(samples) == len(reader(archives)) == ROWS
        assert set(keys(samples)) == expected
