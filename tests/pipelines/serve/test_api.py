"""The interface of the gallery, over HTTP: what it answers, and what it refuses."""

from __future__ import annotations

import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from starlette.requests import Request

from tests.helpers.galleries import HOSTILE, make_gallery, served
from tests.helpers.static_servers import static_server
from underpaint import Archive, Codec
from underpaint.pipelines.serve import byte_ranges

pytestmark = pytest.mark.slow

ROWS = 150
SEPARATOR = "\x1f"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gallery(tmp_path_factory.mktemp("gallery") / "archive", ROWS, side=200)


@pytest.fixture(scope="module")
def url(root: Path) -> Iterator[str]:
    with served(root) as url:
        yield url


@pytest.fixture(scope="module")
def archive(root: Path) -> Archive:
    return Archive.open(root)


def fetched(url: str, path: str, **parameters: Any) -> tuple[int, Any, bytes]:
    """Status, headers and body of a GET."""
    query = "?" + urlencode(parameters, doseq=True) if parameters else ""
    try:
        with urllib.request.urlopen(f"{url}{path}{query}", timeout=120) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def asked(url: str, path: str, **parameters: Any) -> Any:
    status, headers, body = fetched(url, f"api/{path}", **parameters)
    assert status == 200, body
    assert headers["content-type"] == "application/json"
    return json.loads(body)


def test_the_archive_is_described_from_its_manifest(url: str, archive: Archive) -> None:
    found = asked(url, "archive")
    assert found["count"] == ROWS
    assert found["layers"] == list(archive.layer_names)
    assert found["sizes"] == [256, 512, 0]
    assert found["labels"] == ["kind", "score", "note"]
    assert found["embeddings"] is found["originals"] is True
    assert dict(found["failures"]) == {"decode: PictureDamaged": 7, "read: FileNotFoundError": 1}
    assert found["size_bytes"] == [list(row) for row in archive.statistics().size_bytes]


def test_rows_are_those_of_the_archive(url: str, archive: Archive) -> None:
    keys = list(archive.keys())
    found = asked(url, "rows", start=30, stop=90)
    assert found["count"] == ROWS
    assert [row["n"] for row in found["rows"]] == list(range(30, 90))
    assert [row["key"] for row in found["rows"]] == keys[30:90]
    assert asked(url, "rows", start=140, stop=400)["rows"][-1]["key"] == keys[-1]
    assert asked(url, "rows", start=10**12, stop=10**12 + 5)["rows"] == []
    [row] = asked(url, "rows", key=keys[77])["rows"]
    assert row == {"n": 77, "key": keys[77], "width": 200, "height": 200}


def test_filters_by_key_and_label(url: str, archive: Archive) -> None:
    rows = list(archive.rows(1))
    expected = [n for n, row in enumerate(rows) if "01" in row.key and row.labels["kind"] == "cat"]
    found = asked(url, "rows", q="01", label=f"kind{SEPARATOR}cat", start=0, stop=500)
    assert [row["n"] for row in found["rows"]] == expected
    assert found["count"] == len(expected) > 3
    [one] = asked(url, "rows", label=f"score{SEPARATOR}42", start=0, stop=9)["rows"]
    assert one["n"] == 42
    shown = asked(url, "rows", q="abc\\u202egpj", start=0, stop=99)["rows"]  # as the page has it
    assert [row["n"] for row in shown] == list(range(2, 20, 4))
    note = f"note{SEPARATOR}{HOSTILE[0] * 10}"
    assert len(asked(url, "rows", label=note, start=0, stop=99)["rows"]) == 10
    values = asked(url, "values", label="kind")["values"]
    assert sorted(map(tuple, values)) == [
        ("astronaut", 38), ("cat", 38), ("coffee", 38), ("rocket", 36),
    ]  # fmt: skip


