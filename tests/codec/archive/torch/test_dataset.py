"""LayerDataset: exact resumption, real loaders, flat reads."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.utils.data._utils.worker as worker_module
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from underpaint.codec.archive import Archive, ArchiveWriter, LayerDataset, LayerMap, Row, publish
from underpaint.codec.archive.torch.order import count
from underpaint.codec.archive.torch.state import gather
from underpaint.codec.errors import StateMismatch, UsageError

ROWS = 150


def keep(samples: list[Any]) -> list[Any]:
    """Collate function that leaves samples as they are."""
    return samples


def make(root: Path, rows: int = ROWS, units: int = 3) -> Path:
    rng = np.random.default_rng(5)
    for unit in range(units):
        with ArchiveWriter(
            root,
            f"unit-{unit}",
            layers=("coarse", "fine"),
            weights_id="w" * 16,
            label_schema=pa.schema([("cls", pa.int64())]),
            row_group_bytes=400,
        ) as writer:
            for index in range(unit, rows, units):
                blobs = (rng.bytes(int(rng.integers(10, 80))), rng.bytes(200))
                writer.add(Row(f"{index:05}", blobs, 8, 8, labels={"cls": index}))
    publish(str(root))
    return root


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return Archive.open(make(tmp_path_factory.mktemp("archive")))


def reader(archive: Archive, **changes: Any) -> LayerDataset:
    settings = {"layers": 1, "output": "bytes", "seed": 3, "window_bytes": 1500, "threads": 1}
    return LayerDataset(archive, **{**settings, **changes})


def keys(samples: Any) -> list[str]:
    return [sample["key"] for sample in samples]


def test_an_epoch_holds_each_image_once_with_its_label_and_layers(archive: Archive) -> None:
    rows = {row.key: row for row in archive.rows()}
    for layers in (1, 2):
        samples = list(reader(archive, layers=layers))
        assert sorted(keys(samples)) == sorted(rows)
        for sample in samples:
            row = rows[sample["key"]]
            assert sample["layers"] == row.layers[:layers]
            assert sample["labels"] == row.labels == {"cls": int(sample["key"])}


def test_epochs_are_shuffled_apart_and_the_same_for_the_same_seed(archive: Archive) -> None:
    dataset = reader(archive)
    first, second = keys(dataset), keys(dataset)
    assert dataset.epoch == 1
    assert first != second
    assert sorted(first) == sorted(second)
    assert keys(reader(archive)) == first
    assert keys(reader(archive, seed=4)) != first
    later = reader(archive)
    later.set_epoch(1)
    assert keys(later) == second
    assert keys(reader(archive, seed=None)) == list(archive.keys())


@contextmanager
def worker_of(number: int, workers: int, dataset: LayerDataset) -> Iterator[None]:
    """Be worker `number` of a DataLoader, as its worker processes are (0 workers: be none)."""
    before = worker_module._worker_info
    if workers:
        worker_module._worker_info = worker_module.WorkerInfo(
            id=number, num_workers=workers, seed=0, dataset=dataset
        )
    try:
        yield
    finally:
        worker_module._worker_info = before


def run(state: Any, ranks: int, workers: int, draw: Any, **how: Any) -> tuple[list[str], Any]:
    """Read on with so many ranks and workers, each for `draw()` samples; keys, and the states."""
    seen: list[str] = []
    states = []
    archive = Archive.open(ARCHIVE_ROOT)
    for rank, worker in itertools.product(range(ranks), range(max(workers, 1))):
        dataset = reader(archive, rank=rank, world_size=ranks, **how)
        if state is not None:
            dataset.load_state_dict(state)
        with worker_of(worker, workers, dataset):
            seen += keys(itertools.islice(iter(dataset), draw()))
            states.append(dataset.state_dict())
    return seen, json.loads(json.dumps(states))


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(st.data())
def test_each_image_once_over_any_stops_ranks_and_workers(data: st.DataObject) -> None:
    seen: list[str] = []
    state: Any = None
    even = data.draw(st.sampled_from(["pad", "drop", "uneven"]), label="even")
    all_ranks = 0
    for _ in range(data.draw(st.integers(1, 3), label="stops")):
        if len(set(seen)) >= ROWS - 4:
            break  # the state may be of a whole epoch: the next one would begin
        ranks = data.draw(st.integers(1, 4), label="ranks")
        workers = data.draw(st.integers(0, 3), label="workers")
        steps = st.integers(0, ROWS // ranks // max(workers, 1))
        came, state = run(state, ranks, workers, lambda steps=steps: data.draw(steps), even=even)
        seen += came
        all_ranks += ranks
    ranks = data.draw(st.integers(1, 4), label="last ranks")
    workers = data.draw(st.integers(0, 3), label="last workers")
    if len(set(seen)) < ROWS - 4:
        seen += run(state, ranks, workers, lambda: None, even=even)[0]
        all_ranks += ranks
        if even != "drop":
            assert set(seen) == set(Archive.open(ARCHIVE_ROOT).keys())
        repeats = len(seen) - len(set(seen))
        assert repeats <= (all_ranks if even == "pad" else 0)
        assert len(set(seen)) >= ROWS - (3 if even == "drop" else 0)


@pytest.fixture(scope="module", autouse=True)
def _shared_root(archive: Archive) -> None:
    global ARCHIVE_ROOT
    ARCHIVE_ROOT = archive.storage.root


ARCHIVE_ROOT = ""


def test_one_reader_resumes_in_the_order_of_an_undisturbed_one(archive: Archive) -> None:
    whole = keys(reader(archive))
    for stop in (0, 1, 70, ROWS - 1):
        first = reader(archive)
        head = keys(itertools.islice(iter(first), stop))
        second = reader(archive)
        second.load_state_dict(first.state_dict())
        assert head + keys(second) == whole


def test_a_state_at_the_end_goes_on_with_the_next_epoch(archive: Archive) -> None:
    first = reader(archive)
    list(first)
    second = reader(archive)
    second.load_state_dict(first.state_dict())
    assert keys(second) == keys(first)
    assert second.epoch == first.epoch == 1


def test_breaking_off_and_iterating_again_starts_the_epoch_anew(archive: Archive) -> None:
    dataset = reader(archive)
    next(iter(dataset))
    assert len(keys(dataset)) == ROWS
    assert dataset.epoch == 0


@pytest.mark.parametrize(("before", "after"), [(2, 2), (2, 0), (0, 3), (3, 1)])
def test_stateful_data_loader_resumes_with_any_number_of_workers(
    archive: Archive, before: int, after: int
) -> None:
    import torchdata.stateful_dataloader as torchdata

    loader = torchdata.StatefulDataLoader(
        reader(archive), batch_size=7, num_workers=before, collate_fn=keep
    )
    seen = [key for batch in itertools.islice(loader, 9) for key in keys(batch)]
    assert len(seen) == 63
    state = copy.deepcopy(loader.state_dict())
    dataset = reader(archive)
    loader = torchdata.StatefulDataLoader(dataset, batch_size=7, num_workers=after, collate_fn=keep)
    if before == after:
        loader.load_state_dict(state)
    else:
        dataset.load_state_dict(state)
    seen += [key for batch in loader for key in keys(batch)]
    assert sorted(seen) == sorted(archive.keys())


def test_a_plain_data_loader_resumes_by_acknowledged_positions_twice(archive: Archive) -> None:
    seen: list[str] = []
    state = None
    for workers, stop in ((2, 6), (3, 8), (1, None)):
        dataset = reader(archive)
        if state is not None:
            dataset.load_state_dict(state)
        loader = DataLoader(dataset, batch_size=5, num_workers=workers, collate_fn=keep)
        for batch in itertools.islice(loader, stop):
            seen += keys(batch)
            dataset.acknowledge([sample["position"] for sample in batch])
        state = json.loads(json.dumps(dataset.state_dict()))
    assert sorted(seen) == sorted(archive.keys())


def test_acknowledging_follows_epochs(archive: Archive) -> None:
    dataset = reader(archive)
    loader = DataLoader(dataset, batch_size=None, num_workers=1)
    for batch in loader:
        dataset.acknowledge(batch["position"])
    for batch in itertools.islice(loader, 50):  # epoch 1, and broken off: it starts anew
        dataset.acknowledge(batch["position"])
    seen = []
    for batch in itertools.islice(loader, 60):
        seen.append(batch["key"])
        dataset.acknowledge(batch["position"])
    assert gather(dataset.state_dict()).epoch == 1
    rest = reader(archive)
    rest.load_state_dict(dataset.state_dict())
    assert sorted(seen + keys(rest)) == sorted(archive.keys())
    dataset.set_epoch(5)
    sample = next(iter(DataLoader(dataset, batch_size=None, num_workers=1)))
    dataset.acknowledge(sample["position"])
    assert gather(dataset.state_dict()).epoch == 5


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_passes_of_short_lived_workers_go_through_the_epochs(
    archive: Archive, workers: int
) -> None:
    dataset = reader(archive)
    loader = DataLoader(dataset, batch_size=None, num_workers=workers)
    expected = []
    for epoch in range(3):
        one = reader(archive)
        one.set_epoch(epoch)
        expected.append(keys(one))
    first, second = keys(loader), keys(loader)
    next(iter(loader))  # broken off: the third epoch starts anew
    third = keys(loader)
    assert first != second != third
    for got, want in zip((first, second, third), expected, strict=True):
        assert sorted(got) == sorted(want)
        assert workers == 2 or got == want
    # after a resumed epoch the next one is whole
    stopped = reader(archive)
    head = keys(itertools.islice(iter(stopped), 100))
    dataset.load_state_dict(stopped.state_dict())
    assert sorted(head + keys(loader)) == sorted(archive.keys())
    assert sorted(keys(loader)) == sorted(archive.keys())


def test_persistent_workers_go_on_to_the_next_epoch_and_follow_set_epoch(archive: Archive) -> None:
    dataset = reader(archive)
    loader = DataLoader(dataset, batch_size=None, num_workers=1, persistent_workers=True)
    first, second = keys(loader), keys(loader)
    assert first != second
    dataset.set_epoch(7)
    expected = reader(archive)
    expected.set_epoch(7)
    assert keys(loader) == keys(expected)


def test_states_that_cannot_be_resumed_are_refused_with_one_line(archive: Archive) -> None:
    ranks = [reader(archive, rank=rank, world_size=2) for rank in range(2)]
    states = [dataset.state_dict() for dataset in ranks]
    alone = reader(archive)
    alone.load_state_dict(states[:1])
    with pytest.raises(StateMismatch, match="gather the states of all"):
        iter(alone)
    with pytest.raises(StateMismatch, match="seed 4"):
        alone.load_state_dict(reader(archive, seed=4).state_dict())
    with pytest.raises(StateMismatch, match="no reader state"):
        alone.load_state_dict({"epoch": 3})
    with pytest.raises(StateMismatch, match="version 9"):
        alone.load_state_dict({**states[0], "underpaint_reader": 9})
    with pytest.raises(StateMismatch, match="cannot be read"):
        alone.load_state_dict({"underpaint_reader": 1})
    ranks[0].load_state_dict(states[0])  # with equal ranks each may take its own
    assert len(keys(ranks[0])) == ROWS // 2


@pytest.mark.parametrize(("even", "sizes"), [("pad", 38), ("drop", 37), ("uneven", None)])
def test_ranks_have_equal_shares_and_say_their_length(
    archive: Archive, even: str, sizes: int | None
) -> None:
    readers = [reader(archive, rank=rank, world_size=4, even=even) for rank in range(4)]
    came = [keys(dataset) for dataset in readers]
    assert [len(share) for share in came] == [len(dataset) for dataset in readers]
    assert [len(share) for share in came] == ([sizes] * 4 if sizes else [38, 38, 37, 37])
    assert len(set.union(*map(set, came))) == (148 if even == "drop" else ROWS)


@pytest.mark.parametrize("even", ["pad", "drop"])
def test_real_loaders_give_equal_numbers_of_batches(archive: Archive, even: str) -> None:
    for ranks, batch, workers, drop_last in ((4, 8, 3, False), (4, 7, 2, True), (7, 5, 2, False)):
        found = []
        for rank in range(ranks):
            dataset = reader(archive, rank=rank, world_size=ranks, even=even)
            loader = DataLoader(
                dataset, batch_size=batch, num_workers=workers, drop_last=drop_last, collate_fn=keep
            )
            found.append([len(batch) for batch in loader])
        assert all(one == found[0] for one in found)


def test_a_repeat_is_acknowledged_without_a_new_pass(archive: Archive) -> None:
    for rank in range(4):
        dataset = reader(archive, rank=rank, world_size=4)
        for sample in reader(archive, rank=rank, world_size=4):
            dataset.acknowledge(sample["position"])
        state = gather(dataset.state_dict())
        assert (state.epoch, count(state.consumed)) == (0, 38)
        again = reader(archive, rank=rank, world_size=4)
        again.load_state_dict(dataset.state_dict())
        assert (again.epoch, len(keys(again))) == (1, 38)


def test_ranks_stopped_after_unequal_steps_get_equal_rests(archive: Archive) -> None:
    seen, states = [], []
    for rank, stop in enumerate((10, 12, 7, 20)):
        dataset = reader(archive, rank=rank, world_size=4)
        seen += keys(itertools.islice(dataset, stop))
        states.append(dataset.state_dict())
    rests = []
    for rank in range(4):
        dataset = reader(archive, rank=rank, world_size=4)
        dataset.load_state_dict(states)
        rests.append(keys(dataset))
    assert {len(rest) for rest in rests} == {-(-(ROWS - len(seen)) // 4)}
    assert set(seen + list(itertools.chain(*rests))) == set(archive.keys())


def test_a_damaged_picture_is_replaced_where_ranks_must_be_equal(tmp_path: Path) -> None:
    root = make(tmp_path, rows=60)
    archive = Archive.open(root)
    damaged = next(archive.rows()).layers[0]
    path = Path(archive.paths[0])
    content = bytearray(path.read_bytes())
    content[content.index(damaged)] ^= 255
    path.write_bytes(content)
    for even, repeated in (("pad", True), ("uneven", False)):
        lost: list[Any] = []
        readers = [
            reader(archive, rank=rank, world_size=2, even=even, on_damage=lost.append)
            for rank in range(2)
        ]
        came = [keys(dataset) for dataset in readers]
        assert lost
        assert len(set(itertools.chain(*came))) < 60
        assert ([len(share) for share in came] == [30, 30]) is repeated


def test_a_late_end_of_an_old_pass_does_not_count(archive: Archive) -> None:
    """A persistent worker reads ahead; it may end a pass after `set_epoch` went on."""
    dataset = reader(archive)
    late = iter(dataset)
    next(late)
    dataset.set_epoch(4)
    list(late)
    assert len(keys(dataset)) == ROWS
    assert dataset.epoch == 4


def test_map_style_by_index_and_by_batch(archive: Archive) -> None:
    mapped = LayerMap(archive, layers=1, output="bytes", cache_bytes=2000)
    expected = [(row.key, row.layers[:1]) for row in archive.rows()]
    assert [(s["key"], s["layers"]) for s in mapped.__getitems__(range(ROWS))] == expected
    assert mapped[-1]["key"] == expected[-1][0]
    assert mapped[3]["position"] == 3
    with pytest.raises(IndexError, match="picture 150 of 150"):
        mapped[ROWS]
    loader = DataLoader(mapped, batch_size=16, shuffle=True, num_workers=2, collate_fn=keep)
    assert sorted(key for batch in loader for key in keys(batch)) == sorted(archive.keys())


def test_mistakes_get_one_line(archive: Archive) -> None:
    with pytest.raises(UsageError, match="layers: 3; the archive has layers 1 to 2"):
        reader(archive, layers=3)
    with pytest.raises(UsageError, match="no label 'shape'"):
        reader(archive, labels=["shape"])
    with pytest.raises(UsageError, match="output 'tensor'"):
        reader(archive, output="tensor")
    with pytest.raises(UsageError, match="rank 2 of 2"):
        reader(archive, rank=2, world_size=2)


def test_positions_collate_to_a_tensor(archive: Archive) -> None:
    batch = next(iter(DataLoader(reader(archive), batch_size=4, collate_fn=None)))
    assert batch["position"].dtype == torch.int64


@pytest.mark.slow
def test_workers_read_from_cloud_storage_after_a_fork(gs_folder: str, tmp_path: Path) -> None:
    make(tmp_path, rows=40)
    for path in sorted(tmp_path.rglob("*.*")):
        fsspec.filesystem("gs").put_file(str(path), f"{gs_folder}/{path.relative_to(tmp_path)}")
    archive = Archive.open(gs_folder)
    expected = sorted(archive.keys())  # the parent's connections are in use before the fork
    for start, workers in (("fork", 2), ("spawn", 1)):
        loader = DataLoader(
            reader(archive), batch_size=None, num_workers=workers, multiprocessing_context=start
        )
        assert sorted(keys(loader)) == expected


def test_writers_commit_to_cloud_storage_what_they_commit_to_disk(
    gs_folder: str, archive: Archive
) -> None:
    rows = list(archive.rows())
    labels = pa.schema([("cls", pa.int64())])
    settings = {"layers": archive.layer_names, "weights_id": "w" * 16, "label_schema": labels}
    with ArchiveWriter(gs_folder, "unit", row_group_bytes=500, **settings) as writer:
        for row in rows:
            writer.add(row)
    publish(gs_folder)
    assert list(Archive.open(gs_folder).rows()) == rows
    assert sorted(keys(reader(Archive.open(gs_folder)))) == sorted(row.key for row in rows)
