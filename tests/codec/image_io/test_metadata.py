"""Capture metadata of pictures, and what damaged or hostile EXIF blocks give."""

from __future__ import annotations

import io

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from underpaint.codec.image_io.metadata import capture_metadata
from underpaint.codec.image_io.read import read_picture

IMAGE = Image.fromarray(np.full((24, 40, 3), 99, np.uint8))


def block(**changes: object) -> Image.Exif:
    exif = Image.Exif()
    exif[271], exif[272], exif[274] = "Maker", "Model 7", 6
    exif[306] = "2021:01:01 00:00:00"
    sub = exif.get_ifd(0x8769)
    sub[36867] = changes.get("date", "2019:07:14 18:05:09")
    sub[36881] = changes.get("zone", "+02:00")
    if changes.get("gps", True):
        exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 24.0), 3: "E", 4: (2.0, 21.0, 3.0)})
    return exif


WANTED = {
    "date": "2019-07-14T18:05:09+02:00",
    "make": "Maker",
    "model": "Model 7",
    "orientation": 6,
    "gps": True,
}


def save(format: str, exif: Image.Exif) -> bytes:
    out = io.BytesIO()
    if format == "HEIC":
        pillow_heif.from_pillow(IMAGE).save(out, exif=exif.tobytes())
    else:
        IMAGE.save(out, format, exif=exif)
    return out.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "HEIC"])
def test_every_format_gives_the_same_metadata(format: str) -> None:
    picture = read_picture(save(format, block()))
    assert picture.metadata == WANTED
    assert picture.pixels.shape == (40, 24, 3)  # turned once
    assert capture_metadata(picture.exif)["date"] == WANTED["date"]


def test_tags_of_a_tiff() -> None:
    picture = read_picture(save("TIFF", block()))  # Pillow writes no directory of EXIF here
    first = {name: WANTED[name] for name in ("make", "model", "orientation")}
    assert picture.metadata == first | {"date": "2021-01-01T00:00:00"}
    assert picture.exif == b""


def test_a_picture_without_exif_has_no_metadata() -> None:
    for format in ("PNG", "BMP", "JPEG2000", "GIF"):
        out = io.BytesIO()
        IMAGE.save(out, format)
        assert read_picture(out.getvalue()).metadata == {}


@pytest.mark.parametrize(
    ("changes", "date"),
    [
        ({"date": "2019:13:14 18:05:09"}, "2021-01-01T00:00:00"),
        ({"date": "yesterday"}, "2021-01-01T00:00:00"),
        ({"zone": "noon"}, "2019-07-14T18:05:09"),
    ],
)
def test_bad_dates_are_left_out(changes: dict[str, str], date: str) -> None:
    assert capture_metadata(block(**changes).tobytes())["date"].removesuffix("+02:00") == date


def test_without_a_position_gps_is_not_said() -> None:
    found = capture_metadata(block(gps=False).tobytes())
    assert found == {name: value for name, value in WANTED.items() if name != "gps"}


def test_long_and_unprintable_texts_are_cut() -> None:
    exif = block()
    exif[271], exif[272] = "x" * 30_000, "a\tb\x1b[31m"
    found = capture_metadata(exif.tobytes())
    assert (found["make"], found["model"]) == ("x" * 64, "ab[31m")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_blocks_give_little_and_no_error(data: st.DataObject) -> None:
    exif = bytearray(block().tobytes())
    for _ in range(data.draw(st.integers(1, 6))):
        exif[data.draw(st.integers(0, len(exif) - 1))] = data.draw(st.integers(0, 255))
    found = capture_metadata(bytes(exif[: data.draw(st.integers(0, len(exif)))]))
    assert found.keys() <= WANTED.keys()
    assert len(str(found)) < 400
