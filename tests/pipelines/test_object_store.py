"""encode, inspect, decode, verify and a second run, all on `gs://` (an emulator)."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import pytest

from tests.helpers.pictures import encode, make_photos, underpaint
from underpaint.codec.archive import Archive


def test_the_commands_work_on_an_object_store(
    tmp_path: Path, gs_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = make_photos(tmp_path / "photos", 5)
    fs = fsspec.filesystem("gs")
    for photo in photos:
        fs.put_file(str(photo), f"{gs_folder}/photos/{photo.relative_to(tmp_path / 'photos')}")
    command = (f"{gs_folder}/photos", "--output", f"{gs_folder}/archive", "--unit-size", "5k")
    assert encode(*command) == 0
    remote = Archive.open(f"{gs_folder}/archive")
    assert encode(tmp_path / "photos", "--output", tmp_path / "archive") == 0
    local = Archive.open(tmp_path / "archive")
    want = {row.key: row.layers for row in local.rows()}
    assert {row.key: row.layers for row in remote.rows()} == want
    commits = fs.ls(f"{gs_folder}/archive/commits", detail=False)
    assert len(commits) > 1
    fs.rm_file(commits[0])
    fs.rm_file(f"{gs_folder}/archive/manifest.json")
    assert encode(*command) == 0
    assert Archive.open(f"{gs_folder}/archive").manifest == remote.manifest
    capsys.readouterr()
    assert underpaint("inspect", f"{gs_folder}/archive", "--json") == 0
    assert json.loads(capsys.readouterr().out)["images"] == 5
    assert underpaint("verify", f"{gs_folder}/archive") == 0
    assert underpaint("decode", f"{gs_folder}/archive", "--output", f"{gs_folder}/out") == 0
    assert len(fs.find(f"{gs_folder}/out")) == 5
