"""TGA, PCX, SGI, Sun, QOI and DDS; formats that are named but not read."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from underpaint.codec.errors import PictureDamaged, PictureTooLarge, UnsupportedFormat
from underpaint.codec.image_io.read import read_picture
from underpaint.transforms.sources.recognition import is_picture

ROWS, COLUMNS = np.mgrid[0:24, 0:40]
RGB = np.stack([COLUMNS * 6, ROWS * 10, 255 - COLUMNS * 3 - ROWS * 4], -1).astype(np.uint8)
GREY = (COLUMNS * 4 + ROWS * 4).astype(np.uint8)


def save(pixels: np.ndarray, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format, **options)
    return out.getvalue()


def sun(pixels: np.ndarray) -> bytes:
    height, width, _ = pixels.shape
    head = struct.pack(">8I", 0x59A66A95, width, height, 24, width * height * 3, 1, 0, 0)
    return head + pixels[..., ::-1].tobytes()


def without_footer(tga: bytes) -> bytes:
    assert tga.endswith(b"TRUEVISION-XFILE.\0")
    return tga[:-26]


FILES = {
    "TGA": save(RGB, "TGA"),
    "TGA run lengths": save(RGB, "TGA", compression="tga_rle"),
    "TGA from the top": save(RGB, "TGA", orientation=1),
    "TGA without a footer": without_footer(save(RGB, "TGA")),
    "PCX": save(RGB, "PCX"),
    "SGI": save(RGB, "SGI"),
    "SUN": sun(RGB),
    "QOI": save(RGB, "QOI"),
    "DDS": save(RGB, "DDS"),
}
GREYS = {format: save(GREY, format) for format in ("TGA", "PCX", "SGI", "DDS")}


@pytest.mark.parametrize("name", FILES)
def test_colours(name: str) -> None:
    picture = read_picture(FILES[name])
    assert picture.format == name.split()[0]
    assert picture.notes == ()
    np.testing.assert_array_equal(picture.pixels, RGB)
    assert is_picture(FILES[name][:4096])


@pytest.mark.parametrize("format", GREYS)
def test_grey(format: str) -> None:
    np.testing.assert_array_equal(read_picture(GREYS[format]).pixels, GREY[..., None].repeat(3, 2))


@pytest.mark.parametrize("data", [*FILES.values(), *GREYS.values()])
def test_cut_files(data: bytes) -> None:
    for length in range(1, len(data) - 30, 41):
        with pytest.raises((PictureDamaged, UnsupportedFormat)):
            read_picture(data[:length])


def test_a_tga_whose_fourth_channel_is_no_alpha() -> None:
    rgba = save(np.dstack([RGB, np.zeros_like(GREY)]), "TGA")
    assert read_picture(rgba).notes == ("alpha composited on white",)
    plain = rgba[:17] + bytes([rgba[17] & 0xF0]) + rgba[18:]
    assert read_picture(plain).notes == ()
    np.testing.assert_array_equal(read_picture(plain).pixels, RGB)


@pytest.mark.parametrize(
    ("name", "at", "size"),
    [
        ("TGA", 12, struct.pack("<HH", 60_000, 60_000)),
        ("PCX", 8, struct.pack("<HH", 60_000, 60_000)),
        ("SGI", 6, struct.pack(">HH", 60_000, 60_000)),
        ("SUN", 4, struct.pack(">II", 1 << 31, 1 << 31)),
        ("QOI", 4, struct.pack(">II", 1 << 31, 1)),
        ("DDS", 12, struct.pack("<II", 60_000, 60_000)),
    ],
)
def test_announced_sizes_are_checked(name: str, at: int, size: bytes) -> None:
    data = FILES[name]
    with pytest.raises(PictureTooLarge, match=name):
        read_picture(data[:at] + size + data[at + len(size) :])


def tiff(*tags: tuple[int, int, int]) -> bytes:
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + bytes(99)


SIZE = ((256, 4, 8), (257, 4, 8))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"8BPS\0\1" + bytes(99), "PSD"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(99), "CR2"),
        (b"\0\0\0\x18ftypcrx " + bytes(99), "CR3"),
        (tiff((254, 4, 1), *SIZE, (330, 4, 8)), "raw photo"),
        (tiff(*SIZE, (262, 3, 32803)), "colour filter array"),
        (tiff(*SIZE, (50706, 1, 1)), "DNG"),
        (b"\xff\x0a" + bytes(99), "JPEG XL"),
        (b"\0\0\1\0\1\0" + bytes(99), "ICO"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    ],
)
def test_known_formats_are_named(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedFormat, match=f"{name}.* is not read"):
        read_picture(data)


@pytest.mark.parametrize("kind", [b"BC6H", b"DX10"])
def test_other_textures_are_not_read(kind: bytes) -> None:
    head = struct.pack("<4s7I44x", b"DDS ", 124, 0x1007, 8, 8, 0, 0, 0)
    data = head + struct.pack("<II4s", 32, 4, kind) + bytes(99)
    with pytest.raises(UnsupportedFormat, match="DDS of kind"):
        read_picture(data)
