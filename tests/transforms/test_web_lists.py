"""Lists of web addresses: servers that never answer, trickle, refuse or are busy."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from tests.helpers.reading import outcome, read_all
from tests.helpers.shards import jpeg
from underpaint.codec.storage import web
from underpaint.transforms.sources import Choice

FAST = web.TimeLimits(connect_s=1.0, stall_s=1.0, total_s=5.0)


class Handler(BaseHTTPRequestHandler):
    """Serves a picture at every path but some."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[Counter[str]] = Counter()

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self.asked[self.path] += 1
        data = jpeg(int("".join(filter(str.isdigit, self.path)) or 0) % 7)
        status = 200
        if self.path.startswith("/hang"):
            time.sleep(20)
        elif self.path.startswith("/busy") and self.asked[self.path] < 3:
            status, data = 503, b""
        elif self.path.startswith("/gone"):
            status, data = 404, b"gone"
        self.send_response(status)
        length = 10**6 if self.path.startswith(("/trickle", "/cut")) else len(data)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.path.startswith("/trickle"):
            for _ in range(60):
                self.wfile.write(b"\xff")
                self.wfile.flush()
                time.sleep(0.3)
        self.wfile.write(data)
        if length != len(data):
            self.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Choice, "time_limits", FAST)
    web._hosts.cache_clear()
    Handler.asked = Counter()
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


@pytest.fixture
def silent() -> Iterator[str]:
    """A host that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def refusing() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def outcomes(table: Path, addresses: list[str], threads: int = 8) -> list[bytes | type]:
    """What comes of each address, fetched by some threads as a job fetches them."""
    table.write_text("url\n" + "\n".join(addresses) + "\n")
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(outcome, read_all([table])))


def test_dead_hosts_cost_their_records_and_not_the_run(
    tmp_path: Path, server: str, silent: str
) -> None:
    good = [f"{server}/{number}.jpg" for number in range(200)]
    dead = [f"{host}/{n}.jpg" for host in (silent, refusing()) for n in range(50)]
    dead += [f"http://no-such-host-{n}.invalid/1.jpg" for n in range(20)]
    dead += [f"{server}/trickle{n}" for n in range(2)]
    mixed = [address for pair in zip(good, dead, strict=False) for address in pair]
    addresses = mixed + good[len(dead) :]
    begin = time.monotonic()
    found = dict(zip(addresses, outcomes(tmp_path / "a.csv", addresses), strict=True))
    seconds = time.monotonic() - begin
    assert all(isinstance(found[address], bytes) for address in good)
    assert {found[address] for address in dead} == {TimeoutError, ConnectionError, web.HostDead}
    assert seconds < 20  # one after the other, the silent host alone would take 50


def test_downloads_in_progress_end_when_their_host_is_found_dead(
    tmp_path: Path, server: str, silent: str
) -> None:
    (tmp_path / "a.csv").write_text("url\n" + f"{silent}/1.jpg\n" * 4)
    with ThreadPoolExecutor(4) as pool:
        early = [pool.submit(outcome, record) for record in read_all([tmp_path / "a.csv"])[:3]]
        time.sleep(FAST.stall_s / 2)
        late = pool.submit(outcome, read_all([tmp_path / "a.csv"])[3])
    assert [each.result() for each in early] == [TimeoutError] * 3
    assert late.result() is web.HostDead


def test_a_file_that_hangs_does_not_condemn_its_host(tmp_path: Path, server: str) -> None:
    addresses = [f"{server}/hang", *(f"{server}/{n}.jpg" for n in range(20)), f"{server}/hang2"]
    found = outcomes(tmp_path / "a.csv", addresses, threads=1)
    assert (found[0], found[-1]) == (TimeoutError, TimeoutError)
    assert all(isinstance(each, bytes) for each in found[1:-1])


def test_a_timeout_says_what_was_waited_for(tmp_path: Path, server: str) -> None:
    (tmp_path / "a.csv").write_text(f"url\n{server}/hang\n{server}/trickle\n")
    silent, slow = read_all([tmp_path / "a.csv"])
    host = server.removeprefix("http://")
    with pytest.raises(TimeoutError, match=f"^{host}: Timeout on reading data from socket$"):
        silent.fetch()
    with pytest.raises(TimeoutError, match=rf"^{host}: only \d bytes in 1 s$"):
        slow.fetch()


def test_answers_are_final_and_busy_servers_are_asked_again(tmp_path: Path, server: str) -> None:
    found = outcomes(tmp_path / "a.csv", [f"{server}/gone.jpg", f"{server}/busy3.jpg?sig=x"])
    assert found == [FileNotFoundError, jpeg(3)]
    assert Handler.asked["/gone.jpg"] == 1
    assert isinstance(outcomes(tmp_path / "b.csv", [f"{server}/cut.jpg"])[0], type)
