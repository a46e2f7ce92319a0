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
LOCAL, REMOTE = 200, 20
"""Photos on this machine, and on each server."""

SLACK, SLACK_S = 1.3, 2
"""How much longer a run may take than another one on a busy machine."""


Behaviour = Callable[[socket.socket, threading.Event], None]


def keep_silent(connection: socket.socket, stopped: threading.Event) -> None:
    """Accept, and never answer."""
    stopped.wait(60)


def answer(connection: socket.socket, stopped: threading.Event) -> None:
    """Say at once that there is no such file."""
    with contextlib.suppress(OSError):
        connection.recv(1 << 16)
        connection.sendall(
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )


def trickle(connection: socket.socket, stopped: threading.Event) -> None:
    """Promise a megabyte and send a byte at a time."""
    with contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not stopped.wait(0.3):
            connection.sendall(b"x")


@contextlib.contextmanager
def served(behave: Behaviour | None) -> Iterator[str]:
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
def test_a_run_ends_within_its_normal_time_and_the_time_limit(tmp_path: Path) -> None:
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

    def with_servers(name: str, *behaviours: Behaviour | None) -> float:
        with contextlib.ExitStack() as servers:
            hosts = [servers.enter_context(served(each)) for each in behaviours]
            addresses = [f"{host}/{number}.jpg" for number in range(REMOTE) for host in hosts]
            table = tmp_path / f"{name}.csv"
            table.write_text("\n".join(["url", *addresses]))
            return seconds(name, str(photos), str(table), failed=len(addresses))

    with_servers("warm", answer, answer, answer)
    normal = with_servers("normal", answer, answer, answer)
    dead = with_servers("dead", keep_silent, trickle, None)
    print(f"with servers that answer {normal:.1f} s, with dead ones {dead:.1f} s")
    assert dead <= SLACK * normal + LIMIT_S + SLACK_S
