"""Tables and tars as people have them: no picture is lost, whatever the first rows and names
are."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.pictures import underpaint
from tests.helpers.shards import jpeg, packed, tar_of
from underpaint.codec.archive import Archive, Row

COUNT = 6


def encoded(tmp_path: Path, *inputs: object) -> list[Row]:
    """The rows of an archive of the inputs, all of which are pictures that can be stored."""
    archive = tmp_path / "archive"
    assert underpaint("encode", *inputs, "--output", archive) == 0
    assert underpaint("verify", archive) == 0
    found = Archive.open(archive)
    assert found.statistics().failed == 0
    assert found.duplicate_keys() == []
    return list(found.rows(layers=1))


def table(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_tables_whose_first_rows_do_not_show_their_types(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    for number in range(COUNT):
        (tmp_path / "img" / f"{number}.jpg").write_bytes(jpeg(number))
    names = [f"img/{number}.jpg" for number in range(COUNT)]
    late = [{"file_name": n, **({"caption": n} if i else {})} for i, n in enumerate(names)]
    tables = [
        table(tmp_path / "late.jsonl", [json.dumps(row) for row in late]),
        table(
            tmp_path / "zip.csv",
            ["file_name,zip,age"]
            + [f"{n},{i:05},{'NA' if i == 4 else i}" for i, n in enumerate(names)],
        ),
        table(
            tmp_path / "captions.csv",
            ["file_name,caption"] + [f'{n},"no. {c}, of {n}"' for c in range(3) for n in names],
        ),
        table(tmp_path / "UPPER.CSV", ["file_name,l", *(f"{n},x" for n in names)]),
        table(tmp_path / "list.tsv", ["file_name\tl", *(f"{n}\ty" for n in names)]),
    ]
    rows = encoded(tmp_path, *tables)
    assert len(rows) == COUNT * 7
    values: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.labels.items():
            if value is not None:
                values.setdefault(name, []).append(value)
    assert sorted(values["zip"]) == [f"{number:05}" for number in range(COUNT)]
    assert sorted(values["age"]) == ["0", "1", "2", "3", "5", "NA"]
    assert len(values["caption"]) == COUNT - 1 + 3 * COUNT
    assert sorted(values["l"]) == ["x"] * COUNT + ["y"] * COUNT


def test_tars_with_dots_side_files_and_several_pictures_of_a_name(tmp_path: Path) -> None:
    mac = {}
    for number in range(COUNT):
        for suffix, content in (("jpg", jpeg(number)), ("txt", b"caption %d" % number)):
            mac[f"./._{number:04}.{suffix}"] = b"\0\5\x16\7" + bytes(100)
            mac[f"./{number:04}.{suffix}"] = content
    tars = {
        "mac.tar": mac,
        "cats.tar": {f"train/{c}.{n}.jpg": jpeg(n) for c in ("cat", "dog") for n in range(COUNT)},
        "dates.tar": {f"IMG_2023.05.{n:02}.jpg": jpeg(n) for n in range(COUNT)},
        "input.tar": {
            f"s{n}.{suffix}": content
            for n in range(COUNT)
            for suffix, content in (("input.jpg", jpeg(n)), ("outputs.txt", b"hi"))
        },
        "same.tar": {
            f"{n}.{s}": jpeg(n + 50 * (s == "png")) for n in range(4) for s in ("jpg", "png")
        },
        "caps.tar": {f"{n}.{s}": c for n in range(4) for s, c in (("JPG", jpeg(n)), ("CLS", b"3"))},
    }
    for name, members in tars.items():
        (tmp_path / name).write_bytes(tar_of(members))
    (tmp_path / "gzip.tar").write_bytes(packed(tar_of({"1.jpg": jpeg(1)}), "gz"))
    rows = encoded(tmp_path, *(tmp_path / name for name in (*tars, "gzip.tar")))
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.key.split("/")[0], []).append(row)
    assert {name: len(group) for name, group in found.items()} == {
        "mac": COUNT, "cats": 2 * COUNT, "dates": COUNT, "input": COUNT, "same": 8, "caps": 4,
        "gzip": 1,
    }  # fmt: skip
    assert sorted(row.labels["txt"] for row in found["mac"]) == [
        f"caption {number}" for number in range(COUNT)
    ]
    assert [row.labels["cls"] for row in found["caps"]] == [3] * 4
    skipped = Archive.open(tmp_path / "archive").statistics().skipped
    assert skipped == {"macOS ._ file": 2 * COUNT}


@contextmanager
def served(content: Callable[[str], bytes]) -> Iterator[int]:
    """Serve on a port of this machine; yield the port."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            data = content(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_addresses_that_differ_in_host_or_query_only(tmp_path: Path) -> None:
    def content(path: str) -> bytes:
        return jpeg(sum(map(ord, path)))

    with served(content) as port:
        here = [f"http://127.0.0.1:{port}", f"http://localhost:{port}"]
        urls = [f"{host}/{number}.jpg" for host in here for number in range(COUNT)]
        urls += [f"{here[0]}/photo.php?id={number}" for number in range(COUNT)]
        rows = encoded(tmp_path, table(tmp_path / "urls.csv", ["url", *urls]))
    assert sorted(row.source_uri for row in rows) == sorted(urls)
    assert {row.key for row in rows} == {url.removeprefix("http://") for url in urls}
