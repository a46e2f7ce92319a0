"""On `gs://` (an emulator): a killed job goes on, and a training job stops and goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest

from tests.helpers.pictures import encode, make_photos
from underpaint import LayerDataset
from underpaint.codec.archive import Archive

pytestmark = pytest.mark.slow

PHOTOS = 24


@pytest.fixture
def photos(gs_folder: str, tmp_path: Path) -> str:
    """A folder on Cloud Storage with photos, the last of them broken."""
    fs = fsspec.filesystem("gs")
    for photo in make_photos(tmp_path / "photos", PHOTOS):
        fs.put_file(str(photo), f"{gs_folder}/photos/{photo.relative_to(tmp_path / 'photos')}")
    fs.pipe_file(f"{gs_folder}/photos/zz.jpg", b"no picture")
    return f"{gs_folder}/photos"


def commits(archive: str) -> int:
    fs = fsspec.filesystem("gs")
    fs.invalidate_cache()
    return len(fs.find(f"{archive}/commits"))


def killed(command: list[str], archive: str, moment: int) -> None:
    """Run a command and kill it, all its processes, once `moment` units are committed."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while commits(archive) < moment:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_job_killed_twice_ends_in_the_same_archive(photos: str, gs_folder: str) -> None:
    options = ["--unit-size", "5k", "--workers", "1"]
    archive = f"{gs_folder}/killed"
    command = [
        sys.executable,
        "-P",
        "-m",
        "underpaint",
        "encode",
        photos,
        "--output",
        archive,
    ]
    killed([*command, *options], archive, 1)
    first = commits(archive)
    killed([*command, *options], archive, first + 2)
    second = commits(archive)
    assert encode(photos, "--output", archive, *options) == 1  # for the broken one
    assert 1 <= first < second < commits(archive)
    assert encode(photos, "--output", f"{gs_folder}/calm", *options) == 1
    whole, calm = Archive.open(archive), Archive.open(f"{gs_folder}/calm")
    assert whole.manifest == calm.manifest
    assert [(r.key, r.layers) for r in whole.rows()] == [(r.key, r.layers) for r in calm.rows()]
    assert len(whole) == PHOTOS
    assert [letter.key for letter in whole.dead_letters()] == ["zz.jpg"]


def test_training_stops_and_goes_on_without_loss_or_repetition(photos: str, gs_folder: str) -> None:
    archive = f"{gs_folder}/archive"
    assert encode(photos, "--output", archive) == 1
    undisturbed = list(LayerDataset(archive, layers=1, output="latent", seed=5))
    assert len({sample["key"] for sample in undisturbed}) == PHOTOS
    stopped = LayerDataset(archive, layers=1, output="latent", seed=5)
    samples = iter(stopped)
    before = [next(samples) for _ in range(7)]
    state = stopped.state_dict()
    resumed = LayerDataset(archive, layers=1, output="latent", seed=5)
    resumed.load_state_dict(state)
    both = [*before, *resumed]
    assert [sample["key"] for sample in both] == [sample["key"] for sample in undisturbed]
    for one, other in zip(both, undisturbed, strict=True):
        assert one["class_map"].equal(other["class_map"])
        assert one["coefficients"].equal(other["coefficients"])
