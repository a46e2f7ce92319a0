"""Set-up of all tests: emulators of object stores, numba's cache, one import name."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.helpers.kernel_cache import cache_folder

assert "numba" not in sys.modules, "numba reads the name of its cache folder when it is imported"
os.environ["NUMBA_CACHE_DIR"] = str(cache_folder())  # child processes inherit it

FOLDERS = ("codec", "transforms", "pipelines")
SAFE_PATH = os.environ.get("PYTHONSAFEPATH")


@pytest.fixture(scope="session", autouse=True)
def one_import_name() -> Iterator[None]:
    """Fails the run where a module was loaded a second time, under its name in the repository."""
    yield
    bare = [name for name in sys.modules if name.partition(".")[0] in FOLDERS]
    assert not bare, f"import these from `underpaint`: {bare}"


@pytest.fixture(autouse=True)
def state_of_the_process() -> Iterator[None]:
    """Undoes what `main()` sets for the rest of its process, in a test or a fixture before it.

    That is the path of child processes (later tests start modules of `tests`) and the treatment of
    denormal floats (which Hypothesis wants to be able to draw).
    """
    _restore_process()
    yield
    _restore_process()


def _restore_process() -> None:
    if SAFE_PATH is None:
        os.environ.pop("PYTHONSAFEPATH", None)
    else:
        os.environ["PYTHONSAFEPATH"] = SAFE_PATH
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def storage_emulator() -> Iterator[str]:
    """URL of a running `gcp-storage-emulator`; gcsfs and Beam in this process use it."""
    port = _free_port()
    options = ["start", "--host=127.0.0.1", f"--port={port}", "--in-memory"]
    url = f"http://127.0.0.1:{port}"
    server = _server("gcp_storage_emulator", *options, "--default-bucket=tests", url=url)
    with server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", url)
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        yield url


@pytest.fixture
def gs_folder(storage_emulator: str) -> str:
    """A `gs://` folder of its own for one test."""
    assert os.environ["STORAGE_EMULATOR_HOST"] == storage_emulator
    return f"gs://tests/{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def s3_emulator() -> Iterator[str]:
    """URL of a running `moto` server with a bucket `tests`; s3fs in this process uses it."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    server = _server("moto.server", "-H", "127.0.0.1", "-p", str(port), url=url)
    with server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", url)
        patch.setenv("AWS_ACCESS_KEY_ID", "tests")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        make_bucket = urllib.request.Request(f"{url}/tests", method="PUT")
        urllib.request.urlopen(make_bucket, timeout=60).close()
        yield url


@pytest.fixture
def s3_folder(s3_emulator: str) -> str:
    """An `s3://` folder of its own for one test."""
    assert os.environ["AWS_ENDPOINT_URL"] == s3_emulator
    return f"s3://tests/{uuid.uuid4().hex}"


@contextmanager
def _server(module: str, *options: str, url: str) -> Iterator[None]:
    """A server in a process of its own, from its first answer until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    try:
        while not _answers(url):
            assert process.poll() is None, f"{module} ended"
            assert time.monotonic() < deadline, f"{module} does not answer"
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
