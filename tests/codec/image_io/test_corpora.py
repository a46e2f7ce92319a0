"""The command that compares well-known odd pictures, on pictures made like them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from tests.faults import corpora


def png(image: Image.Image, gamma: int | None = None, **options: object) -> bytes:
    """A PNG, with a gAMA chunk after its header if asked for."""
    out = io.BytesIO()
    image.save(out, "PNG", **options)
    data = out.getvalue()
    if gamma is None:
        return data
    chunk = b"gAMA" + struct.pack(">I", gamma)
    return (
        data[:33] + struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    )


def pictures() -> dict[str, bytes]:
    """One picture of each kind of name."""
    y, x = np.mgrid[0:32, 0:32]
    rgb = Image.fromarray(np.stack([x * 8, y * 8, 255 - x * 4 - y * 4], -1).astype(np.uint8))
    grey = Image.fromarray((x * 4 + y * 4).astype(np.uint8))
    alpha = rgb.copy()
    alpha.putalpha(grey)
    made = {
        "basn2c08": png(rgb),
        "basn0g08": png(grey, 100_000),
        "g05n2c08": png(rgb, 55_000),
        "g04n2c08": png(rgb, 45_000),
        "basn0g16": png(Image.fromarray((x * 2000).astype(np.uint16))),
        "basn6a08": png(alpha),
        "tbbn3p08": png(rgb.quantize(16), transparency=3),
        "s03n3p01": png(rgb.crop((0, 0, 3, 3)).quantize(2)),
        "cdsn2c08": png(rgb.crop((0, 0, 8, 8))),
        "xhdn0g08": png(grey)[:29] + b"\0\0\0\0" + png(grey)[33:],
        "xs1n0g01": b"\0" + png(grey)[1:],
        "holiday": png(rgb),
    }
    scene = np.zeros((1200, 1800, 3), np.uint8)
    scene[:600, :, 0], scene[:, :900, 1] = 255, 200
    turns = {1: 0, 3: 2, 6: 1, 8: 3}
    for orientation, quarter in turns.items():
        exif = Image.Exif()
        exif[0x112] = orientation
        out = io.BytesIO()
        Image.fromarray(np.rot90(scene, quarter)).save(out, "JPEG", exif=exif)
        made[f"Landscape_{orientation}"] = out.getvalue()
    return made


def test_pictures_like_those_of_the_collections_are_as_expected() -> None:
    counts, wrong = corpora.compare(pictures())
    assert wrong == []
    assert counts["of neither collection, left out"] == 1
    assert sum(counts.values()) == len(pictures())


def test_what_is_not_as_expected_is_told() -> None:
    made = pictures()
    entry = struct.pack(">HHIB", 0x112, 3, 1, 0)  # of EXIF, before the orientation
    wrong = {
        "xhdn0g08": made["basn0g08"],
        "basn2c08": made["xhdn0g08"],
        "basn0g08": made["basn2c08"],
        "s03n3p01": made["cdsn2c08"],
        "basn6a08": made["basn2c08"],
        "Landscape_1": made["Landscape_1"],
        "Landscape_3": made["Landscape_3"].replace(entry + b"\3", entry + b"\1"),
    }
    told = [line.split(":")[0] for line in corpora.compare(wrong)[1]]
    assert {"xhdn0g08", "basn2c08", "basn0g08", "s03n3p01", "basn6a08", "Landscape_3"} == set(told)
