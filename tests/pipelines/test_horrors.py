"""Whatever a folder holds: inputs are rows plus dead letters, and the job ends by itself."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from underpaint.codec.archive import Archive
from underpaint.pipelines.jobs.encode import EncodeOptions, encode


def png(width: int, height: int, packed: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


def saved(format: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(data.chelsea()[:96, :128]).save(out, format, **options)
    return out.getvalue()


def make_horrors(folder: Path) -> tuple[set[str], set[str]]:
    """Names of files that are pictures after all, and of those that are none."""
    folder.mkdir()
    jpeg, portable = saved("JPEG"), saved("PNG")
    noise = np.random.default_rng(0).integers(0, 255, (200, 32, 32), np.uint8)
    frames = [Image.fromarray(frame) for frame in noise]
    movie = io.BytesIO()
    frames[0].save(movie, "GIF", save_all=True, append_images=frames[1:], loop=0)
    good = {
        "good.jpg": jpeg,
        "wrong_suffix.png": jpeg,
        "wrong_suffix.jpg": portable,
        "movie.gif": movie.getvalue(),
        "one.png": png(1, 1, zlib.compress(b"\0abc")),
        "line.png": png(700, 1, zlib.compress(bytes(2101))),
        "new\nline.jpg": jpeg,
    }
    bad = {
        "empty.jpg": b"",
        "zeros.png": bytes(5000),
        "text.jpg": b"hello, world",
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "cut.png": portable[: len(portable) // 2],
        "wide.png": png(60_000, 60_000, zlib.compress(bytes(1000))),
        "short.png": png(9_000, 9_000, zlib.compress(bytes(1000))),
        "bomb.png": png(9_000, 9_000, zlib.compress(bytes(9_000 * 27_001), 1)),
    }
    for name, content in (good | bad).items():
        (folder / name).write_bytes(content)
    (folder / os.fsdecode(b"bad\xffname.jpg")).write_bytes(jpeg)
    return {*good, "bad%FFname.jpg"}, set(bad)


@pytest.mark.slow
def test_every_input_is_a_row_or_a_dead_letter(tmp_path: Path) -> None:
    good, bad = make_horrors(tmp_path / "horrors")
    chance = random.Random(0)
    whole = saved("JPEG", quality=80)
    for number in range(12):
        flipped = bytearray(whole)
        for _ in range(8):
            flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
        (tmp_path / "horrors" / f"flipped{number}.jpg").write_bytes(flipped)
    result = encode(
        EncodeOptions(
            inputs=(str(tmp_path / "horrors"),),
            output=str(tmp_path / "archive"),
            max_layers=2,
            workers=1,
            memory=200 << 20,  # too little for the bomb
            picture_timeout_s=30,
        )
    )
    archive = Archive.open(tmp_path / "archive")
    rows, letters = set(archive.keys()), {letter.key for letter in archive.dead_letters()}
    flipped_names = {f"flipped{number}.jpg" for number in range(12)}
    assert rows - flipped_names == {name.replace("\n", "%0A") for name in good}
    assert letters - flipped_names == bad
    assert rows | letters >= flipped_names
    assert not rows & letters
    assert result.statistics.images + result.failed == len(good) + len(bad) + 12
    assert result.status == 1
