"""On Cloud Storage a commit is put with a generation precondition, and the first one stands.

The emulator does not enforce preconditions, so a few lines of the JSON API that do stand in here;
gcsfs and the archive are the real ones.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import gcsfs
import pytest

from underpaint.codec.archive import ArchiveWriter, Row, committed_units, orphans
from underpaint.codec.errors import UnitConflict
from underpaint.codec.storage.files import Storage

OBJECTS: dict[str, bytes] = {}
PRECONDITIONS: dict[str, list[str]] = {}
LOCK = threading.Lock()


class Store(BaseHTTPRequestHandler):
    """Objects of one bucket: put, get, list, delete; `ifGenerationMatch=0` refuses to overwrite."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head, content = _parts(body)
        name = json.loads(head)["name"]
        with LOCK:
            PRECONDITIONS.setdefault(name, []).extend(query.get("ifGenerationMatch", []))
            if query.get("ifGenerationMatch") == ["0"] and name in OBJECTS:
                return self._answer(412, b'{"error": {"code": 412, "message": "exists"}}')
            OBJECTS[name] = content
        return self._answer(200, json.dumps(_described(name)).encode())

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        name = unquote(parts.path.partition("/o/")[2])
        with LOCK:
            if not name:
                prefix = query.get("prefix", [""])[0]
                items = [_described(key) for key in OBJECTS if key.startswith(prefix)]
                return self._answer(200, json.dumps({"items": items}).encode())
            if name not in OBJECTS:
                return self._answer(404, b"{}")
            if query.get("alt") == ["media"] or "/download/" in parts.path:
                return self._answer(200, OBJECTS[name])
            return self._answer(200, json.dumps(_described(name)).encode())

    def do_DELETE(self) -> None:
        with LOCK:
            OBJECTS.pop(unquote(urlsplit(self.path).path.partition("/o/")[2]), None)
        self._answer(204, b"")

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _parts(body: bytes) -> tuple[bytes, bytes]:
    """Metadata and content of a multipart upload as gcsfs sends it."""
    _, metadata, rest = body.split(b"--==0==", 2)
    content = rest.rsplit(b"\n--==0==--", 1)[0]
    return metadata.split(b"\n\n", 1)[1], content.split(b"\n\n", 1)[1]


def _described(name: str) -> dict[str, str]:
    return {"kind": "storage#object", "name": name, "bucket": "b", "size": str(len(OBJECTS[name]))}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    gcsfs.GCSFileSystem.clear_instance_cache()
    OBJECTS.clear()
    PRECONDITIONS.clear()
    yield "gs://b/archive"
    gcsfs.GCSFileSystem.clear_instance_cache()
    server.shutdown()
    thread.join()
    server.server_close()


def write(root: str, blob: bytes) -> None:
    with ArchiveWriter(root, "unit", layers=("a",), weights_id="w") as writer:
        writer.add(Row("k", (blob,), 1, 1))


def test_the_commit_record_is_put_only_where_there_is_none(bucket: str) -> None:
    write(bucket, b"one")
    assert PRECONDITIONS["archive/commits/unit.json"] == ["0"]


def test_of_many_writers_at_once_one_commits_and_the_others_leave_nothing(bucket: str) -> None:
    conflicts: list[UnitConflict] = []

    def work(number: int) -> None:
        try:
            write(bucket, bytes([number]))
        except UnitConflict as error:
            conflicts.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(conflicts) == 5
    standing = committed_units(bucket)["unit"]
    assert all(error.commit == standing for error in conflicts)
    assert orphans(bucket) == {}


def test_a_name_taken_between_looking_and_putting_is_noticed(bucket: str) -> None:
    storage = Storage(bucket)
    looked = threading.Event()
    read = storage.read

    class Late(Storage):
        """Somebody else puts the object right after this one has looked."""

        def read(self, name: str) -> bytes:
            try:
                return read(name)
            finally:
                if not looked.is_set():
                    looked.set()
                    storage.put(name, b"theirs")

    assert not Late(bucket).put_new("x", b"mine")
    assert storage.read("x") == b"theirs"
