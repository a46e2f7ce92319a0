"""Colour spaces named without a profile: each picture has the pixels that arithmetic gives."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from underpaint.codec.image_io.colour_spaces import ADOBE_RGB, profile_of
from underpaint.codec.image_io.read import read_picture

D65 = (0.3127, 0.329)
Curve = Callable[[np.ndarray], np.ndarray]
SRGB = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, *D65)
ADOBE = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *D65)
P3 = (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, *D65)
BT2020 = (0.708, 0.292, 0.17, 0.797, 0.131, 0.046, *D65)
COLOURS = ((60, 200, 60), (200, 90, 40), (90, 100, 190), (128, 128, 128), (250, 240, 235))
PICTURE = np.array(COLOURS, np.uint8).repeat(16, 0).reshape(5, 16, 1, 3).repeat(16, 2)
PICTURE = PICTURE.reshape(80, 16, 3)


def srgb_to_linear(x: np.ndarray) -> np.ndarray:
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def power(exponent: float):
    return lambda x: x**exponent


def bt709(x: np.ndarray) -> np.ndarray:
    return np.where(x < 0.081, x / 4.5, ((x + 0.099) / 1.099) ** (1 / 0.45))


def to_xyz(named: tuple[float, ...]) -> np.ndarray:
    corners = np.array([(x / y, 1, (1 - x - y) / y) for x, y in np.reshape(named, (4, 2))]).T
    return corners[:, :3] * np.linalg.solve(corners[:, :3], corners[:, 3])


def expected(pixels: np.ndarray, named: tuple[float, ...], to_linear: Curve) -> np.ndarray:
    """The sRGB values of pixels in a space whose white is D65, clipped to the gamut."""
    matrix = np.linalg.inv(to_xyz(SRGB)) @ to_xyz(named)
    light = np.clip(to_linear(pixels / 255) @ matrix.T, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def save(format: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(PICTURE).save(out, format, **options)
    return out.getvalue()


def png(**chunks: bytes) -> bytes:
    data = save("PNG")
    added = b""
    for name, content in chunks.items():
        body = name.encode() + content
        added += struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
    return data[:33] + added + data[33:]


def chrm(named: tuple[float, ...]) -> bytes:
    return struct.pack(">8I", *(round(v * 100_000) for v in (*named[6:], *named[:6])))


def gama(exponent: float) -> bytes:
    return struct.pack(">I", round(100_000 / exponent))


def exif(**ifd: object) -> Image.Exif:
    block = Image.Exif()
    block[0x010F] = "Maker"
    sub = block.get_ifd(0x8769)
    sub[0xA001] = ifd.get("space", 0xFFFF)
    if "index" in ifd:
        sub[0xA005] = {1: ifd["index"]}
    return block


def jpeg(block: Image.Exif) -> bytes:
    return save("JPEG", quality=100, subsampling=0, exif=block)


def heif(primaries: int, transfer: int) -> bytes:
    out = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(PICTURE)).save(out, quality=-1, chroma=444)
    nclx = b"colrnclx" + struct.pack(">HH", 1, 13)
    assert nclx in out.getvalue()
    return out.getvalue().replace(nclx, nclx[:8] + struct.pack(">HH", primaries, transfer))


def avif(primaries: int, transfer: int) -> bytes:
    data = save("AVIF", quality=100, subsampling="4:4:4")
    at = data.index(b"colrnclx") + 8
    return data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]


def bmp(named: tuple[float, ...], exponent: float) -> bytes:
    """A BITMAPV4HEADER of calibrated RGB."""
    matrix = to_xyz(named)
    ends = matrix.T.ravel() * (1 << 30)
    plain = save("BMP")
    head = struct.pack("<I", 108) + plain[18:54] + bytes(16) + bytes(4)
    head += struct.pack("<9i", *ends.round().astype(int)) + struct.pack(
        "<3I", *[round(exponent * 65536)] * 3
    )
    return plain[:10] + struct.pack("<I", 122) + head + plain[54:]


ADOBE_GAMMA = power(563 / 256)
CASES = {
    "EXIF R03": (
        save("JPEG", quality=100, subsampling=0, exif=exif(index="R03")),
        ADOBE,
        ADOBE_GAMMA,
    ),
    "EXIF 2": (save("JPEG", quality=100, subsampling=0, exif=exif(space=2)), ADOBE, ADOBE_GAMMA),
    "WebP EXIF": (save("WEBP", lossless=True, exif=exif(index="R03")), ADOBE, ADOBE_GAMMA),
    "PNG EXIF": (save("PNG", exif=exif(index="R03")), ADOBE, ADOBE_GAMMA),
    "cICP P3": (png(cICP=bytes((12, 13, 0, 1))), P3, srgb_to_linear),
    "cICP BT.2020": (png(cICP=bytes((9, 14, 0, 1))), BT2020, bt709),
    "cICP BT.709": (png(cICP=bytes((1, 1, 0, 1))), SRGB, bt709),
    "cICP linear": (png(cICP=bytes((1, 8, 0, 1))), SRGB, power(1.0)),
    "cICP before sRGB": (png(cICP=bytes((12, 13, 0, 1)), sRGB=b"\0"), P3, srgb_to_linear),
    "cHRM and gAMA": (png(cHRM=chrm(ADOBE), gAMA=gama(2.2)), ADOBE, power(2.2)),
    "gAMA": (png(gAMA=gama(1.8)), SRGB, power(1.8)),
    "cHRM": (png(cHRM=chrm(P3)), P3, srgb_to_linear),
    "AVIF nclx P3": (avif(12, 13), P3, srgb_to_linear),
    "AVIF nclx BT.2020": (avif(9, 1), BT2020, bt709),
    "HEIC nclx P3": (heif(12, 13), P3, srgb_to_linear),
    "HEIC nclx gamma": (heif(1, 4), SRGB, power(2.2)),
    "BMP": (bmp(ADOBE, 2.2), ADOBE, power(2.2)),
}


@pytest.mark.parametrize("name", CASES)
def test_converted(name: str) -> None:
    data, named, to_linear = CASES[name]
    picture = read_picture(data)
    assert len(picture.notes) == 1
    assert picture.notes[0].endswith(" converted to sRGB")
    blocks = picture.pixels.reshape(5, 16, 16, 3)[:, 4:12, 4:12].mean((1, 2))
    plain = {"AVIF": avif, "HEIC": heif}.get(picture.format)
    before = read_picture(plain(1, 13)).pixels if plain else PICTURE  # both codecs are lossy
    wanted = expected(before, named, to_linear).reshape(5, 16, 16, 3)[:, 4:12, 4:12].mean((1, 2))
    assert np.abs(blocks - wanted).max() <= 2.5


UNCHANGED = {
    "sRGB": png(sRGB=b"\0"),
    "sRGB before gAMA": png(sRGB=b"\0", gAMA=gama(1.0), cHRM=chrm(P3)),
    "cICP sRGB": png(cICP=bytes((1, 13, 0, 1))),
    "cICP before iCCP": png(cICP=bytes((1, 13, 0, 1)), iCCP=b"p\0\0" + zlib.compress(b"x")),
    "cHRM of sRGB": png(cHRM=chrm(SRGB), gAMA=gama(2.2)),
    "EXIF sRGB": save("PNG", exif=exif(space=1)),
}


@pytest.mark.parametrize("name", UNCHANGED)
def test_unchanged(name: str) -> None:
    picture = read_picture(UNCHANGED[name])
    assert picture.notes == ()
    np.testing.assert_array_equal(picture.pixels, PICTURE)


NOTED = {
    "PQ (BT.2020) not tone-mapped": png(cICP=bytes((9, 16, 0, 1))),
    "HLG (BT.2020) not tone-mapped": png(cICP=bytes((9, 18, 0, 1))),
    "colour space of primaries 1, transfer 9 not applied": png(cICP=bytes((1, 9, 0, 1))),
    "damaged cICP chunk ignored": png(cICP=bytes((12, 13, 6, 1))),
    "gamma 0.000 not applied": png(gAMA=bytes(4)),
    "chromaticities not applied": png(cHRM=bytes(32)),
    "gamma 20.000 not applied": png(gAMA=gama(20.0)),
}


@pytest.mark.parametrize("note", NOTED)
def test_noted(note: str) -> None:
    picture = read_picture(NOTED[note])
    assert picture.notes == (note,)
    np.testing.assert_array_equal(picture.pixels, PICTURE)


def test_hdr_in_heif_is_noted() -> None:
    assert read_picture(heif(9, 16)).notes == ("PQ (BT.2020) not tone-mapped",)
    assert read_picture(avif(9, 18)).notes == ("HLG (BT.2020) not tone-mapped",)


def test_a_profile_goes_before_other_names() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for data in (
        save("PNG", icc_profile=srgb, exif=exif(index="R03")),
        save("WEBP", lossless=True, icc_profile=srgb, exif=exif(index="R03")),
    ):
        assert read_picture(data).notes == ()
        np.testing.assert_array_equal(read_picture(data).pixels, PICTURE)


def test_narrow_range_is_expanded() -> None:
    picture = read_picture(png(cICP=bytes((1, 13, 0, 0))))
    assert picture.notes == ("narrow range expanded",)
    wanted = np.clip((PICTURE.astype(int) - 16) * 255 / 219, 0, 255)
    assert np.abs(picture.pixels - wanted).max() <= 1


def test_made_profiles_are_read_by_the_colour_library() -> None:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(profile_of(ADOBE_RGB)))
    assert profile.profile.profile_description == "Adobe RGB"
    for name, point in zip(("red", "green", "blue"), np.reshape(ADOBE[:6], (3, 2)), strict=True):
        colorant = getattr(profile.profile, f"{name}_primary")[1]
        assert np.abs(np.array(colorant[:2]) - point).max() < 0.03  # seen under D50


@pytest.mark.parametrize(
    ("transform", "components", "note"),
    [(0, "RGB", None), (None, "CMYK", "CMYK without an Adobe marker taken as inverted")],
)
def test_adobe_marker(transform: int | None, components: str, note: str | None) -> None:
    if components == "RGB":
        data = save("JPEG", quality=100, keep_rgb=True)
        assert b"JFIF" not in data
        assert np.abs(read_picture(data).pixels.astype(int) - PICTURE).max() <= 3
    else:
        out = io.BytesIO()
        Image.fromarray(PICTURE).convert("CMYK").save(out, "JPEG")
        data = out.getvalue()
        at = data.index(b"\xff\xee\0\x0eAdobe")
        assert read_picture(data).notes == ("CMYK converted without a profile",)
        data = data[:at] + data[at + 16 :]
    assert read_picture(data).notes == ((note, "CMYK converted without a profile") if note else ())


def test_gif_profile() -> None:
    profile = profile_of(ADOBE_RGB)
    blocks = b"".join(
        bytes([len(part)]) + part
        for part in (profile[at : at + 255] for at in range(0, len(profile), 255))
    )
    gif = save("GIF")
    start = 13 + (3 << (gif[10] & 7) + 1)
    data = gif[:start] + b"!\xff\x0bICCRGBG1012" + blocks + b"\0" + gif[start:]
    assert read_picture(data).notes == ("profile converted to sRGB",)
