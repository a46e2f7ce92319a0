"""Source pictures: one test for each row of docs/pictures.md, and hostile files."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile, features

from underpaint.codec.errors import (
    PictureDamaged,
    PictureError,
    PictureTooLarge,
    UnsupportedFormat,
    UsageError,
)
from underpaint.codec.image_io.heif import MISSING
from underpaint.codec.image_io.read import (
    PICTURE_FORMATS,
    PICTURE_SUFFIXES,
    WRITE_SUFFIX,
    read_picture,
    write_picture,
)

pytestmark = pytest.mark.filterwarnings("error")

RAMP_Y, RAMP_X = np.mgrid[0:24, 0:40]
RGB = np.stack([RAMP_X * 6, RAMP_Y * 10, 255 - RAMP_X * 3 - RAMP_Y * 4], -1).astype(np.uint8)
GREY = (RAMP_X * 4 + RAMP_Y * 4).astype(np.uint8)
ALPHA = np.where(RAMP_X < 20, 255, RAMP_Y * 10).astype(np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def save(image: Image.Image | np.ndarray, format: str, **options) -> bytes:
    out = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(out, format, **options)
    return out.getvalue()


def pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def on_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    weight = alpha[..., None] / 255
    return rgb * weight + 255 * (1 - weight)


def grey3(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, -1)


def chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def png(width: int, height: int, depth: int, colour: int, *chunks: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def insert(data: bytes, *chunks: bytes) -> bytes:
    """A PNG with chunks put in behind its header."""
    return data[:33] + b"".join(chunks) + data[33:]


def tiff(tags: dict[int, tuple[int, tuple[int, ...]]], pixels: bytes, big_endian=False) -> bytes:
    """A TIFF of one strip: tags as {tag: (type, values)}."""
    order, unit = (">" if big_endian else "<"), {3: "H", 4: "I"}
    tags = {**tags, 273: (4, (8,)), 279: (4, (len(pixels),))}
    start = 8 + len(pixels) + len(pixels) % 2
    extra_at, extra, entries = start + 6 + 12 * len(tags), b"", b""
    for tag, (kind, values) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{unit[kind]}", *values)
        if len(packed) > 4:
            extra, packed = extra + packed, struct.pack(order + "I", extra_at + len(extra))
        entries += struct.pack(order + "HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    head = (b"MM" if big_endian else b"II") + struct.pack(order + "HI", 42, start)
    count = struct.pack(order + "H", len(tags))
    return head + pixels + b"\0" * (len(pixels) % 2) + count + entries + bytes(4) + extra


def grey_tiff(samples: np.ndarray, photometric: int = 1, format: int = 1, bits=None) -> bytes:
    height, width = samples.shape
    bits = bits or samples.itemsize * 8
    return tiff(
        {
            256: (4, (width,)),
            257: (4, (height,)),
            258: (3, (bits,)),
            259: (3, (1,)),
            262: (3, (photometric,)),
            277: (3, (1,)),
            278: (4, (height,)),
            339: (3, (format,)),
        },
        samples.tobytes(),
    )


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def profile_with_swapped_primaries() -> bytes:
    """The sRGB profile with red and blue exchanged: a valid profile of a wide difference."""
    tags = {}
    data = bytearray(SRGB)
    for at in range(132, 132 + 12 * struct.unpack_from(">I", data, 128)[0], 12):
        tags[bytes(data[at : at + 4])] = at
    red, blue = tags[b"rXYZ"], tags[b"bXYZ"]
    data[red : red + 4], data[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(data)


SWAPPED = profile_with_swapped_primaries()

LOSSLESS = {
    "PNG": save(RGB, "PNG"),
    "WEBP": save(RGB, "WEBP", lossless=True),
    "BMP": save(RGB, "BMP"),
    "TIFF": save(RGB, "TIFF"),
    "TIFF deflate": save(RGB, "TIFF", compression="tiff_adobe_deflate"),
    "TIFF big": save(RGB, "TIFF", big_tiff=True),
    "PPM": save(RGB, "PPM"),
    "PPM plain": b"P3 # a comment\n40 24\n255\n" + " ".join(map(str, RGB.ravel())).encode(),
    "JPEG2000": save(RGB, "JPEG2000"),
    "JPEG2000 codestream": save(RGB, "JPEG2000", no_jp2=True, tile_size=(16, 16)),
}
OTHERS = {
    "JPEG": save(RGB, "JPEG", quality=90),
    "JPEG progressive": save(RGB, "JPEG", quality=90, progressive=True),
    "GIF": save(RGB, "GIF"),
    "TIFF jpeg": save(RGB, "TIFF", compression="jpeg"),
}
if features.check("avif"):
    OTHERS["AVIF"] = save(RGB, "AVIF", quality=90)
ALL = LOSSLESS | OTHERS


def test_every_row_of_the_table_has_a_test_and_every_test_a_row():
    page = (Path(__file__).parents[3] / "docs" / "pictures.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    tests = [name.removeprefix("test_row_") for name in globals() if name.startswith("test_row_")]
    assert sorted(rows) == sorted(tests)


@pytest.mark.parametrize("name", ALL)
def test_row_ordinary(name):
    picture = read_picture(ALL[name])
    assert picture.format == name.split()[0]
    assert picture.notes == ()
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.flags.c_contiguous
    assert picture.pixels.flags.writeable
    np.testing.assert_array_equal(picture.pixels, RGB if name in LOSSLESS else pillow(ALL[name]))


def test_row_grey():
    for format in ("PNG", "TIFF", "PPM", "BMP", "JPEG2000"):
        np.testing.assert_array_equal(read_picture(save(GREY, format)).pixels, grey3(GREY))
    bits = GREY > 100
    for format in ("PNG", "TIFF", "PPM", "BMP"):
        data = save(Image.fromarray(bits), format)
        np.testing.assert_array_equal(read_picture(data).pixels, grey3(bits * np.uint8(255)))
    for depth in (2, 4):
        samples = GREY >> 8 - depth
        packed = samples.reshape(24, -1, 8 // depth)
        weights = 1 << np.arange(8 - depth, -1, -depth)
        rows = (packed * weights).sum(-1).astype(np.uint8)
        raw = np.concatenate([np.zeros((24, 1), np.uint8), rows], 1).tobytes()
        data = png(40, 24, depth, 0, chunk(b"IDAT", zlib.compress(raw)))
        expected = samples * (255 // ((1 << depth) - 1))
        np.testing.assert_array_equal(read_picture(data).pixels, grey3(expected))


def test_row_palette():
    image = Image.fromarray(RGB).quantize(64)
    for format in ("PNG", "GIF", "BMP", "TIFF"):
        picture = read_picture(save(image, format))
        assert picture.notes == ()
        np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert("RGB")))


def test_row_alpha():
    rgba = Image.fromarray(np.dstack([RGB, ALPHA]))
    la = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)])
    cases = [(save(rgba, f), RGB) for f in ("PNG", "TIFF", "JPEG2000")]
    cases.append((save(rgba, "WEBP", lossless=True), RGB))
    cases += [(save(la, f), grey3(GREY)) for f in ("PNG", "TIFF")]
    palette = Image.fromarray(RGB).quantize(16)
    palette_alpha = Image.merge("RGBA", [*palette.convert("RGB").split(), Image.fromarray(ALPHA)])
    pa = palette_alpha.convert("PA")
    cases.append((save(pa, "TIFF"), np.asarray(pa.convert("RGB"))))
    for data, colour in cases:
        picture = read_picture(data)
        assert picture.notes == ("alpha composited on white",)
        visible = ALPHA > 0  # an encoder may clear the colour under alpha 0
        expected = np.where(visible[..., None], on_white(colour, ALPHA), 255)
        assert np.abs(picture.pixels - expected).max() <= 1
    data = save(palette, "PNG", transparency=bytes(range(0, 256, 16)))
    weight = np.arange(0, 256, 16)[np.asarray(palette)]
    expected = on_white(np.asarray(palette.convert("RGB")), weight)
    assert np.abs(read_picture(data).pixels - expected).max() <= 1


def test_row_opaque_alpha():
    data = save(np.dstack([RGB, np.full_like(GREY, 255)]), "PNG")
    picture = read_picture(data)
    assert picture.notes == ()
    np.testing.assert_array_equal(picture.pixels, RGB)


def test_row_transparent_colour():
    hidden = (GREY[5, 5] == GREY)[..., None]
    picture = read_picture(save(GREY, "PNG", transparency=int(GREY[5, 5])))
    assert picture.notes == ("alpha composited on white",)
    np.testing.assert_array_equal(picture.pixels, np.where(hidden, 255, grey3(GREY)))
    key = (RGB[3, 4] == RGB).all(-1, keepdims=True)
    picture = read_picture(save(RGB, "PNG", transparency=tuple(RGB[3, 4].tolist())))
    np.testing.assert_array_equal(picture.pixels, np.where(key, 255, RGB))
    deep = GREY.astype(np.uint16) * 256 + 7
    picture = read_picture(save(deep, "PNG", transparency=int(deep[5, 5])))
    expected = np.where(hidden, 255, grey3(np.rint(deep / 257)))
    np.testing.assert_array_equal(picture.pixels, expected)
    raw = b"".join(b"\0" + bytes(row) for row in (GREY[:, ::2] >> 4) * 16 + (GREY[:, 1::2] >> 4))
    four_bit = png(40, 24, 4, 0, chunk(b"tRNS", b"\0\x05"), chunk(b"IDAT", zlib.compress(raw)))
    samples = GREY >> 4
    expected = np.where((samples == 5)[..., None], 255, grey3(samples * 17))
    np.testing.assert_array_equal(read_picture(four_bit).pixels, expected)
    palette = Image.fromarray(RGB).quantize(16)
    picture = read_picture(save(palette, "GIF", transparency=3))
    shown = np.asarray(Image.open(io.BytesIO(save(palette, "GIF", transparency=3))).convert("RGBA"))
    assert picture.notes == ("alpha composited on white",)
    np.testing.assert_array_equal(picture.pixels, on_white(shown[..., :3], shown[..., 3]))


def test_row_cmyk():
    image = Image.fromarray(RGB).convert("CMYK")
    picture = read_picture(save(image, "TIFF"))
    assert picture.notes == ("CMYK converted without a profile",)
    np.testing.assert_array_equal(picture.pixels, RGB)
    data = save(image, "JPEG", quality=95)  # Adobe's inverted CMYK
    assert read_picture(data).notes == ("CMYK converted without a profile",)
    np.testing.assert_array_equal(read_picture(data).pixels, pillow(data))
    assert np.abs(read_picture(data).pixels.astype(int) - RGB).mean() < 8


def cmyk_profile() -> bytes:
    """A minimal CMYK profile: an A2B0 table of two steps an ink, to Lab as in plain subtraction."""
    corners = np.stack(np.meshgrid(*[[0.0, 1.0]] * 4, indexing="ij"), -1).reshape(-1, 4)
    light = (1 - corners[:, :3]) * (1 - corners[:, 3:])
    lightness = light.mean(1)
    lab = np.stack([lightness, np.full(16, 0.5), np.full(16, 0.5)], -1)
    clut = np.rint(lab * [65280, 65535, 65535]).astype(">u2").tobytes()
    ramp = struct.pack(">HH", 0, 65535)
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft2" + bytes(4) + bytes([4, 3, 2, 0]) + identity
    table += struct.pack(">HH", 2, 2) + ramp * 4 + clut + ramp * 3
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    text = b"text" + bytes(4) + b"test\0\0\0\0"
    content, entries, at = b"", b"", 132 + 12 * 3
    for tag, block in ((b"A2B0", table), (b"wtpt", white), (b"cprt", text)):
        block += bytes(-len(block) % 4)
        entries += tag + struct.pack(">II", at + len(content), len(block))
        content += block
    head = struct.pack(">I4sI4s4s4s", 0, b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", 63190, 65536, 54061)
    whole = head.ljust(128, b"\0") + struct.pack(">I", 3) + entries + content
    return struct.pack(">I", len(whole)) + whole[4:]


def test_row_cmyk_profile():
    image = Image.fromarray(RGB).convert("CMYK")
    picture = read_picture(save(image, "TIFF", icc_profile=cmyk_profile()))
    assert picture.notes == ("profile converted to sRGB",)
    channels = picture.pixels.astype(int)
    assert np.ptp(channels, axis=-1).max() <= 3  # the table of this profile knows only lightness
    assert np.corrcoef(channels[..., 1].ravel(), RGB.mean(-1).ravel())[0, 1] > 0.95


def test_row_lab():
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = to_lab.apply(Image.fromarray(RGB))
    embedded = lab.info.pop("icc_profile")
    for options, note in (
        ({}, "Lab converted to sRGB"),
        ({"icc_profile": embedded}, "profile converted to sRGB"),
    ):
        picture = read_picture(save(lab, "TIFF", **options))
        assert picture.notes == (note,)
        assert np.abs(picture.pixels.astype(int) - RGB).mean() < 2


def test_row_sixteen_bit_grey():
    deep = (np.arange(960).reshape(24, 40) * 68).astype(np.uint16)
    deep[-1, -1] = 65535
    expected = grey3(np.rint(deep / 257).astype(np.uint8))
    wide = deep.astype(">u2").tobytes()
    for data in (
        save(deep, "PNG"),
        save(deep, "TIFF"),
        save(deep, "TIFF", compression="tiff_lzw"),
        save(deep, "JPEG2000"),
        b"P5 40 24 65535\n" + wide,
    ):
        picture = read_picture(data)
        assert picture.notes == ("16-bit reduced to 8",)
        np.testing.assert_array_equal(picture.pixels, expected)
    ten = (deep >> 6).astype(">u2")
    picture = read_picture(b"P5\n40 24\n1023\n" + ten.tobytes())
    np.testing.assert_array_equal(picture.pixels, grey3(np.rint(ten / 1023 * 255)))
    twelve = (deep >> 4).reshape(24, 20, 2)
    packed = np.stack(
        [twelve[..., 0] >> 4, (twelve[..., 0] & 15) << 4 | twelve[..., 1] >> 8, twelve[..., 1]], -1
    ).astype(np.uint8)
    data = tiff(
        {256: (4, (40,)), 257: (4, (24,)), 258: (3, (12,)), 259: (3, (1,)), 262: (3, (1,))}
        | {277: (3, (1,)), 278: (4, (24,))},
        packed.tobytes(),
    )
    picture = read_picture(data)
    assert picture.notes == ("12-bit reduced to 8",)
    np.testing.assert_array_equal(picture.pixels, grey3(np.rint((deep >> 4) / 4095 * 255)))


def test_row_sixteen_bit_colour():
    deep = RGB.astype(np.uint16) * 257
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    sixteen = tiff(
        {256: (4, (40,)), 257: (4, (24,)), 258: (3, (16, 16, 16)), 259: (3, (1,))}
        | {262: (3, (2,)), 277: (3, (3,)), 278: (4, (24,))},
        deep.astype(">u2").tobytes(),
        big_endian=True,
    )
    for data in (
        png(40, 24, 16, 2, chunk(b"IDAT", zlib.compress(raw))),
        b"P6 40 24 65535 " + deep.astype(">u2").tobytes(),
        sixteen,
    ):
        picture = read_picture(data)
        assert picture.notes == ("16-bit reduced to 8",)
        np.testing.assert_array_equal(picture.pixels, RGB)


def test_row_thirty_two_bit():
    data = save(Image.fromarray(GREY.astype(np.int32)), "TIFF")
    picture = read_picture(data)
    np.testing.assert_array_equal(picture.pixels, grey3(GREY))
    assert picture.notes == ("32-bit samples from 0 to 255 scaled to 8 bits",)
    data = grey_tiff(GREY.astype("<u4") * 257)
    np.testing.assert_array_equal(read_picture(data).pixels, grey3(GREY))
    full = GREY.astype("<u4") * 16843009
    full[0, 0], full[0, 1] = 0, 2**32 - 1  # over the range of signed numbers
    expected = grey3(np.rint(full / (2**32 - 1) * 255))
    np.testing.assert_array_equal(read_picture(grey_tiff(full)).pixels, expected)
    signed = (GREY.astype("<i4") - 100) * 1000
    low, high = int(signed.min()), int(signed.max())
    picture = read_picture(grey_tiff(signed, format=2))
    assert picture.notes == (f"32-bit samples from {low} to {high} scaled to 8 bits",)
    np.testing.assert_array_equal(
        picture.pixels, grey3(np.rint((signed - low) * (255 / (high - low))))
    )


def test_row_float():
    unit = (GREY / 255).astype(np.float32)
    np.testing.assert_array_equal(read_picture(save(unit, "TIFF")).pixels, grey3(GREY))
    np.testing.assert_array_equal(read_picture(save(unit, "PPM")).pixels, grey3(GREY))
    wide = unit * 12 - 2
    wide[0, 0], wide[0, 1] = -2, 10
    picture = read_picture(save(wide, "TIFF"))
    assert picture.notes == ("32-bit samples from -2 to 10 scaled to 8 bits",)
    assert (picture.pixels[0, 0, 0], picture.pixels[0, 1, 0]) == (0, 255)
    assert np.abs(picture.pixels - (grey3(wide) + 2) * 255 / 12).max() <= 0.51


def test_row_not_finite():
    values = (GREY / 255).astype(np.float32)
    for bad in (np.nan, np.inf):
        values[3, 3] = bad
        with pytest.raises(PictureDamaged, match="not finite"):
            read_picture(save(values, "TIFF"))


def test_row_white_is_zero():
    for dtype, white in (("u1", 255), ("<u2", 65535)):
        samples = GREY.astype(dtype) * (white // 255)
        expected = grey3(np.uint8(255) - GREY)
        assert (read_picture(grey_tiff(samples, photometric=0)).pixels == expected).all()


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_row_orientation(orientation):
    note = (f"orientation {orientation} applied",) if orientation != 1 else ()
    for data in (
        save(RGB, "PNG", exif=exif(orientation)),
        save(RGB, "WEBP", lossless=True, exif=exif(orientation)),
        save(RGB, "TIFF", tiffinfo={274: orientation}),
        save(RGB, "TIFF", tiffinfo={274: orientation}, compression="tiff_lzw", big_tiff=True),
    ):
        picture = read_picture(data)
        assert picture.notes == note
        np.testing.assert_array_equal(picture.pixels, UPRIGHT[orientation](RGB))
    data = save(RGB, "JPEG", exif=exif(orientation))
    assert read_picture(data).notes == note
    np.testing.assert_array_equal(read_picture(data).pixels, UPRIGHT[orientation](pillow(data)))
    if features.check("avif"):
        data = save(RGB, "AVIF", exif=exif(orientation))
        assert read_picture(data).notes == note
        np.testing.assert_array_equal(read_picture(data).pixels, UPRIGHT[orientation](pillow(data)))


def heic(image: Image.Image | np.ndarray, **options) -> bytes:
    out = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    pillow_heif.from_pillow(image).save(out, quality=95, **options)
    return out.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_row_heic(orientation):
    data = heic(RGB, exif=exif(orientation).tobytes())
    picture = read_picture(data)
    assert picture.format == "HEIC"
    assert picture.notes == ((f"orientation {orientation} applied",) if orientation > 1 else ())
    upright = RGB if orientation == 1 else UPRIGHT[orientation](RGB)
    assert picture.pixels.shape == upright.shape
    assert np.abs(picture.pixels.astype(int) - upright).mean() < 5  # chroma is subsampled


def test_heic_of_other_kinds():
    several = pillow_heif.from_pillow(Image.fromarray(RGB))
    several.add_from_pillow(Image.fromarray(255 - RGB))
    out = io.BytesIO()
    several.save(out, quality=95)
    deep = io.BytesIO()
    pillow_heif.encode("RGB;16", (40, 24), (RGB.astype(np.uint16) * 257).tobytes(), deep)
    cases = {
        out.getvalue(): "first picture of several",
        deep.getvalue(): "10-bit reduced to 8",
        heic(np.dstack([RGB, np.full_like(GREY, 255)])): None,
    }
    for data, note in cases.items():
        picture = read_picture(data)
        assert picture.notes == ((note,) if note else ())
        assert np.abs(picture.pixels.astype(int) - RGB).mean() < 5
    rgba = read_picture(heic(np.dstack([RGB, ALPHA])))
    assert rgba.notes == ("alpha composited on white",)
    assert np.abs(rgba.pixels - on_white(RGB, ALPHA)).mean() < 5
    tiled = heic(np.tile(RGB, (20, 10, 1)), tile_size=256)
    assert b"grid" in tiled
    assert read_picture(tiled).pixels.shape == (480, 400, 3)


def test_heic_is_checked_before_decoding():
    data = heic(RGB)
    for length in range(1, len(data), 29):
        with pytest.raises((PictureDamaged, UnsupportedFormat)):
            read_picture(data[:length])
    at = data.index(b"ispe") + 8
    huge = data[:at] + struct.pack(">II", 60_000, 60_000) + data[at + 8 :]
    with pytest.raises(PictureTooLarge, match="HEIC of 60000 x 60000"):
        read_picture(huge)
    for coding, name in ((b"vvc1", "H.266"), (b"zzzz", "'zzzz'")):
        with pytest.raises(UnsupportedFormat, match=f"HEIF with {name} pictures is not read"):
            read_picture(data.replace(b"hvc1", coding, 1))


def test_heic_without_the_extra(monkeypatch):
    data = heic(RGB)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnsupportedFormat) as caught:
        read_picture(data)
    assert str(caught.value) == MISSING
    assert "extra `heif`" in MISSING


def test_row_simple_formats():
    for format in ("TGA", "PCX", "SGI", "QOI", "DDS"):
        picture = read_picture(save(RGB, format))
        assert picture.format == format
        np.testing.assert_array_equal(picture.pixels, RGB)


def test_row_named_formats():
    for data in (b"8BPS\0\1", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\xff\x0a\0"):
        with pytest.raises(UnsupportedFormat, match=r"^[A-Z].* is not read$"):
            read_picture(data)


def test_row_bad_orientation():
    for orientation in (0, 9):
        assert read_picture(save(RGB, "JPEG", exif=exif(orientation))).notes == ()
    block = exif(6).tobytes()
    for length in range(7, len(block)):
        data = save(RGB, "JPEG", exif=block[:length])
        assert read_picture(data).notes in ((), ("orientation 6 applied",))
    assert read_picture(save(RGB, "JPEG", exif=block[:16])).notes == ()


def test_row_profile():
    with_red_and_blue_swapped = RGB[..., ::-1]
    for data in (
        save(RGB, "PNG", icc_profile=SWAPPED),
        save(RGB, "TIFF", icc_profile=SWAPPED),
        save(RGB, "WEBP", lossless=True, icc_profile=SWAPPED),
    ):
        picture = read_picture(data)
        assert picture.notes == ("profile converted to sRGB",)
        assert np.abs(picture.pixels.astype(int) - with_red_and_blue_swapped).max() <= 3
    assert read_picture(save(RGB, "JPEG", icc_profile=SWAPPED)).notes == (
        "profile converted to sRGB",
    )
    rgba = np.dstack([RGB, ALPHA])
    picture = read_picture(save(rgba, "PNG", icc_profile=SWAPPED))
    assert picture.notes == ("profile converted to sRGB", "alpha composited on white")
    assert np.abs(picture.pixels - on_white(with_red_and_blue_swapped, ALPHA)).max() <= 3


def test_row_srgb_profile():
    for data in (save(RGB, "PNG", icc_profile=SRGB), save(GREY, "PNG", icc_profile=SRGB)):
        assert read_picture(data).notes == ()
    np.testing.assert_array_equal(read_picture(save(RGB, "PNG", icc_profile=SRGB)).pixels, RGB)


def test_row_broken_profile():
    noise = np.random.default_rng(1).bytes(1000)
    over = SRGB + bytes(1 << 22)
    for profile in (noise, SRGB[:200], over, b"x" * 10):
        picture = read_picture(save(RGB, "PNG", icc_profile=profile))
        assert picture.notes == ("broken profile ignored",)
        np.testing.assert_array_equal(picture.pixels, RGB)
    bomb = b"p\0\0" + zlib.compress(bytes(1 << 26), 9)
    assert read_picture(insert(LOSSLESS["PNG"], chunk(b"iCCP", bomb))).notes == (
        "broken profile ignored",
    )
    flipped = bytearray(save(RGB, "PNG", icc_profile=SWAPPED))
    flipped[flipped.index(b"iCCP") + 40] ^= 1
    assert read_picture(bytes(flipped)).notes == ("damaged iCCP chunk ignored",)


def test_row_foreign_profile():
    picture = read_picture(save(RGB, "PNG", icc_profile=cmyk_profile()))
    assert picture.notes == ("CMYK profile of a picture in RGB ignored",)
    np.testing.assert_array_equal(picture.pixels, RGB)


def test_row_gamma():
    def with_gamma(value: int, *more: bytes) -> bytes:
        return insert(LOSSLESS["PNG"], chunk(b"gAMA", struct.pack(">I", value)), *more)

    linear = read_picture(with_gamma(100_000))
    assert linear.notes == ("gamma 1.000 converted to sRGB",)
    light = RGB / 255
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(linear.pixels - expected * 255).max() <= 2
    for data in (with_gamma(45_455), with_gamma(100_000, chunk(b"sRGB", b"\0"))):
        assert read_picture(data).notes == ()
        np.testing.assert_array_equal(read_picture(data).pixels, RGB)
    assert read_picture(with_gamma(0)).notes == ("gamma 0.000 not applied",)


def test_row_colour_space():
    p3 = insert(LOSSLESS["PNG"], chunk(b"cICP", bytes((12, 13, 0, 1))))
    assert read_picture(p3).notes == ("Display P3 converted to sRGB",)


def test_row_hdr():
    for transfer, name in ((16, "PQ"), (18, "HLG")):
        data = insert(LOSSLESS["PNG"], chunk(b"cICP", bytes((9, transfer, 0, 1))))
        assert read_picture(data).notes == (f"{name} (BT.2020) not tone-mapped",)


def test_row_uncalibrated():
    block = Image.Exif()
    block.get_ifd(0x8769)[0xA001] = 0xFFFF
    [note] = read_picture(save(RGB, "JPEG", exif=block)).notes
    assert note == "colour space not named (EXIF: uncalibrated), taken as sRGB"


def test_row_animation():
    frames = [Image.fromarray(np.roll(RGB, 3 * k, 1)) for k in range(1, 5)]
    formats = {"GIF": {}, "PNG": {}, "WEBP": {"lossless": True}}
    if features.check("avif"):
        formats["AVIF"] = {}
    for format, options in formats.items():
        data = save(RGB, format, save_all=True, append_images=frames, **options)
        picture = read_picture(data)
        assert picture.notes == ("first frame of an animation",)
        np.testing.assert_array_equal(picture.pixels, pillow(data))


def test_row_pages():
    data = save(RGB, "TIFF", save_all=True, append_images=[Image.fromarray(255 - RGB)])
    assert read_picture(data).notes == ("first page of several",)
    np.testing.assert_array_equal(read_picture(data).pixels, RGB)


def test_row_several_in_one():
    data = save(RGB, "MPO", save_all=True, append_images=[Image.fromarray(255 - RGB)])
    picture = read_picture(data)
    assert picture.format == "JPEG"
    assert picture.notes == ("first picture of several",)
    np.testing.assert_array_equal(picture.pixels, pillow(data))


def test_row_wrong_suffix():
    # names are never seen: content alone decides
    assert {read_picture(data).format for data in ALL.values()} <= set(PICTURE_FORMATS)
    assert {".jpg", ".png", ".tif", ".webp"} <= PICTURE_SUFFIXES


def test_row_unusual_jpeg():
    data = OTHERS["JPEG"]
    for changed, note in (
        (data[:-2], "end marker of the JPEG was missing"),
        (b"\r\n" + data, "line end before the JPEG ignored"),
    ):
        picture = read_picture(changed)
        assert picture.notes == (note,)
        np.testing.assert_array_equal(picture.pixels, pillow(data))
    assert read_picture(data + b"trailer").notes == ()
    for length in range(data.rindex(b"\xff\xda") + 16, len(data) - 4, 7):
        with pytest.raises(PictureDamaged):
            read_picture(data[:length])


def test_row_empty():
    with pytest.raises(UnsupportedFormat, match="empty"):
        read_picture(b"")


@pytest.mark.parametrize(
    "data",
    [
        b"hello, world",
        b"%PDF-1.7",
        b"\x1a\x45\xdf\xa3",
        bytes(1000),
        b"BM",
        b"P",
        b"\xff",
    ],
)
def test_row_unknown(data):
    with pytest.raises(UnsupportedFormat, match=r"no known picture format begins [^;]*$"):
        read_picture(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<!DOCTYPE HTML><html>", "HTML page: .* cannot be listed"),
        (b'\xef\xbb\xbf\n<html lang="en">', "HTML page: .* cannot be listed"),
        (b'[{"url": "1.jpg"}]', r"JSON: .*\.jsonl"),
        (b' {\n "url": ["1.jpg"]}', r"JSON: .*\.jsonl"),
    ],
)
def test_a_text_in_place_of_a_picture_is_named(data, said):
    with pytest.raises(
        UnsupportedFormat, match=f"no known picture format begins .*; it is.*{said}"
    ):
        read_picture(data)


@pytest.mark.parametrize("name", [name for name in ALL if not name.startswith("JPEG2000")])
def test_row_cut(name):
    # the end of the last pixel lies before these: trailers, padding, directories and metadata
    slack = {"JPEG": 12, "GIF": 3, "AVIF": 4, "PPM plain": 3}.get(name.split(" pro")[0], 1)
    data = ALL[name]
    for length in sorted({*range(0, len(data) - slack, 1 + len(data) // 60), len(data) - slack}):
        with pytest.raises((PictureDamaged, UnsupportedFormat)):
            read_picture(data[:length])


def test_row_checksum():
    data = bytearray(LOSSLESS["PNG"])
    for name in (b"IHDR", b"IDAT", b"IEND"):
        broken = bytearray(data)
        broken[broken.index(name) + 3 + 4 * (name != b"IEND")] ^= 1
        with pytest.raises(PictureDamaged):
            read_picture(bytes(broken))


def headers(width: int, height: int) -> dict[str, bytes]:
    """Files of each format that announce a size and hold next to nothing."""
    side = 0xFFFF
    frame = (
        struct.pack(">BHHB", 8, min(height, side), min(width, side), 3)
        + b"\1\x11\0\2\x11\0\3\x11\0"
    )
    jpeg = b"\xff\xd8\xff\xc0" + struct.pack(">H", 2 + len(frame)) + frame
    webp = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x10\0\0\0"
    webp += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    siz = struct.pack(">HHIIIIIIII", 47, 0, width, height, 0, 0, width, height, 0, 0)
    jp2k = b"\xff\x4f\xff\x51" + siz + b"\0\3" + b"\7\1\1" * 3 + b"\xff\x90"
    tags = {256: (4, (width,)), 257: (4, (height,)), 258: (3, (8,)), 259: (3, (5,))}
    return {
        "PNG": png(width, height, 8, 2, chunk(b"IDAT", zlib.compress(b""))),
        "JPEG": jpeg + b"\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0\x3f\0" + bytes(100) + b"\xff\xd9",
        "GIF": b"GIF89a"
        + struct.pack("<HHBBB", min(width, side), min(height, side), 0, 0, 0)
        + b","
        + struct.pack("<HHHHB", 0, 0, min(width, side), min(height, side), 0)
        + b"\2\1\x44\0;",
        "BMP": save(RGB, "BMP")[:18] + struct.pack("<ii", width, height) + save(RGB, "BMP")[26:],
        "TIFF": tiff({**tags, 262: (3, (1,)), 278: (4, (height,))}, b"\x80\0\x01"),
        "PPM": b"P6 %d %d 255 " % (width, height),
        "PPM plain": b"P3 %d %d 255 1 2 3" % (width, height),
        "WEBP": b"RIFF" + struct.pack("<I", len(webp)) + webp,
        "JPEG2000": jp2k,
    }


def test_row_too_large(monkeypatch):
    for size in ((60_000, 60_000), (65_535, 4_097)):
        for data in headers(*size).values():
            with pytest.raises(PictureTooLarge, match=f"{size[0]} x {size[1]}"):
                read_picture(data)
    for name in ("PNG", "BMP", "TIFF", "PPM", "WEBP", "JPEG2000"):
        with pytest.raises(PictureTooLarge, match="sides"):
            read_picture(headers(65_536, 1)[name])
    if features.check("avif"):
        data = OTHERS["AVIF"]
        at = data.index(b"ispe") + 8
        with pytest.raises(PictureTooLarge):
            read_picture(data[:at] + struct.pack(">II", 60_000, 60_000) + data[at + 8 :])
    monkeypatch.setattr("underpaint.codec.image_io.headers.MAX_SOURCE_BYTES", 100)
    with pytest.raises(PictureTooLarge, match="limit is 100 bytes"):
        read_picture(LOSSLESS["PNG"])


def test_row_too_few_bytes():
    small = headers(16_000, 16_000)
    small["TIFF"] = small["TIFF"].replace(
        struct.pack("<HHIH", 259, 3, 1, 5), struct.pack("<HHIH", 259, 3, 1, 1)
    )
    for name in ("PNG", "BMP", "TIFF", "PPM", "PPM plain"):
        with pytest.raises(PictureDamaged, match="bytes"):
            read_picture(small[name])


def test_row_scans():
    data = save(GREY, "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    many = data[:-2] + data[start:-2] * 100 + data[-2:]
    with pytest.raises(PictureTooLarge, match="scans"):
        read_picture(many)


HORRORS = """
import resource, sys, struct, zlib
from pathlib import Path
sys.path[:0] = [{folder!r}]
from test_read import LOSSLESS, OTHERS, RGB, chunk, headers, insert, png, save, tiff
from underpaint.codec.errors import PictureError
from underpaint.codec.image_io.read import read_picture
zeros = zlib.compress(bytes(1 << 26), 9)
plain = LOSSLESS["PNG"]
gif = OTHERS["GIF"]
horrors = {{
    **headers(60_000, 60_000),
    "png idat bomb": png(8, 8, 8, 2, chunk(b"IDAT", zeros)),
    "png itxt bomb": insert(plain, *[chunk(b"iTXt", b"k\\0\\1\\0\\0\\0" + zeros)] * 100),
    "png ztxt bomb": insert(plain, *[chunk(b"zTXt", b"k\\0\\0" + zeros)] * 100),
    "png iccp bomb": insert(plain, chunk(b"iCCP", b"k\\0\\0" + zeros)),
    "png chunks": insert(plain, chunk(b"teSt", b"") * 300_000),
    "gif endless": gif[:-1] + gif[gif.index(b",") : -1] * 20_000 + b";",
    "gif comments": gif[:13 + 768] + b"!\\xfe" + b"\\xff" + b"x" * 255 + gif[13 + 768:],
    "gif comment": gif[:13 + 768] + b"!\\xfe" + (b"\\xff" + b"x" * 255) * 40_000 + b"\\0"
    + gif[13 + 768:],
    "jpeg segments": OTHERS["JPEG"][:2] + b"\\xff\\xfe\\0\\2" * 500_000 + OTHERS["JPEG"][2:],
    "jpeg exif": OTHERS["JPEG"][:2] + (b"\\xff\\xe1\\xff\\xffExif\\0\\0" + bytes(65527)) * 200
    + OTHERS["JPEG"][2:],
    "jpeg junk": OTHERS["JPEG"][:20] + bytes(10_000_000) + OTHERS["JPEG"][20:],
    "ppm comments": b"P3 8 8 255\\n" + b"#\\n" * 1_000_000 + b"1 2 3",
    "tiff strips": tiff({{256: (4, (4096,)), 257: (4, (4096,)), 259: (3, (5,)),
                         324: (4, (8,) * 1_000_000), 322: (3, (1,)), 323: (3, (1,))}}, bytes(9)),
    "zeros": bytes(1 << 20),
}}
read_picture(insert(plain, chunk(b"iCCP", b"k\\0\\0" + zeros)))
del zeros
limit = resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[0])
limit += 192 << 20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for name, data in horrors.items():
    try:
        picture = read_picture(data)
        print(name, "|", *picture.pixels.shape)
    except PictureError as error:
        assert "\\n" not in str(error), error
        print(name, "|", type(error).__name__, error)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory through /proc")
