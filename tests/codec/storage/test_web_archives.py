"""An archive behind a web address that does not answer as it should: one line, and soon."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from underpaint.codec.storage import files, web
from underpaint.codec.storage.web import TimeLimits
from underpaint.pipelines.cli.main import main

LIMITS = TimeLimits(connect_s=0.5, stall_s=0.5, total_s=2.0)


class _Handler(BaseHTTPRequestHandler):
    """Answers with the status that the path begins with; keeps silent for `/silent`."""

    released = threading.Event()
    requests: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.requests.append(self.path)
        if self.path.startswith("/silent"):
            self.released.wait(60)
            return
        if self.path.startswith("/trickle"):
            self.send_response(200)
            self.end_headers()
            while not self.released.wait(0.1):
                self.wfile.write(b".")
            return
        self.send_response(int(self.path.split("/")[1]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def server() -> Iterator[str]:
    _Handler.released.clear()
    _Handler.requests.clear()
    shelf = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    shelf.daemon_threads = True
    threading.Thread(target=shelf.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{shelf.server_address[1]}"
    finally:
        _Handler.released.set()
        shelf.shutdown()
        shelf.server_close()


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    def options(url: str, *, total: bool = False) -> dict[str, object]:
        return web.session_options(url, LIMITS, total=total)

    monkeypatch.setattr(files, "session_options", options)


def told(url: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that `inspect` says of an archive that cannot be read."""
    begin = time.monotonic()
    assert main(["inspect", url]) != 0
    assert time.monotonic() - begin < 10  # six attempts without limits take half an hour
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("path", ["silent", "trickle"])
def test_a_server_that_keeps_silent_is_asked_once(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with server() as url:
        line = told(f"{url}/{path}/archive", capsys)
        assert "did not answer in time" in line
        assert url.removeprefix("http://") in line
        assert len(_Handler.requests) == 1


@pytest.mark.parametrize(("status", "name"), [(403, "Forbidden"), (410, "Gone")])
def test_the_status_is_said(status: int, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with server() as url:
        line = told(f"{url}/{status}/archive", capsys)
        assert f"HTTP {status} {name}" in line
        assert f"{url}/{status}/archive" in line
        assert len(_Handler.requests) == 1


def test_a_missing_manifest_is_no_archive(capsys: pytest.CaptureFixture[str]) -> None:
    with server() as url:
        assert "no archive there" in told(f"{url}/404/archive", capsys)


def test_a_host_that_refuses_or_is_unknown_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert f"127.0.0.1:{port}" in told(f"http://127.0.0.1:{port}/archive", capsys)
    assert "no-such-host.invalid" in told("http://no-such-host.invalid/archive", capsys)
