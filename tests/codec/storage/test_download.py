"""Weights by address: held to their SHA-256, downloaded once by all processes of a machine."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from underpaint.codec.errors import ChecksumMismatch, UsageError
from underpaint.codec.storage import download as fetching
from underpaint.codec.storage.download import Address, cache_folder, fetch, with_digest
from underpaint.codec.weights.header import SHIPPED
from underpaint.codec.weights.loading import load_weights

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Shelf(ThreadingHTTPServer):
    """A web server with one file, which counts how often it is fetched."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.downloads = 0
        self.failures_left = 0
        self.content = CONTENT

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/weights"


class _Handler(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self._head(200 if self.path == "/weights" else 404)

    def do_GET(self) -> None:
        assert isinstance(self.server, Shelf)
        if self.path != "/weights":
            return self._head(404)
        if self.server.failures_left:
            self.server.failures_left -= 1
            return self._head(503)
        self.server.downloads += 1
        self._head(200)
        self.wfile.write(self.server.content)

    def _head(self, status: int) -> None:
        assert isinstance(self.server, Shelf)
        self.send_response(status)
        length = len(self.server.content) if status == 200 else 0
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    server = Shelf()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(fetching.CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_file_with_a_digest_is_downloaded_once(shelf: Shelf, cache: Path) -> None:
    for _ in range(3):
        assert fetch(f"{shelf.url}#sha256={DIGEST}") == CONTENT
    assert shelf.downloads == 1
    assert (cache / DIGEST).read_bytes() == CONTENT


def test_a_file_without_a_digest_is_not_kept(shelf: Shelf, cache: Path) -> None:
    assert fetch(shelf.url) == fetch(shelf.url) == CONTENT
    assert shelf.downloads == 2
    assert not cache.exists()


def test_processes_that_start_at_once_download_once(shelf: Shelf, cache: Path) -> None:
    code = (
        "import sys; from underpaint.codec.storage.download import fetch;"
        "print(len(fetch(sys.argv[1])))"
    )
    command = [sys.executable, "-P", "-c", code, f"{shelf.url}#sha256={DIGEST}"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    shown = [process.communicate()[0].decode().strip() for process in processes]
    assert shown == [str(len(CONTENT))] * 3
    assert shelf.downloads == 1


def test_another_content_is_refused_and_not_kept(shelf: Shelf, cache: Path) -> None:
    shelf.content = CONTENT[:-1] + b"x"
    with pytest.raises(ChecksumMismatch, match=DIGEST):
        fetch(f"{shelf.url}#sha256={DIGEST}")
    assert not (cache / DIGEST).exists()
    shelf.content = CONTENT
    assert fetch(f"{shelf.url}#sha256={DIGEST}") == CONTENT


def test_a_damaged_copy_in_the_cache_is_fetched_anew(shelf: Shelf, cache: Path) -> None:
    fetch(f"{shelf.url}#sha256={DIGEST}")
    (cache / DIGEST).write_bytes(CONTENT[:100])
    assert fetch(f"{shelf.url}#sha256={DIGEST}") == CONTENT
    assert shelf.downloads == 2


@pytest.mark.slow
def test_a_fault_of_the_server_is_tried_again(shelf: Shelf) -> None:
    shelf.failures_left = 2
    assert fetch(f"{shelf.url}#sha256={DIGEST}") == CONTENT


def test_a_missing_file_is_an_error_of_the_user(shelf: Shelf) -> None:
    with pytest.raises(UsageError, match="no weights at"):
        load_weights(f"{shelf.url}-not#sha256={DIGEST}")
    with pytest.raises(UsageError, match="nonsense"):
        fetch("nonsense://weights")


def test_local_files_are_held_to_their_digest_too(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(CONTENT)
    assert fetch(str(path)) == fetch(f"{path}#sha256={DIGEST.upper()}") == CONTENT
    with pytest.raises(ChecksumMismatch):
        fetch(f"{path}#sha256={'0' * 64}")
    assert not cache.exists()


def test_a_file_over_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MAX_FETCHED_BYTES", 10)
    (tmp_path / "long").write_bytes(b"x" * 11)
    with pytest.raises(UsageError, match="more than 10 bytes"):
        fetch(str(tmp_path / "long"))


def test_weights_come_from_cloud_storage_by_their_digest(gs_folder: str, cache: Path) -> None:
    import fsspec

    data = SHIPPED.read_bytes()
    fs = fsspec.filesystem("gs")
    fs.pipe_file(f"{gs_folder}/photos.safetensors", data)
    location = f"{gs_folder}/photos.safetensors#sha256={hashlib.sha256(data).hexdigest()}"
    assert load_weights(location).id == load_weights(None).id
    fs.rm_file(f"{gs_folder}/photos.safetensors")
    assert load_weights(location).id == load_weights(None).id  # from the cache


def test_a_digest_beside_the_address_joins_it() -> None:
    assert with_digest("gs://a/b", DIGEST.upper()) == f"gs://a/b#sha256={DIGEST}"
    assert with_digest(f"gs://a/b#sha256={DIGEST}", DIGEST) == f"gs://a/b#sha256={DIGEST}"
    assert with_digest("gs://a/b", None) == "gs://a/b"
    assert with_digest(None, None) is None
    assert Address.parse("gs://a/b#c") == Address("gs://a/b#c")


@pytest.mark.parametrize(
    ("location", "sha256", "text"),
    [
        (None, DIGEST, "no weights"),
        ("gs://a/b", DIGEST[:-1], "no SHA-256"),
        (f"gs://a/b#sha256={'0' * 64}", DIGEST, "another SHA-256"),
        ("gs://a/b#sha256=abc", DIGEST, "no SHA-256"),
    ],
)
def test_mistakes_in_digests_are_told(location: str | None, sha256: str, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        with_digest(location, sha256)


def test_the_cache_lies_where_caches_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(fetching.CACHE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "underpaint"
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache_folder().name.startswith("underpaint-cache-")
