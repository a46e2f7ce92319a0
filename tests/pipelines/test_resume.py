"""A second run does what is missing, and the archive ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.helpers.pictures import encode, make_photos, underpaint
from underpaint.codec.archive import Archive, orphans
from underpaint.pipelines.jobs.encode import EncodeOptions
from underpaint.pipelines.jobs.encode import encode as run_job

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[1] / "faults" / "kill_and_resume.py"


def options(folder: Path, **more: object) -> EncodeOptions:
    base = {"inputs": (str(folder / "photos"),), "output": str(folder / "archive")}
    return EncodeOptions(**{**base, "workers": 1, "unit_bytes": 5000, **more})


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.glob("*/*"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_photos(tmp_path / "photos", 8)
    return tmp_path


def test_a_second_run_does_nothing(folder: Path) -> None:
    first = run_job(options(folder))
    before = files(folder / "archive")
    second = run_job(options(folder))
    assert (first.counts.images, second.counts.images) == (8, 0)
    assert files(folder / "archive") == before


def test_units_lost_before_their_commit_are_done_again_to_the_byte(folder: Path) -> None:
    run_job(options(folder))
    before = files(folder / "archive")
    manifest = (folder / "archive" / "manifest.json").read_bytes()
    commits = sorted((folder / "archive" / "commits").iterdir())
    assert len(commits) > 2
    for commit in commits[::2]:
        commit.unlink()
    (folder / "archive" / "manifest.json").unlink()
    run_job(options(folder))
    assert files(folder / "archive") == before
    assert (folder / "archive" / "manifest.json").read_bytes() == manifest


def test_photos_added_since_are_the_only_work(folder: Path) -> None:
    run_job(options(folder))
    make_photos(folder / "photos", 3, first=8)
    result = run_job(options(folder, unit_bytes=None))
    assert result.counts.images == 3
    archive = Archive.open(folder / "archive")
    assert len(archive) == 11
    assert archive.duplicate_keys() == []
    assert run_job(options(folder)).counts.images == 0


def test_failed_photos_are_tried_again_when_asked(folder: Path) -> None:
    broken = folder / "photos" / "left" / "001.jpg"
    hopeless = folder / "photos" / "right" / "000.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:200].ljust(len(whole), b"\0"))
    hopeless.write_bytes(b"no picture")
    assert run_job(options(folder)).failed == 2
    broken.write_bytes(whole)
    assert run_job(options(folder)).counts.images == 0
    for round in range(2):
        result = run_job(options(folder, retry_failed=True))
        assert result.counts.images == (1, 0)[round]
        assert (result.statistics.images, result.failed) == (7, 1)
    archive = Archive.open(folder / "archive")
    assert [letter.key for letter in archive.dead_letters()] == ["right/000.jpg"]
    assert archive.duplicate_keys() == []
    assert run_job(options(folder)).statistics.images == 7


def test_failures_of_other_units_are_tried_again_by_their_addresses(folder: Path) -> None:
    broken = folder / "photos" / "left" / "001.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(b"not yet")
    assert run_job(options(folder)).failed == 1
    broken.write_bytes(whole)
    make_photos(folder / "photos", 2, first=8)  # units are cut in another way now
    result = run_job(options(folder, retry_failed=True, unit_bytes=1 << 20))
    assert (result.statistics.images, result.failed, result.counts.images) == (10, 0, 3)


def test_pictures_of_the_same_bytes_are_stored_once_when_asked(folder: Path) -> None:
    twin = folder / "photos" / "zz"
    twin.mkdir()
    (twin / "twin.jpg").write_bytes((folder / "photos/left/001.jpg").read_bytes())
    result = run_job(options(folder, deduplicate=True))
    assert (result.statistics.images, result.duplicates, result.failed) == (8, 1, 0)
    assert result.status == 0
    (letter,) = Archive.open(folder / "archive").dead_letters()
    assert letter.key == "zz/twin.jpg"
    assert "left/001.jpg" in letter.message
    (twin / "third.jpg").write_bytes((folder / "photos/left/003.png").read_bytes())
    result = run_job(options(folder, deduplicate=True))
    assert (result.statistics.images, result.duplicates) == (8, 2)
    again = run_job(options(folder, deduplicate=True, retry_failed=True))
    assert (again.counts.images, again.duplicates) == (0, 2)


def test_sweep_removes_what_killed_jobs_left(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = folder / "archive"
    assert encode(folder / "photos", "--output", archive) == 0
    before = files(archive)
    (archive / "data" / ".tmp-x.parquet-1").write_bytes(b"half")
    (archive / "data" / "files-0-1.parquet").write_bytes(b"never committed")
    (archive / "plans" / "old").mkdir(parents=True)
    (archive / "plans" / "old" / "plan-00000.jsonl").write_text("{}\n")
    assert underpaint("sweep", archive) == 0
    assert "0 files" in capsys.readouterr().out  # all too young
    assert underpaint("sweep", archive, "--older-than", 0, "--dry-run") == 0
    assert "3 files" in capsys.readouterr().out
    assert underpaint("sweep", archive, "--older-than", 0) == 0
    assert files(archive) == before
    assert not (archive / "plans" / "old").exists()
    assert underpaint("verify", archive) == 0


def test_two_runs_at_once_make_one_archive(folder: Path) -> None:
    run_job(options(folder, output=str(folder / "calm")))
    command = [
        sys.executable,
        "-P",
        "-m",
        "underpaint",
        "encode",
        str(folder / "photos"),
    ]
    command += ["--output", str(folder / "archive"), "--workers", "1", "--unit-size", "5000"]
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for run in runs:
        _, shown = run.communicate(timeout=120)
        assert run.returncode == 0, shown
    assert Archive.open(folder / "archive").manifest == Archive.open(folder / "calm").manifest
    assert orphans(folder / "archive") == {}


def test_killed_runs_end_in_the_archive_of_an_undisturbed_one(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 9)
    command = [sys.executable, str(SCRIPT), str(tmp_path / "photos"), "--count", "24"]
    command += ["--broken", "2", "--kills", "2", "--workers", "1", "--unit-size", "10k"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok ") == 4


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="workers are found there")
@pytest.mark.parametrize("connected", [False, True])
def test_a_job_ends_where_a_worker_has_been_killed(folder: Path, connected: bool) -> None:
    """Before it has connected, as it starts, and after."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "underpaint",
        "encode",
        str(folder / "photos"),
    ]
    command += ["--output", str(folder / "archive"), "--workers", "2", "--unit-size", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        while len(workers := children(run.pid)) < 2 or (connected and not all(map(ready, workers))):
            assert run.poll() is None
            time.sleep(0.01)
        os.kill(workers[0], signal.SIGKILL)
        _, shown = run.communicate(timeout=120)
    progress = (" pictures ", "compiling functions: once", "compiled ")  # the first run compiles
    lines = [line for line in shown.splitlines() if not any(part in line for part in progress)]
    assert run.returncode == 1, shown
    assert len(lines) == 1, shown
    assert "the job broke: a worker process ended early" in lines[0]
    assert encode(folder / "photos", "--output", folder / "archive", "--unit-size", "1") == 0
    assert len(Archive.open(folder / "archive")) == 8


def children(process: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{process}/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has ended
            found += (task / "children").read_text().split()
    return list(map(int, found))


def ready(worker: int) -> bool:
    """Whether a worker has started its helper: it has its work then."""
    return bool(children(worker))


def test_a_compacted_archive_knows_what_is_done(folder: Path) -> None:
    broken = folder / "photos" / "left" / "001.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:200].ljust(len(whole), b"\0"))
    assert run_job(options(folder)).failed == 1
    rows = list(Archive.open(folder / "archive").rows())
    assert underpaint("compact", folder / "archive", "--target-size", "1G") == 0
    archive = Archive.open(folder / "archive")
    assert len(archive.files) == 1
    assert list(archive.rows()) == rows
    assert run_job(options(folder)).counts.images == 0
    assert list(Archive.open(folder / "archive").rows()) == rows
    broken.write_bytes(whole)
    retried = run_job(options(folder, retry_failed=True))
    assert (retried.counts.images, retried.failed) == (1, 0)
    make_photos(folder / "photos", 3, first=8)
    assert run_job(options(folder, unit_bytes=None)).counts.images == 3
    assert underpaint("compact", folder / "archive") == 0
    assert underpaint("verify", folder / "archive") == 0
    assert len(Archive.open(folder / "archive")) == 11
    assert run_job(options(folder)).counts.images == 0
