"""Waiting for a store: it is said, it is bounded, and the last error names the address."""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import s3fs

from tests.helpers.pictures import make_photos, underpaint
from underpaint.codec.errors import UsageError
from underpaint.codec.storage import retries
from underpaint.codec.storage.extras import file_system
from underpaint.codec.storage.retries import ClientLog, with_retries
from underpaint.codec.storage.stores import STALL_S, store_options
from underpaint.codec.weights.header import fetch_weights


def refusing(error: Exception) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


@pytest.fixture
def refused_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Credentials, and a server of S3 that refuses connections."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]  # free again when the socket is closed
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
    s3fs.S3FileSystem.clear_instance_cache()
    yield "s3://bucket/folder"
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def notices(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    monkeypatch.setattr(retries, "NOTICE_S", 0.02)
    heard: list[str] = []
    retries.announce(heard.append)
    yield heard
    retries.announce(None)


def test_the_last_error_names_address_reason_and_remedy() -> None:
    with pytest.raises(ConnectionError) as raised:
        with_retries(refusing(ConnectionResetError("reset by peer")), "gs://b/x", wait_s=0)
    assert str(raised.value) == (
        "gs://b/x: reset by peer; check the address and the network, then try again"
    )
    with pytest.raises(PermissionError, match=r"^s3://b/x: no; give credentials .*aws configure"):
        with_retries(refusing(PermissionError("no")), "s3://b/x")
    with pytest.raises(PermissionError, match=r"^gs://b/x: Forbidden: b/x; .*gcloud auth"):
        with_retries(refusing(OSError("Forbidden: b/x")), "gs://b/x")


@pytest.mark.parametrize("answer", [FileNotFoundError("x"), FileExistsError("x"), UsageError("x")])
def test_answers_stay_as_they_are(answer: Exception) -> None:
    with pytest.raises(type(answer)) as raised:
        with_retries(refusing(answer), "gs://b/x")
    assert raised.value is answer


def test_no_attempt_begins_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "MOST_S", -1.0)
    calls: list[None] = []

    def call() -> None:
        calls.append(None)
        raise ConnectionResetError

    with pytest.raises(ConnectionError, match=r"^gs://b/x: ConnectionResetError; "):
        with_retries(call, "gs://b/x")
    assert len(calls) == 1


def test_a_wait_is_named_with_its_reason_and_attempt(notices: list[str]) -> None:
    again = threading.Event()

    def call() -> str:
        if not again.is_set():
            again.set()
            raise ConnectionResetError("reset by peer")
        while not notices:
            again.wait(0.01)
            threading.Event().wait(0.01)
        return "answer"

    assert with_retries(call, "https://me:secret@host/x", wait_s=0) == "answer"
    said = r"waiting for https://\*\*\*@host/x for \d+ s: reset by peer; attempt 2 of 6"
    assert re.fullmatch(said, notices[0])


def test_a_client_that_tries_again_by_itself_is_heard(notices: list[str]) -> None:
    logger = logging.Logger("client")
    logger.addHandler(ClientLog())

    def call() -> str:
        while not notices:
            logger.debug("Retryable error: %s", "no route")
            threading.Event().wait(0.01)
        return "answer"

    assert with_retries(call, "gs://b/x") == "answer"
    assert re.fullmatch(r"waiting for gs://b/x for \d+ s: no route", notices[0])


def test_stores_have_limits_of_time() -> None:
    assert store_options("gs://b/x")["requests_timeout"].sock_read == STALL_S
    assert store_options("s3://b/x")["config_kwargs"]["read_timeout"] == STALL_S
    assert store_options("/b/x") == store_options("zip://a::gs://b/x") == {}
    assert file_system("gs://b/x", token="anon")[0].requests_timeout.sock_read == STALL_S


@pytest.mark.slow
@pytest.mark.parametrize("place", ["input", "archive", "output", "weights"])
def test_an_unreachable_store_is_named(
    place: str, refused_s3: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photos, archive = tmp_path / "photos", tmp_path / "archive"
    make_photos(photos, 1)
    words = {
        "input": ("encode", photos, refused_s3, "--output", archive),
        "archive": ("inspect", refused_s3),
        "output": ("encode", photos, "--output", refused_s3),
        "weights": ("encode", photos, "--output", archive, "--weights", refused_s3),
    }[place]
    assert underpaint(*words) in (1, 2)
    told = capfd.readouterr().err.splitlines()[-1]
    assert f"{refused_s3}: Could not connect to the endpoint URL" in told
    assert told.endswith("check the address and the network, then try again")


def test_a_web_server_of_weights_that_is_unknown_is_named() -> None:
    url = "https://nosuch.invalid/w"
    with pytest.raises(UsageError, match=rf"^weights: {url}: Cannot connect to host"):
        fetch_weights(url)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("An error occurred (401) when calling", PermissionError),
        ("401, message='Unauthorized'", PermissionError),
        ("Could not connect to http://127.0.0.1:40169/b", ConnectionError),
        ("Could not connect to http://127.0.0.1:401/b", ConnectionError),
        ("Could not connect to http://10.14.1.240:14012/b", ConnectionError),
    ],
)
def test_a_port_is_no_refusal(said: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        with_retries(refusing(OSError(said)), "s3://b/x", wait_s=0)


def test_a_server_that_is_connected_to_at_once_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"ftp://127.0.0.1:{free.getsockname()[1]}/x.jpg"
    with pytest.raises(ConnectionError, match="refused; check the address") as caught:
        file_system(url)
    assert str(caught.value).startswith(f"{url}: ")
