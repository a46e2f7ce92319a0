"""Servers that keep silent, trickle or refuse cost their own records, and about one time limit."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from underpaint.codec.archive import Archive
from underpaint.pipelines.cli.main import main

LIMIT_S = 2
LOCAL, REMOTE = 40, 20


def keep_silent(connection: socket.socket, stopped: threading.Event) -> None:
    """Accept, and never answer."""
    stopped.wait(60)


def trickle(connection: socket.socket, stopped: threading.Event) -> None:
    """Promise a megabyte and send a byte at a time."""
    with contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not stopped.wait(0.3):
            connection.sendall(b"x")


@contextlib.contextmanager
def served(behave: Callable[[socket.socket, threading.Event], None] | None) -> Iterator[str]:
    """Serve on a local port; None: a port that refuses connections."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    stopped = threading.Event()
    if behave is None:
        listener.close()
        yield address
        return

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    def serve(connection: socket.socket) -> None:
        with connection:
            behave(connection, stopped)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield address
    finally:
        stopped.set()
        listener.close()


@pytest.mark.slow
@pytest.mark.parametrize("behave", [keep_silent, trickle, None], ids=["silent", "slow", "refusing"])
def test_a_run_ends_within_the_time_limit(
    tmp_path: Path, behave: Callable[[socket.socket, threading.Event], None] | None
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(LOCAL):
        Image.new("RGB", (32, 32), (number, 90, 60)).save(photos / f"{number}.png")

    def seconds(name: str, *inputs: str, failed: int) -> float:
        begin = time.monotonic()
        options = ("--download-timeout", str(LIMIT_S), "--connect-timeout", str(LIMIT_S))
        status = main(
            ["encode", *inputs, "--output", str(tmp_path / name), "--max-failed", "50%", *options]
        )
        assert status == 0
        statistics = Archive.open(tmp_path / name).statistics()
        assert (statistics.images, statistics.failed) == (LOCAL, failed)
        return time.monotonic() - begin

    seconds("warm", str(photos), failed=0)
    alone = seconds("alone", str(photos), failed=0)
    with served(behave) as address:
        table = tmp_path / "urls.csv"
        lines = ["url", *(f"{address}/{number}.jpg" for number in range(REMOTE))]
        table.write_text("\n".join(lines))
        both = seconds("both", str(photos), str(table), failed=REMOTE)
    assert both <= alone + 3 * LIMIT_S + 4
