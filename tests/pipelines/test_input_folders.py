"""Folders that are encoded one after the other: the archive remembers them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.helpers.dated_folders import encode, save, save_two_years, sources
from tests.helpers.pictures import underpaint
from underpaint.codec.archive import Archive
from underpaint.codec.archive.commits import committed_units
from underpaint.transforms.listing import remembered_folders


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two years of photos with the same names."""
    return save_two_years(tmp_path / "photos", 2)


def test_years_one_after_the_other_then_the_folder_of_both(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "archive"
    assert encode(archive, photos / "2019") == 0
    assert encode(archive, photos / "2020") == 0
    both = {
        "IMG_0.png": f"{photos}/2019/IMG_0.png",
        "IMG_1.png": f"{photos}/2019/IMG_1.png",
        "2020/IMG_0.png": f"{photos}/2020/IMG_0.png",
        "2020/IMG_1.png": f"{photos}/2020/IMG_1.png",
    }
    assert sources(archive) == both
    published = (archive / "manifest.json").read_bytes()
    link = tmp_path / "link"
    link.symlink_to(photos)
    monkeypatch.chdir(tmp_path)
    for again in (
        ["photos/2019"],
        ["photos/2020/"],
        [photos / "2020" / "IMG_0.png"],
        [photos / "2020" / "*.png"],
        [link / "2019", link / "2020"],
    ):
        assert encode(archive, *again) == 0
        assert (archive / "manifest.json").read_bytes() == published
    save(photos / "2020" / "IMG_2.png", 150)
    save(photos / "2021" / "IMG_0.png", 200)
    for inputs in ([photos], [photos], [photos / "2021"]):
        assert encode(archive, *inputs) == 0
        assert sources(archive) == both | {
            "2020/IMG_2.png": f"{photos}/2020/IMG_2.png",
            "2021/IMG_0.png": f"{photos}/2021/IMG_0.png",
        }
    assert not any(row.notes for row in Archive.open(archive).rows(layers=1))
    assert underpaint("verify", archive) == 0


def test_several_folders_then_another(photos: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    save(tmp_path / "other" / "2020" / "IMG_0.png", 250)
    assert encode(archive, photos / "2020", photos / "2019") == 0
    assert encode(archive, tmp_path / "other" / "2020") == 0
    found = sources(archive)
    [added] = [key for key, uri in found.items() if "/other/" in uri]
    assert added.startswith("2020-")
    assert added.endswith("/IMG_0.png")
    assert set(found) - {added} == {
        f"{year}/IMG_{number}.png" for year in (2019, 2020) for number in range(2)
    }
    assert encode(archive, tmp_path / "other" / "2020", photos / "2019") == 0
    assert sources(archive) == found


def test_copies_of_archives_remember_the_folders(photos: Path, tmp_path: Path) -> None:
    save(tmp_path / "cats" / "1.png", 250)
    one, two, both, small = (tmp_path / name for name in ("one", "two", "both", "small"))
    assert encode(one, photos / "2019") == 0
    assert encode(two, photos / "2020", tmp_path / "cats") == 0
    assert underpaint("merge", one, two, "--output", both) == 0
    assert underpaint("trim", both, "--layers", 1, "--output", small) == 0
    for archive in (both, small):
        assert remembered_folders(committed_units(str(archive)).units) == {
            f"{photos}/2019": "",
            f"{photos}/2020": "2020/",
            f"{tmp_path}/cats": "cats/",
        }
    before = sources(both)
    save(photos / "2020" / "IMG_2.png", 150)
    assert encode(both, photos / "2020") == 0
    assert sources(both) == before | {"2020/IMG_2.png": f"{photos}/2020/IMG_2.png"}


@pytest.mark.slow
def test_a_killed_first_run_leaves_no_other_keys(photos: Path, tmp_path: Path) -> None:
    for number in range(60):
        save(photos / "2019" / f"more_{number}.png", 3 * number)
    archive, whole = tmp_path / "archive", tmp_path / "whole"
    arguments = [sys.executable, "-P", "-m", "underpaint", "encode", photos / "2019"]
    killed = subprocess.Popen([*map(str, arguments), "--output", str(archive)])
    commits = archive / "commits"
    while killed.poll() is None and not (commits.is_dir() and any(commits.glob("*.json"))):
        pass
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    for target, years in ((archive, (2020, 2019)), (whole, (2019, 2020))):
        for year in years:
            assert encode(target, photos / str(year)) == 0
    assert sources(archive) == sources(whole)


def test_an_input_is_looked_up_once(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec.filesystem("memory").put(str(photos / "2019"), "/looked-up", recursive=True)
    asked: list[str] = []
    info = MemoryFileSystem.info

    def asking(self: MemoryFileSystem, path: str, **options: Any) -> Any:
        asked.append(path)
        return info(self, path, **options)

    monkeypatch.setattr(MemoryFileSystem, "info", asking)
    assert (
        underpaint("encode", "memory://looked-up", "--output", tmp_path / "out", "--dry-run") == 0
    )
    assert asked == ["/looked-up"]