def test_horrors_end_in_192_mib():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", HORRORS.format(folder=str(Path(__file__).parent))],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcome = dict(line.split(" | ") for line in done.stdout.splitlines())
    read = {name for name, result in outcome.items() if result[0].isdigit()}
    assert read == {
        "png idat bomb",
        "png itxt bomb",
        "png ztxt bomb",
        "png iccp bomb",
        "gif endless",
        "gif comment",
    }
    assert len(outcome) == 23


def test_the_hosts_settings_neither_matter_nor_change(monkeypatch):
    before = list(warnings.filters)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
    for data in ALL.values():
        assert read_picture(data).pixels.shape == (24, 40, 3)
    assert Image.MAX_IMAGE_PIXELS == 10
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    assert list(warnings.filters) == before


def test_threads_do_not_disturb_each_other():
    sources = [*ALL.values(), save(RGB, "PNG", icc_profile=SWAPPED)] * 8
    expected = [read_picture(data).pixels for data in sources]
    with ThreadPoolExecutor(8) as pool:
        for picture, pixels in zip(pool.map(read_picture, sources), expected, strict=True):
            np.testing.assert_array_equal(picture.pixels, pixels)


def check_outcome(data: bytes) -> None:
    try:
        picture = read_picture(data)
    except PictureError as error:
        said = str(error)
        assert said
    else:
        said = ", ".join(picture.notes)
        assert picture.pixels.dtype == np.uint8
        assert picture.pixels.shape[2:] == (3,)
    assert "\n" not in said
    assert len(said) < 300


