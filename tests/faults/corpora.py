"""Read folders of well-known odd pictures and compare what comes of each with what should.

    python tests/faults/corpora.py FOLDER

FOLDER holds PngSuite (files named as its author named them) and the EXIF orientation pictures
(`Landscape_1.jpg` … `Portrait_8.jpg`), in folders of any name. What is expected follows from the
names alone, by the table of `docs/pictures.md`. Exit status 0 if every file is as expected.
"""

from __future__ import annotations

import argparse
import re
import struct
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from underpaint.codec.errors import PictureError
from underpaint.codec.image_io.read import Picture, read_picture

PNG = re.compile(r"(?P<kind>[a-z0-9]{3})(?P<way>[inf])(?P<colour>[02346])[acgpns](?P<bits>\d\d)")
ORIENTED = re.compile(r"(?P<shape>Landscape|Portrait)_(?P<orientation>[0-8])")

CORRUPT = {
    **dict.fromkeys(("xs1n0g01", "xs2n0g01", "xs4n0g01", "xs7n0g01"), "signature"),
    **dict.fromkeys(("xcrn0g04", "xlfn0g04"), "line ends"),
    "xhdn0g08": "checksum of the header",
    "xcsn0g01": "checksum of the pixels",
    "xdtn0g01": "no pixels",
    **dict.fromkeys(("xc1n0g08", "xc9n2c08"), "colour type"),
    **dict.fromkeys(("xd0n2c08", "xd3n2c08", "xd9n2c08"), "depth"),
}
"""The files of PngSuite that are wrong on purpose, and what is."""

ALPHA = {4, 6}
"""Colour types of PNG with an alpha channel."""

SIZES = {"cdf": (32, 8), "cdh": (8, 32), "cds": (8, 8)}
"""Heights and widths of pictures whose pixels are no squares."""

GAMMA_TOLERANCE = 0.05
"""How far from 1 / 2.2 a gAMA chunk may be before the picture is converted."""


@dataclass(frozen=True)
class Expected:
    """What should come of a file: an error, or a picture with these notes of this size."""

    error: str | None = None
    notes: frozenset[str] = frozenset()
    size: tuple[int, int] | None = None
    """Height and width."""
    grey: bool = False
    orientation: int = 1


def gamma_of(data: bytes) -> float | None:
    """The gamma that a PNG names; None where it names none, or a colour space besides."""
    at, found = 8, None
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind in (b"sRGB", b"iCCP"):
            return None
        if kind == b"gAMA":
            found = struct.unpack_from(">I", data, at + 8)[0] / 100_000
        at += 12 + length
    return found


def expected(name: str, data: bytes) -> Expected | None:
    """What should come of a file of this name; None for files of neither collection.

    Of the content nothing is looked at but the gamma, which no name tells.
    """
    if found := ORIENTED.fullmatch(name):
        orientation = max(1, int(found["orientation"]))
        size = (1200, 1800) if found["shape"] == "Landscape" else (1800, 1200)
        notes = {f"orientation {orientation} applied"} if orientation > 1 else set()
        return Expected(notes=frozenset(notes), size=size, orientation=orientation)
    if name in CORRUPT:
        return Expected(error="PictureDamaged or UnsupportedFormat")
    if not (found := PNG.fullmatch(name)):
        return None
    kind, colour, bits = found["kind"], int(found["colour"]), int(found["bits"])
    notes = set()
    if bits == 16:
        notes.add("16-bit reduced to 8")
    if colour in ALPHA or (kind[0] == "t" and kind != "tp0"):
        notes.add("alpha composited on white")
    if kind[0] == "t" and colour == 2 and bits == 16:
        notes.add("transparent colour matched at 8 bits")
    gamma = gamma_of(data)
    if gamma is not None and abs(gamma - 1 / 2.2) > GAMMA_TOLERANCE:
        notes.add(f"gamma {gamma:.3f} converted to sRGB")
    side = int(kind[1:]) if kind[0] == "s" and kind[1:].isdigit() else 32
    size = SIZES.get(kind, (side, side))
    return Expected(notes=frozenset(notes), size=size, grey=colour in (0, 4))


def outcome(data: bytes) -> Picture | PictureError:
    """What comes of a file; any other error is a finding and not caught."""
    try:
        return read_picture(data)
    except PictureError as error:
        return error


def difference(wanted: Expected, found: Picture | PictureError) -> str:
    """How an outcome differs from what was expected; "" where it does not."""
    if isinstance(found, PictureError):
        return "" if wanted.error else f"{type(found).__name__}: {found}"
    if wanted.error:
        return f"read as {found.pixels.shape}, though it is corrupt"
    if wanted.size and found.pixels.shape[:2] != wanted.size:
        return f"{found.pixels.shape[:2]} pixels, not {wanted.size}"
    if wanted.grey and (np.ptp(found.pixels.astype(int), 2) > 0).any():
        return "grey has become coloured"
    if set(found.notes) != wanted.notes:
        return f"notes {sorted(found.notes)}, expected {sorted(wanted.notes)}"
    return ""


def compare(files: Mapping[str, bytes]) -> tuple[Counter[str], list[str]]:
    """Counts of outcomes, and one line for each file (by its name without suffix) that differs.

    Pictures of one shape in all orientations must come out alike.
    """
    counts: Counter[str] = Counter()
    wrong, upright = [], {}
    for name, data in sorted(files.items()):
        wanted = expected(name, data)
        if wanted is None:
            counts["of neither collection, left out"] += 1
            continue
        found = outcome(data)
        if why := difference(wanted, found):
            wrong.append(f"{name}: {why}")
        if isinstance(found, PictureError):
            counts[f"{type(found).__name__}, as they are corrupt"] += 1
            continue
        counts["; ".join(re.sub(r"\d\.\d+", "…", n) for n in found.notes) or "as they are"] += 1
        if match := ORIENTED.fullmatch(name):
            small = found.pixels[::50, ::50].astype(int)
            first = upright.setdefault(match["shape"], small)
            if np.abs(small - first).mean() > 12:
                wrong.append(f"{name}: not upright")
    return counts, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    files = {p.stem: p.read_bytes() for p in folder.rglob("*") if p.suffix in (".png", ".jpg")}
    counts, wrong = compare(files)
    for text, count in counts.most_common():
        print(f"{count:5}  {text}")
    for line in wrong:
        print(f"WRONG  {line}")
    print(f"{len(files)} files, {len(wrong)} not as expected")
    return int(bool(wrong) or not files)


if __name__ == "__main__":
    sys.exit(main())
