"""Fixtures for all tests: a Cloud Storage emulator that the tests start and stop."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def storage_emulator() -> Iterator[str]:
    """URL of a running `gcp-storage-emulator`; gcsfs and Beam in this process use it."""
    pytest.importorskip("gcp_storage_emulator")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host=127.0.0.1"]
    process = subprocess.Popen(
        [*command, f"--port={port}", "--in-memory", "--default-bucket=tests"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    patch = pytest.MonkeyPatch()
    try:
        _wait_for(url, process)
        patch.setenv("STORAGE_EMULATOR_HOST", url)
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        yield url
    finally:
        patch.undo()
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def gs_folder(storage_emulator: str) -> str:
    """A `gs://` folder of its own for one test."""
    assert os.environ["STORAGE_EMULATOR_HOST"] == storage_emulator
    return f"gs://tests/{uuid.uuid4().hex}"


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not _answers(url):
        assert process.poll() is None, "the storage emulator ended"
        assert time.monotonic() < deadline, "the storage emulator does not answer"
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/storage/v1/b?project=test", timeout=5):
            return True
    except OSError:
        return False