def test_pictures_are_decoded_at_every_state(url: str, archive: Archive) -> None:
    codec = Codec.load()
    row = archive.get(next(iter(archive.keys())))
    for layers in range(1, codec.layers + 1):
        for size in (0, 64, 256):
            status, headers, body = fetched(
                url, "api/picture/0", layers=layers, size=size, format="png"
            )
            assert (status, headers["content-type"]) == (200, "image/png")
            [expected] = codec.decode([row.layers[:layers]], size=size or None)
            # the server is another process: whether a compiled function was inlined there, or read
            # from the cache, decides how sums are rounded, see the tolerance in docs/stream.md
            shown = np.asarray(Image.open(io.BytesIO(body))).astype(int)
            assert np.abs(shown - expected).max() <= 1
            assert (shown != expected).mean() < 1e-4
    status, headers, body = fetched(url, "api/picture/0", layers=1, size=64, thumbnail=1)
    assert headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(body)).size == (100, 100)
    status, headers, _ = fetched(url, "api/picture/0", format="webp", download=1)
    assert headers["content-disposition"].startswith("attachment; filename*=UTF-8''")
    state = asked(url, "state/0", layers=2)
    assert state["bytes"] == sum(map(len, row.layers[:2]))
    assert sum(entry["share"] for entry in state["palette"]) == pytest.approx(1)
    status, _, body = fetched(url, "api/map/0", layers=2)
    assert Image.open(io.BytesIO(body)).size == (13, 13)


def test_all_about_one_row(url: str, archive: Archive) -> None:
    found = asked(url, "row/50")
    row = list(archive.rows())[50]
    assert found["key"] == row.key
    lengths = [length for of_size in found["parts"] for _, length in filter(None, of_size)]
    assert sum(lengths) == sum(map(len, row.layers))
    assert found["labels"] == {"kind": "cat", "score": "50", "note": "note 50" * 10}
    assert found["metadata"] == {"date": "2024-05-01T10:00:00", "model": "note 50"}
    _, headers, body = fetched(url, "api/original/50")
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"].startswith("attachment")
    assert len(body) == row.source_bytes


