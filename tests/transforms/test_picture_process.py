"""The helper process: pixels as the codec reads them, and no picture takes a worker down."""

from __future__ import annotations

import io
import os
import signal
import struct
import threading
import time
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from skimage import data

from underpaint.codec.errors import PictureDamaged, PictureTooLarge, UnsupportedFormat
from underpaint.codec.image_io.read import read_picture
from underpaint.transforms.picture_process import PictureReader, PictureTimeout


@pytest.fixture
def reader() -> Iterator[PictureReader]:
    reader = PictureReader(most_pixels=1 << 22, memory=256 << 20)
    yield reader
    reader.close()


def encoded(pixels: np.ndarray, format: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format, **options)
    return out.getvalue()


def zeros_png(width: int, height: int, rows: int | None = None) -> bytes:
    """A PNG of black, small in the file whatever its size; cut after `rows`."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    packer = zlib.compressobj(1)
    packed = b"".join(
        packer.compress(bytes(width * 3 + 1)) for _ in range(height if rows is None else rows)
    )
    packed += packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


def test_pixels_notes_and_format_are_those_of_the_codec(reader: PictureReader) -> None:
    for source in (
        encoded(data.astronaut(), "JPEG", quality=90),
        encoded(np.dstack([data.coffee(), np.full((400, 600), 90, np.uint8)])),
        encoded(data.camera()[:1, :1]),
    ):
        ours, theirs = reader.read(source), read_picture(source)
        assert np.array_equal(ours.pixels, theirs.pixels)
        assert (ours.format, ours.notes) == (theirs.format, theirs.notes)
        assert ours.pixels.flags.writeable


def test_errors_keep_their_class_and_text(reader: PictureReader) -> None:
    whole = encoded(data.chelsea(), "JPEG")
    for source, kind in (
        (b"", UnsupportedFormat),
        (b"hello", UnsupportedFormat),
        (whole[: len(whole) // 2], PictureDamaged),
        (zeros_png(60_000, 60_000, rows=9), PictureTooLarge),
    ):
        with pytest.raises(kind) as ours:
            reader.read(source)
        with pytest.raises(kind) as theirs:
            read_picture(source)
        assert str(ours.value) == str(theirs.value)
    assert reader.read(whole).format == "JPEG"


def test_more_pixels_than_there_is_room_for_are_refused(reader: PictureReader) -> None:
    with pytest.raises(PictureTooLarge, match="room for 4,194,304 pixels"):
        reader.read(zeros_png(2048, 2049))


def test_a_picture_that_eats_memory_costs_itself() -> None:
    reader = PictureReader(most_pixels=1 << 28, memory=128 << 20)
    try:
        with pytest.raises(PictureTooLarge, match="memory"):
            reader.read(zeros_png(8000, 8000))
        assert reader.read(encoded(data.coffee())).pixels.shape == (400, 600, 3)
    finally:
        reader.close()


def test_a_picture_that_takes_too_long_costs_itself(reader: PictureReader) -> None:
    reader.read(encoded(data.coffee()))  # the helper is up
    process = reader.start()
    os.kill(process.pid, signal.SIGSTOP)  # as slow as a decoder can be
    reader._timeout_s = 0.3
    with pytest.raises(PictureTimeout, match=r"0\.3 s"):
        reader.read(encoded(data.coffee()))
    reader._timeout_s = 60
    assert reader.read(encoded(data.coffee())).pixels.shape == (400, 600, 3)


def test_a_picture_that_crashes_the_decoder_costs_itself(reader: PictureReader) -> None:
    source = encoded(data.coffee())
    reader.read(source)
    process = reader.start()
    os.kill(process.pid, signal.SIGSTOP)

    def crash() -> None:
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGSEGV)
        os.kill(process.pid, signal.SIGCONT)

    thread = threading.Thread(target=crash)
    thread.start()
    with pytest.raises(PictureDamaged, match="status -11"):
        reader.read(source)
    thread.join()
    assert reader.read(source).pixels.shape == (400, 600, 3)
