"""An archive on a web server that ignores byte ranges."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from underpaint import ArchiveWriter, Codec
from underpaint.codec.archive import Archive, Row, publish
from underpaint.codec.errors import RangesUnsupported
from underpaint.pipelines.cli.main import main


class _Quiet(SimpleHTTPRequestHandler):
    """Python's own server, which knows no ranges."""

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    codec = Codec.load()
    pictures = [np.full((24, 40, 3), shade, np.uint8) for shade in (10, 90, 200)]
    with ArchiveWriter(
        tmp_path / "archive", "unit", layers=codec.layer_names, weights_id=codec.weights_id
    ) as writer:
        for number, layers in enumerate(codec.encode(pictures)):
            writer.add(Row(f"{number}.png", layers, 40, 24))
    publish(tmp_path / "archive")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/archive"
    server.shutdown()
    server.server_close()


def test_the_server_is_named_as_the_cause(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = Archive.open(url)  # the manifest is read whole
    with pytest.raises(RangesUnsupported, match="copy the archive to a local folder"):
        list(archive.rows(layers=1))
    assert main(["decode", url, "--output", str(tmp_path / "out"), "--workers", "1"]) == 2
    told = capsys.readouterr().err
    assert "the server sends whole files" in told
    assert "Traceback" not in told