SEEDS = [
    *ALL.values(),
    save(np.dstack([RGB, ALPHA]), "PNG", icc_profile=SWAPPED, exif=exif(5)),
    save(RGB, "JPEG", icc_profile=SWAPPED, exif=exif(5)),
    save(Image.fromarray(RGB).convert("CMYK"), "JPEG"),
    save(Image.fromarray(RGB).quantize(16), "GIF", transparency=1),
    save(GREY.astype(np.uint16) * 257, "TIFF", compression="tiff_lzw"),
    heic(RGB, exif=exif(6).tobytes()),
]
SIGNATURES = sorted({data[:16] for data in SEEDS})


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SIGNATURES), st.integers(0, 16), st.binary(max_size=300))
def test_random_bytes_give_a_picture_or_an_error(signature, kept, tail):
    check_outcome(signature[:kept] + tail)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_damaged_pictures_give_a_picture_or_an_error(seed, data):
    broken = bytearray(seed)
    for _ in range(data.draw(st.integers(0, 4))):
        broken[data.draw(st.integers(0, len(seed) - 1))] = data.draw(st.integers(0, 255))
    check_outcome(bytes(broken[: data.draw(st.integers(0, len(seed)))] or broken))


def test_write_picture():
    assert set(WRITE_SUFFIX) == {"png", "jpeg", "webp"}
    for format in WRITE_SUFFIX:
        picture = read_picture(write_picture(RGB, format))
        assert picture.format.lower() == format
        assert picture.notes == ()
        error = np.abs(picture.pixels.astype(int) - RGB).mean()
        assert error == 0 if format == "png" else error < 6
    for format, size in (("jpeg", 65_501), ("webp", 16_384)):
        with pytest.raises(UsageError, match=f"{size} x 1 pixels do not fit"):
            write_picture(np.zeros((1, size, 3), np.uint8), format)
    with pytest.raises(UsageError, match="no picture format"):
        write_picture(RGB, "gif")
    for bad in (GREY, RGB.astype(np.float32), RGB[:0]):
        with pytest.raises(UsageError, match="not uint8"):
            write_picture(bad, "png")
