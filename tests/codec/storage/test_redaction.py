"""Credentials in addresses reach no archive, report, message or log."""

import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.streams import framed
from underpaint.codec.archive import Archive, ArchiveWriter, DeadLetter, Row, publish
from underpaint.codec.archive.records import JOB
from underpaint.codec.bitstream import PictureHeader
from underpaint.codec.errors import UsageError
from underpaint.codec.storage.files import Storage
from underpaint.codec.storage.redaction import redact_logs, redacted
from underpaint.pipelines.cli.main import main
from underpaint.transforms.progress import Counts
from underpaint.transforms.report import Facts, result_of, write_report

SECRET = "s3cr3tValue"

HIDDEN = [
    f"https://me:{SECRET}@host/a.jpg",
    f"https://{SECRET}@host:8080/a.jpg",
    f"ftp://me:{SECRET}@host/a.jpg and more",
    f"https://b.s3.amazonaws.com/a.jpg?X-Amz-Expires=60&X-Amz-Signature={SECRET}&x=1",
    f"https://b.s3.amazonaws.com/a.jpg?AWSAccessKeyId={SECRET}&Expires=1",
    f"https://storage.googleapis.com/b/a.jpg?X-Goog-Credential={SECRET}",
    f"https://x.blob.core.windows.net/c/a.jpg?sv=2024&sig={SECRET}",
    f"https://host/a.jpg?access_token={SECRET}",
    f"https://host/a.jpg?api_key={SECRET}#sha256=00",
    f"403, message='Forbidden', url='https://host/a?token={SECRET}'",
    f"Authorization: Bearer {SECRET}",
]

KEPT = [
    "https://host/a.jpg?width=200&page=2#sha256=00ff",
    "gs://bucket/folder/a=b.jpg",
    "s3://bucket/me@home/a.jpg",
    "file:///photos/key=1/sig=2.jpg",
    "a picture of 3 x 4 pixels: token @ home",
]


@pytest.mark.parametrize("text", HIDDEN)
def test_credentials_are_taken_out(text: str) -> None:
    assert SECRET not in redacted(text)
    assert "***" in redacted(text)
    assert redacted(redacted(text)) == redacted(text)


@pytest.mark.parametrize("text", KEPT)
def test_other_text_stays(text: str) -> None:
    assert redacted(text) == text


def test_an_archive_and_its_report_hold_no_credentials(tmp_path: Path) -> None:
    header = PictureHeader(8, 8, "0" * 16)
    [layer] = framed([np.random.default_rng(0).bytes(16)], header)
    with ArchiveWriter(tmp_path, "u", layers=("c",), weights_id="0" * 16) as writer:
        writer.add(Row("k", (layer,), 8, 8, source_uri=HIDDEN[0]))
        writer.fail(DeadLetter("d", HIDDEN[3], "read", "OSError", HIDDEN[9], f"trace {HIDDEN[6]}"))
    publish(tmp_path)
    result = result_of(_storage(tmp_path), Counts(), Facts(0.0, 0.0, {}))
    facts = Facts(0.0, 0.0, {"options": {"sources": HIDDEN}})
    write_report(_storage(tmp_path), result, facts)
    assert (tmp_path / JOB).read_text("utf-8").count("***") >= len(HIDDEN)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    assert next(Archive.open(tmp_path).rows()).source_uri == "https://***@host/a.jpg"
    [letter] = Archive.open(tmp_path).dead_letters()
    assert "X-Amz-Signature=***&x=1" in letter.source_uri


def _storage(root: Path) -> Storage:
    return Storage(root)


def test_messages_of_the_command_line_hold_no_credentials(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["inspect", f"memory://me:{SECRET}@nowhere/archive"]) == 2
    assert "***" in (told := capsys.readouterr().err)
    assert SECRET not in told


class Forbids(BaseHTTPRequestHandler):
    """A server that lets nobody in, or breaks off."""

    def do_GET(self) -> None:
        """403, or three of a thousand bytes."""
        self.send_response(200 if "cut" in self.path else 403)
        self.send_header("Content-Length", "1000" if "cut" in self.path else "3")
        self.end_headers()
        self.wfile.write(b"abc")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Forbids) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()
        thread.join()


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_what_a_server_answers_is_one_line_without_credentials(
    server: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, f"http://me:{SECRET}@{server}/archive?token={SECRET}&x="]) == 1
    told = capsys.readouterr().err
    assert told.endswith("HTTP 403 Forbidden\n")
    assert told.count("\n") == 1
    assert "token=***" in told
    assert SECRET not in told


@pytest.mark.parametrize("scheme", ["nosuch", "unknown+s3"])
def test_an_archive_behind_an_unknown_scheme_is_a_mistake(
    scheme: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="Protocol not known"):
        Storage(f"{scheme}://bucket/archive")
    assert main(["inspect", f"{scheme}://me:{SECRET}@bucket/archive"]) == 2
    told = capsys.readouterr().err
    assert told == f"underpaint: {scheme}://***@bucket/archive: Protocol not known: {scheme}\n"


def test_a_fault_of_the_program_is_shown_whole_but_for_credentials(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(arguments: object) -> int:
        raise RuntimeError(f"cannot happen at {HIDDEN[0]}")

    monkeypatch.setattr("underpaint.pipelines.cli.inspect.run", broken)
    assert main(["inspect", "x"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("Traceback (most recent call last):")
    assert told.endswith("RuntimeError: cannot happen at https://***@host/a.jpg\n")


def test_logs_hold_no_credentials(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging, "_logRecordFactory", logging.getLogRecordFactory())
    redact_logs()
    redact_logs()
    log = logging.getLogger("elsewhere")
    for text in HIDDEN:
        log.warning("%s of %d", text, 7)
    try:
        raise OSError(HIDDEN[0])
    except OSError:
        log.exception("failed")
    assert SECRET not in caplog.text
    assert caplog.text.count("of 7") == len(HIDDEN)
    assert caplog.text.count("Traceback (most recent call last)") == 1
    assert "OSError: https://***@host/a.jpg" in caplog.text
