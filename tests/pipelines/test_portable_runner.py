"""The pipeline on PortableRunner: Beam's Python job service and an external worker pool."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.pictures import encode, make_photos, underpaint
from underpaint.codec.archive import Archive

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """A Beam service; its workers run the bare `python` of PATH, so this one comes first there."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    environment = dict(os.environ, PATH=path, PYTHONSAFEPATH="1")
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None
        assert time.monotonic() < deadline
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[str]]:
    """Options that send a job to a job service with one worker pool, both of this test."""
    jobs, pool = free_port(), free_port()
    portability = "apache_beam.runners.portability"
    services = [
        start(
            f"{portability}.local_job_service_main",
            f"--port={jobs}",
            f"--staging_dir={tmp_path / 'staging'}",
        ),
        start(
            "apache_beam.runners.worker.worker_pool_main",
            f"--service_port={pool}",
            "--container_executable=",
        ),
    ]
    try:
        for port, service in zip((jobs, pool), services, strict=True):
            wait_for(port, service)
        yield [
            f"--job_endpoint=localhost:{jobs}",
            "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{pool}",
        ]
    finally:
        for service in services:
            service.terminate()
        for service in services:
            service.wait(timeout=30)


def test_the_same_archive_comes_from_a_job_service_and_a_worker_pool(
    tmp_path: Path, cluster: list[str]
) -> None:
    make_photos(tmp_path / "photos", 4)
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no picture")
    common = [tmp_path / "photos", "--unit-size", "5k"]
    assert encode(*common, "--output", tmp_path / "local") == 1
    status = underpaint(
        "encode", *common, "--output", tmp_path / "remote", "--runner", "PortableRunner", *cluster
    )
    assert status == 1
    local, remote = Archive.open(tmp_path / "local"), Archive.open(tmp_path / "remote")
    assert local.manifest == remote.manifest
    assert len(remote) == 4
    assert [letter.key for letter in remote.dead_letters()] == ["bad.jpg"]
