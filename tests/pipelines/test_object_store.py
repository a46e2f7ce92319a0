"""The commands and a LayerDataset on object stores: emulators of Cloud Storage and of S3."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import numpy as np
import pytest
from torch.utils.data import DataLoader

from tests.helpers.pictures import encode, make_photos, underpaint
from underpaint import Archive, LayerDataset

pytestmark = pytest.mark.slow


@pytest.fixture(params=["gs", "s3"])
def folder(request: pytest.FixtureRequest) -> str:
    """A folder of the object store, for one test."""
    url: str = request.getfixturevalue(f"{request.param}_folder")
    return url


def test_the_commands_work_on_an_object_store(
    tmp_path: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = make_photos(tmp_path / "photos", 5)
    fs = fsspec.filesystem(folder.partition("://")[0])
    for photo in photos:
        fs.put_file(str(photo), f"{folder}/photos/{photo.relative_to(tmp_path / 'photos')}")
    command = (f"{folder}/photos", "--output", f"{folder}/archive", "--unit-size", "5k")
    assert encode(*command) == 0
    remote = Archive.open(f"{folder}/archive")
    assert encode(tmp_path / "photos", "--output", tmp_path / "archive") == 0
    local = Archive.open(tmp_path / "archive")
    want = {row.key: row.layers for row in local.rows()}
    assert {row.key: row.layers for row in remote.rows()} == want

    dataset = LayerDataset(f"{folder}/archive", layers=2, output="latent", seed=1)
    found = {each["key"]: each for each in DataLoader(dataset, batch_size=None)}
    beside = LayerDataset(str(tmp_path / "archive"), layers=2, output="latent", seed=1)
    for sample in beside:
        same = found.pop(sample["key"])
        np.testing.assert_array_equal(same["class_map"], sample["class_map"])
    assert not found

    commits = fs.ls(f"{folder}/archive/commits", detail=False)
    assert len(commits) > 1
    fs.rm_file(commits[0])
    fs.rm_file(f"{folder}/archive/manifest.json")
    assert encode(*command) == 0
    assert Archive.open(f"{folder}/archive").manifest == remote.manifest
    capsys.readouterr()
    assert underpaint("inspect", f"{folder}/archive", "--json") == 0
    assert json.loads(capsys.readouterr().out)["images"] == 5
    assert underpaint("verify", f"{folder}/archive") == 0
    assert underpaint("decode", f"{folder}/archive", "--output", f"{folder}/out") == 0
    fs.invalidate_cache()
    assert len(fs.find(f"{folder}/out")) == 5