def test_similar_pictures_and_duplicates(url: str, archive: Archive) -> None:
    found = asked(url, "similar/3", count=20)["rows"]
    assert len(found) == 20
    assert 3 not in [row["n"] for row in found]
    assert all(row["n"] % 8 in (2, 3) for row in found)  # of the same kind
    cosines = [row["similarity"] for row in found]
    assert cosines == sorted(cosines, reverse=True)
    pairs = asked(url, "duplicates", percent=99)["pairs"]
    assert pairs
    assert all(pair["one"]["n"] % 8 // 2 == pair["other"]["n"] % 8 // 2 for pair in pairs)


def test_dead_letters_by_cause(url: str) -> None:
    cause = "decode: PictureDamaged"
    letters = asked(url, "failures", start=0, stop=100, cause=cause)["letters"]
    assert [letter["key"] for letter in letters] == [f"bad-{n}" for n in range(7)]
    assert letters[0]["message"] == HOSTILE[0]
    assert len(asked(url, "failures", start=6, stop=100)["letters"]) == 2
    assert asked(url, "failures", start=0, stop=9, cause="none")["letters"] == []


def test_histograms_count_every_picture(url: str) -> None:
    found = asked(url, "histograms")
    for ends, counts in found.values():
        assert len(ends) == len(counts)
        assert sum(counts) == ROWS


@pytest.mark.parametrize(
    "path",
    [
        "api/picture/-1", "api/picture/150", "api/picture/1e3", "api/picture/" + "9" * 4000,
        "api/picture/0?layers=0", "api/picture/0?layers=7", "api/picture/0?layers=x",
        "api/picture/0?size=-4", "api/picture/0?layers=2&size=%C2%B2", "api/picture/%C2%B2",
        "api/state/0?layers=%D9%A1", "api/picture/0?size=1_0", "api/rows?start=%C2%B2&stop=3",
        "api/picture/0?size=99999999", "api/picture/0?format=gif",
        "api/picture/%D9%A3", "api/rows", "api/rows?start=0&stop=501", "api/rows?start=5&stop=4",
        "api/rows?start=0&stop=9&label=kind", "api/rows?start=0&stop=9&label=nothing%1Fx",
        "api/rows?start=0&stop=9&q=" + "x" * 3000, "api/values?label=key",
        "api/similar/0?count=999", "api/failures?start=0&stop=9999", "api/duplicates?percent=1",
        "api/original/777",
    ],
)  # fmt: skip
def test_wrong_requests_are_refused_in_one_line(url: str, path: str) -> None:
    status, _, body = fetched(url, path)
    assert status == 400
    [message] = json.loads(body).values()
    assert "\n" not in message
    assert len(message) < 3000


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/static/gallery.js",
        "/manifest.json", "/data/unit.parquet", "//etc/passwd", "/gallery.js/", "/gallery.js%00",
        "/api/original/..%2f..%2fmanifest.json", "/api/picture/0/../../../manifest.json",
        "/\\..\\manifest.json", "/api/rows?key=..%2Fmanifest.json", "/cache.py", "/api/",
    ],
)  # fmt: skip
def test_no_path_leads_to_a_file(url: str, path: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.putrequest("GET", path.replace("\\", "%5C"), skip_host=False)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status in (400, 404)
    assert answer.headers["content-type"] == "application/json"
    assert set(json.loads(body)) == {"error"}


def ranged(url: str, path: str, value: str | None) -> tuple[int, Any, bytes]:
    """Status, headers and body of a GET with a header `Range`."""
    request = urllib.request.Request(url + path, headers={} if value is None else {"Range": value})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


@pytest.fixture(scope="module")
def data_file(root: Path) -> Path:
    (path,) = (root / "data").iterdir()
    return path


def test_layers_are_byte_ranges_of_the_data_file(
    url: str, archive: Archive, data_file: Path
) -> None:
    rows = list(archive.rows())
    for number in (0, 77, ROWS - 1):
        facts = asked(url, f"row/{number}")
        assert facts["file"] == f"data/{data_file.name}"
        found = {}
        for size, of_size in enumerate(facts["parts"]):
            for layer, part in enumerate(of_size):
                if part:
                    start, length = part
                    value = f"bytes={start - 4}-{start + length - 1}"
                    status, headers, body = ranged(url, f"archive/{facts['file']}", value)
                    assert status == 206
                    whole = data_file.stat().st_size
                    assert headers["content-range"] == f"bytes {value[6:]}/{whole}"
                    assert int.from_bytes(body[:4], "little") == length
                    found[layer, size] = body[4:]
        assert b"".join(found[at] for at in sorted(found)) == b"".join(rows[number].layers)


def test_a_range_at_the_end_of_a_file_is_cut(url: str, data_file: Path) -> None:
    data = data_file.read_bytes()
    path = f"archive/data/{data_file.name}"
    status, headers, body = ranged(url, path, f"bytes={len(data) - 10}-{len(data) + 10}")
    assert (status, body) == (206, data[-10:])
    assert headers["content-range"] == f"bytes {len(data) - 10}-{len(data) - 1}/{len(data)}"
    assert headers["content-type"] == "application/octet-stream"
    status, headers, _ = ranged(url, path, f"bytes={len(data)}-{len(data) + 10}")
    assert (status, headers["content-range"]) == (416, f"bytes */{len(data)}")


@pytest.mark.parametrize(
    "value",
    [
        None, "", "bytes", "bytes=", "bytes=0-", "bytes=-5", "bytes=5-4", "bytes=0-1,4-5",
        "items=0-5", "bytes=0-" + "9" * 4000, "bytes=\u0663-4", "bytes= 0-4", "bytes=0-4\x00",
    ],
)  # fmt: skip
def test_a_file_is_served_by_one_range_only(url: str, data_file: Path, value: str | None) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.putrequest("GET", f"/archive/data/{data_file.name}")
    if value is not None:
        connection.putheader("Range", value.encode())
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 400
    assert len(answer.read()) < 1000


def test_long_ranges_are_refused(
    tmp_path: Path, data_file: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive.open(root)
    size = data_file.stat().st_size
    monkeypatch.setattr(byte_ranges, "LONGEST_RANGE", size - 1)
    headers = [(b"range", b"bytes=0-999999999999")]
    scope = {"type": "http", "headers": headers, "path_params": {"name": data_file.name}}
    answer = byte_ranges.file_range(Request(scope), archive)
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}")
    assert archive.traffic.fetched == 0


def test_only_data_files_of_the_archive_have_ranges(url: str, root: Path, data_file: Path) -> None:
    (failed,) = (root / "failed").iterdir()
    (root / "data" / "other-0123456789abcdef.parquet").write_bytes(bytes(100))  # left over
    unit = data_file.name[: -len("-0123456789abcdef.parquet")]
    for path in (
        "archive/manifest.json", f"archive/failed/{failed.name}", f"archive/data/{failed.name}",
        "archive/data/other-0123456789abcdef.parquet", "archive/data/..%2fmanifest.json",
        "archive/data/", f"archive/data/{unit}-{'0' * 16}.parquet", "archive/data/" + "x" * 5000,
        f"archive/data/{data_file.name}/", f"archive/data/{data_file.name}%00", "archive/",
    ):  # fmt: skip
        status, _, body = ranged(url, path, "bytes=0-10")
        assert status == 404, path
        assert set(json.loads(body)) == {"error"}
    (root / "data" / "other-0123456789abcdef.parquet").unlink()


def test_every_answer_has_the_headers_that_bind_it(url: str) -> None:
    for path in ("", "gallery.css", "gallery.js", "api/archive", "api/picture/0", "nothing"):
        _, headers, _ = fetched(url, path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
    _, headers, _ = fetched(url, "")
    assert headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("host", ["example.org", "example.org:80", "", "127.0.0.1.example.org"])
def test_other_hosts_are_refused(url: str, host: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.putrequest("GET", "/api/archive", skip_host=True)
    connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 421
    assert b"another host" in answer.read()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(url: str, method: str) -> None:
    for path in ("", "api/archive", "api/original/0"):
        request = urllib.request.Request(url + path, method=method, data=b"x")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=60)
        assert caught.value.code == 405


def test_200_clients_at_once_are_answered_in_bounded_memory(url: str) -> None:
    def resident() -> int:
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if b"serve" in words and (folder / "stat").read_text().split()[3] == str(
                    os.getpid()
                ):
                    lines = (folder / "status").read_text().splitlines()
                    found[folder] = int(next(x for x in lines if x.startswith("VmRSS")).split()[1])
            except OSError:
                continue
        [one] = found.values()
        return one

    def get(number: int) -> int:
        status, _, body = fetched(url, f"api/picture/{number % ROWS}", layers=1 + number % 6)
        assert body
        return status

    get(0)
    before = resident()
    with ThreadPoolExecutor(200) as pool:
        statuses = list(pool.map(get, range(400)))
    assert set(statuses) == {200}
    assert resident() - before < 400_000  # kB: 128 MB of decoded pictures, 64 MB of pages, threads


def test_clients_that_break_the_protocol_do_not_end_the_server(url: str) -> None:
    host, port = urlsplit(url).hostname, urlsplit(url).port
    for content in (
        b"\x00" * 1000,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: bytes=0-99999999999999999\r\n\r\n",
        b"GET /api/picture/0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 20,
    ):
        with socket.create_connection((host, port), timeout=60) as client:
            client.sendall(content)
            client.shutdown(socket.SHUT_WR)
    assert asked(url, "archive")["count"] == ROWS


def test_text_of_an_archive_is_data_only(url: str) -> None:
    row = asked(url, "row/0")
    assert row["key"].startswith("<script>")
    _, _, body = fetched(url, "api/row/2")
    assert body.isascii()  # so that no reader of the bytes meets marks of direction
    key = next(row["key"] for row in asked(url, "rows", start=0, stop=4)["rows"][2:])
    assert "\u202e" in key


def test_downloads_have_the_names_of_the_files(url: str) -> None:
    named = [
        ("api/original/50", "000050.jpg"),
        ("api/picture/50?layers=2&size=0&format=png&download=1", "000050.png"),
        ("api/picture/50?layers=2&size=0&format=jpeg&download=1", "000050.jpg"),
    ]
    for path, name in named:
        _, headers, _ = fetched(url, path)
        assert headers["content-disposition"] == f"attachment; filename*=UTF-8''{name}"


def test_damage_costs_the_damaged_part_alone(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "damaged"
    shutil.copytree(root, copy)
    row = next(Archive.open(copy).rows(layers=6))
    (path,) = (copy / "data").iterdir()
    data = bytearray(path.read_bytes())
    data[data.index(row.layers[5]) + 30] ^= 1  # of the first picture, and of others like it
    path.write_bytes(data)
    with served(copy) as url:
        facts = asked(url, "row/0")
        assert facts["labels"]["kind"]
        assert len(facts["parts"]) == 3
        assert asked(url, "rows", start=0, stop=5, q="0000")["count"] == 100
    keys = pq.read_metadata(path).row_group(0).column(0)
    assert keys.path_in_schema == "key"
    data[keys.data_page_offset + keys.total_compressed_size // 2] ^= 1
    path.write_bytes(data)
    with served(copy) as url:
        assert all("damaged" in row for row in asked(url, "rows", start=0, stop=5)["rows"])
        found = asked(url, "rows", start=0, stop=5, q="0000")
        assert found["damaged"] >= 1
        assert found["count"] < 100


@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_an_archive_that_was_replaced_is_said_to_have_changed(change: str, tmp_path: Path) -> None:
    place = make_gallery(tmp_path / "archive", 8, distinct=2)
    if change == "replaced":
        make_gallery(tmp_path / "other", 6, distinct=1)
    with served(place) as url:
        shutil.rmtree(place)
        if change == "replaced":
            (tmp_path / "other").rename(place)
        for path in ("rows?start=0&stop=5&q=0000", "values?label=kind", "picture/7", "row/7"):
            status, _, body = fetched(url, f"api/{path}")
            assert (path, status) == (path, 409)
            assert json.loads(body)["error"] == (
                f"{place}: the archive has changed since it was opened; end `underpaint serve` and "
                "start it again"
            )


def test_the_command_names_its_mistakes(
    root: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.helpers.pictures import underpaint

    assert underpaint("serve", tmp_path) == 2
    assert "no archive there" in capsys.readouterr().err
    assert underpaint("serve", root, "--port", urlsplit(url).port) == 2
    assert "choose another, or 0 for any" in capsys.readouterr().err
    assert underpaint("serve", root, "--port", 70000) == 2
    assert "want 0 to 65535" in capsys.readouterr().err


def test_an_interrupt_ends_the_command_in_peace(root: Path) -> None:
    command = [sys.executable, "-P", "-m", "underpaint", "serve", str(root), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[3]
        assert asked(url, "archive")["count"] == ROWS
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


@pytest.fixture(params=["gs_folder", "s3_folder", "web"])
def remote(request: pytest.FixtureRequest, root: Path) -> Iterator[str]:
    """The address of the archive in an object store, or behind a server of static files."""
    if request.param == "web":
        with static_server(root.parent) as address:
            yield f"{address}/{root.name}"
        return
    folder = request.getfixturevalue(request.param)
    files, _ = fsspec.core.url_to_fs(folder)
    for path in root.rglob("*"):
        if path.is_file():
            files.pipe_file(f"{folder}/{path.relative_to(root)}", path.read_bytes())
    yield folder


def test_archives_in_other_places(remote: str, archive: Archive) -> None:
    with served(remote) as url:
        assert asked(url, "rows", start=0, stop=60)["rows"][59]["n"] == 59
        status, _, body = fetched(url, "api/picture/59", layers=2, size=64, format="png")
        assert status == 200
        [row] = [row for n, row in enumerate(archive.rows(2)) if n == 59]
        [expected] = Codec.load().decode([row.layers], size=64)
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(body))), expected)
        assert asked(url, "traffic")["fetched"] < 400_000
        facts = asked(url, "row/59")
        start, length = facts["parts"][0][0]
        value = f"bytes={start}-{start + length - 1}"
        status, _, body = ranged(url, f"archive/{facts['file']}", value)
        assert (status, body) == (206, row.layers[0])
        status, _, body = fetched(url, "api/original/59")
        assert (status, len(body)) == (200, facts["source_bytes"])
        assert len(asked(url, "failures", start=0, stop=100)["letters"]) == 8
