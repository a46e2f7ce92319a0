"""Lists of web addresses: servers that never answer, trickle, refuse or are busy."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers.reading import outcome, read_all
from tests.helpers.shards import jpeg, zip_of
from underpaint.codec.errors import RangesUnsupported, UsageError
from underpaint.codec.storage import web
from underpaint.transforms.sources import Choice

WAITS = {
    "short": "7",
    "long": "3600",
    "past": "Fri, 31 Dec 1999 23:59:59 GMT",
    "future": "Fri, 31 Dec 2199 23:59:59 GMT",
    "odd": "soon",
}
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
        elif self.path.startswith("/wait") and self.asked[self.path] < 2:
            status, data = 429, b""
        elif self.path.startswith(("/circle", "/file", "/nowhere")):
            status, data = 302, b""
        self.send_response(status)
        length: object = len(data)
        if self.path.startswith(("/trickle", "/cut")):
            length = 10**6
        elif self.path.startswith("/length"):
            length = "many"
        self.send_header("Content-Length", str(length))
        if status == 429:
            self.send_header("Retry-After", WAITS[self.path.partition("_")[2]])
        elif status == 302 and not self.path.startswith("/nowhere"):
            target = "file:///etc/hosts" if self.path.startswith("/file") else self.path
            self.send_header("Location", target)
        elif self.path.startswith("/coded"):
            self.send_header("Content-Encoding", "gzip")
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
    (gone,) = read_all([f"{server}/gone.jpg"])
    with pytest.raises(FileNotFoundError) as caught:
        gone.fetch()
    assert str(caught.value) == f"{server}/gone.jpg: the server has no such file (HTTP 404)"
    assert isinstance(outcomes(tmp_path / "b.csv", [f"{server}/cut.jpg"])[0], type)


@pytest.mark.parametrize(
    ("path", "said", "requests"),
    [
        ("/circle.jpg", "the server redirects in a circle", None),
        ("/file.jpg", "the server redirects to what is no web address", 1),
        ("/nowhere.jpg", r"the server redirects without saying where to \(HTTP 302\)", 1),
        ("/cut.jpg", "the server's answer is damaged: it does not have its stated length", None),
        ("/coded.jpg", "the server's answer is damaged: its content encoding is not valid", None),
        ("/length.jpg", "the server's answer is not valid HTTP", 1),
        ("/wait_long", "HTTP 429 Too Many Requests; it asks for a wait of 3600 s", 1),
        ("/wait_future", r"HTTP 429 Too Many Requests; it asks for a wait of \d+ s", 1),
    ],
)
def test_an_answer_that_is_none_is_one_line_with_its_address(
    tmp_path: Path, server: str, path: str, said: str, requests: int | None
) -> None:
    (tmp_path / "a.csv").write_text(f"url\n{server}{path}\n")
    (record,) = read_all([tmp_path / "a.csv"])
    with pytest.raises(OSError, match=f"^{server}{path}: {said}; ") as caught:
        record.fetch()
    assert str(caught.value).isprintable()
    assert requests is None or Handler.asked[path] == requests


@pytest.mark.parametrize("url", ["http://[bad]/x", "http://127.0.0.1:99999/x", "http:///x.jpg"])
def test_an_address_that_is_none_costs_its_row_alone(tmp_path: Path, server: str, url: str) -> None:
    (tmp_path / "a.csv").write_text(f"url\n{server}/1.jpg\n{url}\n{server}/2.jpg\n")
    first, wrong, last = read_all([tmp_path / "a.csv"])
    assert (first.fetch(), last.fetch()) == (jpeg(1), jpeg(2))
    with pytest.raises(UsageError, match="not a valid web address; correct it") as caught:
        wrong.fetch()
    assert str(caught.value).startswith(url)


@pytest.mark.parametrize("begin", ["http://", "https://", "http://me@[::1]:80/"])
def test_a_pattern_of_web_addresses_is_refused(begin: str) -> None:
    for pattern in ("host/f/*.jpg", "host/**/1.jpg?a=b"):
        with pytest.raises(UsageError, match="a web server cannot be listed") as caught:
            read_all([f"{begin}{pattern}"])
        assert str(caught.value).startswith(f"{begin}{pattern}: ")
    (record,) = read_all([f"{begin}host/%2A.jpg?size=*"])
    assert record.key.endswith("host/%2A.jpg?size=*")


@pytest.mark.parametrize("wait", ["short", "past", "odd"])
def test_a_server_that_asks_for_a_wait_is_given_it(
    tmp_path: Path, server: str, wait: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    sleep = time.sleep

    def noted(seconds: float) -> None:
        waits.append(seconds)
        sleep(min(seconds, 0.05))

    monkeypatch.setattr(time, "sleep", noted)
    (tmp_path / "a.csv").write_text(f"url\n{server}/wait_{wait}\n")
    (record,) = read_all([tmp_path / "a.csv"])
    assert record.fetch() == jpeg(0)
    assert waits.count(7.0) == (wait == "short")
    assert max((each for each in waits if each != 7.0), default=0.0) <= 1.0


@pytest.mark.parametrize("name", ["a.parquet", "a.zip"])
def test_a_shard_of_a_server_without_ranges_names_the_server(tmp_path: Path, name: str) -> None:
    class Whole(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

    noise = np.random.default_rng(0).bytes(12 << 20)
    if name == "a.zip":
        (tmp_path / name).write_bytes(zip_of({"1.jpg": jpeg(1), "2.txt": noise, "3.jpg": jpeg(3)}))
    else:
        table = pa.table({"image": [jpeg(1), noise]})
        pq.write_table(table, tmp_path / name, compression="none")
    handler = partial(Whole, directory=str(tmp_path))
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{running.server_port}/{name}"
        with pytest.raises(RangesUnsupported, match=f"^{address}: the server sends whole files"):
            read_all([address])
    finally:
        running.shutdown()
        running.server_close()
