"""Rank and world size of a data set, by argument, process group or environment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.streams import framed
from underpaint import ArchiveWriter, LayerDataset
from underpaint.codec.archive import Row, publish
from underpaint.codec.bitstream import PictureHeader
from underpaint.codec.errors import UsageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    [layer] = framed([bytes(16)], PictureHeader(8, 8, "0" * 16))
    with ArchiveWriter(tmp_path, "unit", layers=("a",), weights_id="0" * 16) as writer:
        for number in range(12):
            writer.add(Row(f"{number:02}", (layer,), 8, 8))
    publish(tmp_path)
    return tmp_path


def keys(root: Path, **options: int) -> set[str]:
    return {sample["key"] for sample in LayerDataset(root, output="bytes", seed=3, **options)}


def test_torchrun_s_environment_is_respected(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    shares = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        shares.append(keys(root))
        assert shares[-1] == keys(root, rank=rank, world_size=3)
    assert [len(share) for share in shares] == [4, 4, 4]
    assert len(set.union(*shares)) == 12


@pytest.mark.parametrize(("rank", "size"), [("x", "2"), ("3", "2"), ("-1", "2")])
def test_a_wrong_environment_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch, rank: str, size: str
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(UsageError, match=f"RANK='{rank}', WORLD_SIZE='{size}': want"):
        keys(root)


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE"])
def test_half_an_environment_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(UsageError, match=f"{name}='1' alone; set both RANK and WORLD_SIZE"):
        keys(root)


def test_without_an_environment_there_is_one_rank(root: Path) -> None:
    assert len(keys(root)) == len(np.unique(sorted(keys(root)))) == 12
