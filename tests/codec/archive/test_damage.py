"""Damage to an archive is noticed, named by key, and costs no more than it must."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.streams import framed
from underpaint.codec.archive import (
    Archive,
    ArchiveWriter,
    Damage,
    DeadLetter,
    LayerDataset,
    Row,
    publish,
)
from underpaint.codec.bitstream import PictureHeader
from underpaint.codec.errors import ArchiveDamaged, UnderpaintError

FLIPS = 400


def stream(rng: np.random.Generator, sizes: tuple[int, ...] = (5, 20, 60)) -> tuple[bytes, ...]:
    """Layers with sound frames around noise: what an archive can check without weights."""
    payloads = [rng.bytes(4 * words) for words in sizes]
    return tuple(framed(payloads, PictureHeader(8, 8, "0" * 16)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    with ArchiveWriter(
        tmp_path / "a", "unit", layers=("c", "m", "f"), weights_id="0" * 16, row_group_bytes=600
    ) as writer:
        for index in range(40):
            writer.add(Row(f"k{index:02}", stream(rng), 8, 8, source_uri=f"file:///k{index:02}"))
        writer.fail(DeadLetter("bad", "file:///bad", "decode", "PictureDamaged"))
    publish(str(tmp_path / "a"))
    return tmp_path / "a"


def data_file(root: Path) -> Path:
    return next((root / "data").iterdir())


def contents(root: Path) -> list[object]:
    archive = Archive.open(root)
    return [*archive.rows(), *archive.dead_letters()]


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


@pytest.mark.slow
def test_a_flipped_bit_anywhere_is_an_error_or_changes_nothing(root: Path, tmp_path: Path) -> None:
    sound = contents(root)
    whole = {path: path.read_bytes() for path in root.rglob("*.parquet")}
    chance = random.Random(0)
    noticed = 0
    for path, data in whole.items():
        for _ in range(FLIPS):
            flip(path, chance.randrange(8 * len(data)))
            try:
                assert contents(root) == sound, "a silent change"
            except UnderpaintError:
                noticed += 1
            path.write_bytes(data)
    assert noticed > FLIPS  # the rest hit bytes that no reader uses, such as the page index


def test_a_cut_anywhere_is_an_error(root: Path) -> None:
    for path in root.rglob("*.parquet"):
        data = path.read_bytes()
        for length in range(0, len(data), 41):
            path.write_bytes(data[:length])
            with pytest.raises(ArchiveDamaged):
                contents(root)
        path.write_bytes(data)


def test_missing_and_swapped_files_are_named(root: Path) -> None:
    file = data_file(root)
    other = next((root / "failed").iterdir())
    kept = file.read_bytes()
    shutil.copy(other, file)
    with pytest.raises(ArchiveDamaged, match=file.name):
        contents(root)
    file.unlink()
    with pytest.raises(ArchiveDamaged, match=f"data/{file.name}: the file is missing"):
        contents(root)
    file.write_bytes(kept + b"more")
    assert len(contents(root)) == 41  # what was appended is never read, …
    found = list(Archive.open(root).check_files())  # … but the file is not what was committed
    assert [str(d) for d in found] == [f"data/{file.name}: {len(kept) + 4} bytes, not {len(kept)}"]


def test_checking_files_finds_any_changed_byte(root: Path) -> None:
    assert list(Archive.open(root).check_files()) == []
    file = data_file(root)
    footer = Archive.open(root).files[0].footer_bytes
    flip(file, 8 * (file.stat().st_size - footer - 20))  # in the page index, which no read uses
    found = list(Archive.open(root).check_files())
    assert [d.reason for d in found] == ["the content does not match its checksum"]
    next((root / "failed").iterdir()).unlink()
    assert "the file is missing" in [d.reason for d in Archive.open(root).check_files()]


def damage_layers(root: Path, *places: tuple[str, int]) -> None:
    """Flip a bit in the payload of each of these blobs (key, layer)."""
    blobs = {row.key: row.layers for row in Archive.open(root).rows()}
    path = data_file(root)
    data = path.read_bytes()
    for key, layer in places:
        flip(path, 8 * data.index(blobs[key][layer]) + 8 * 25)


def damage_bytes(root: Path, find: Callable[[bytes], int]) -> None:
    path = data_file(root)
    flip(path, 8 * find(path.read_bytes()))


def test_a_damaged_layer_costs_that_layer_of_that_image(root: Path) -> None:
    sound = {row.key: row.layers for row in Archive.open(root).rows()}
    damage_layers(root, ("k07", 1), ("k30", 2), ("k31", 0))
    archive = Archive.open(root)
    with pytest.raises(ArchiveDamaged, match=r"row group 0: .*CRC"):
        list(archive.rows())
    found: list[Damage] = []
    rows = {row.key: row.layers for row in archive.rows(on_damage=found.append)}
    assert {(d.key, d.layer) for d in found} == {("k07", 1), ("k30", 2), ("k31", None)}
    assert "picture 'k07' from layer 2: " in str(found[0])
    expected = {**sound, "k07": sound["k07"][:1], "k30": sound["k30"][:2]}
    del expected["k31"]
    assert rows == expected
    # jobs that read coarser layers only never see the damage of finer ones
    assert len(list(archive.rows(layers=1, on_damage=found.append))) == 39


def test_unreadable_keys_cost_a_row_group_and_are_reported(root: Path) -> None:
    archive = Archive.open(root)
    chunk = archive.data.reader.chunks(archive.files[0], 0, ["key"])["key"]
    damage_bytes(root, lambda _: chunk[1] - 1)
    found: list[Damage] = []
    rows = list(Archive.open(root).rows(on_damage=found.append))
    lost = archive.files[0].row_groups[0]
    assert len(rows) == 40 - lost
    assert [(d.key, d.row_group, d.layer, d.rows) for d in found] == [(None, 0, None, lost)]
    assert lost > 1


def test_rows_asked_for_by_key_are_counted_one_by_one_in_a_lost_row_group(root: Path) -> None:
    archive = Archive.open(root)
    chunk = archive.data.reader.chunks(archive.files[0], 0, ["states"])["states"]
    damage_bytes(root, lambda _: chunk[1] - 1)
    found: list[Damage] = []
    rows = Archive.open(root).rows(keys=["k00", "k01", "k39"], on_damage=found.append)
    assert [row.key for row in rows] == ["k39"]
    assert [(d.key, d.row_group, d.rows) for d in found] == [(None, 0, 1)] * 2


def test_training_raises_or_skips_damage_and_still_counts_every_position(root: Path) -> None:
    damage_layers(root, ("k07", 1), ("k31", 0))
    with pytest.raises(ArchiveDamaged):
        list(LayerDataset(root, output="bytes"))
    found: list[Damage] = []
    dataset = LayerDataset(root, output="bytes", on_damage=found.append)
    keys = [sample["key"] for sample in dataset]
    assert sorted(keys) == [f"k{i:02}" for i in range(40) if i not in (7, 31)]
    assert {d.key for d in found} == {"k07", "k31"}
    assert dataset.state_dict()["consumed"] == [[0, 40]]


def test_what_comes_before_damage_is_read_before_it_is_raised(root: Path) -> None:
    damage_layers(root, ("k31", 0))
    dataset = LayerDataset(root, output="bytes", seed=None, decode_batch=2)
    starts = np.cumsum([0, *Archive.open(root).files[0].row_groups])
    before = starts[starts <= 31].max()
    samples = iter(dataset)
    keys = [sample["key"] for sample in itertools.islice(samples, int(before))]
    assert keys == [f"k{i:02}" for i in range(before)]
    with pytest.raises(ArchiveDamaged):
        next(samples)
    assert dataset.state_dict()["consumed"] == [[0, before]]


def test_a_damaged_first_file_does_not_cost_the_others(root: Path) -> None:
    rng = np.random.default_rng(1)
    with ArchiveWriter(root, "z", layers=("c", "m", "f"), weights_id="0" * 16) as writer:
        writer.add(Row("last", stream(rng), 8, 8))
    publish(str(root))
    path = next((root / "data").glob("unit-*"))
    path.write_bytes(path.read_bytes()[:-50])
    found: list[Damage] = []
    assert [row.key for row in Archive.open(root).rows(on_damage=found.append)] == ["last"]
    assert {damage.row_group for damage in found} == set(range(len(found)))
    assert len(found) == len(Archive.open(root).files[0].row_groups)
