"""Archives for tests of the gallery: many rows of few pictures, with labels and dead letters."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from skimage import data

from underpaint import ArchiveWriter, Codec
from underpaint.codec.archive import DeadLetter, Row, publish

HOSTILE = (
    "<script>document.title='taken'</script>",
    '"><img src=x onerror="document.title=\'taken\'">',
    "abc\u202egpj.exe\u2066\u200f",
    "long" * 250,
)
"""Texts that a page must show as texts."""

KINDS = ("astronaut", "cat", "coffee", "rocket")


def photos(side: int, count: int) -> list[np.ndarray]:
    """Squares of four photos: number n shows `KINDS[n % 8 // 2]`."""
    sources = [
        Image.fromarray(pixels).convert("RGB")
        for pixels in (data.astronaut(), data.chelsea(), data.coffee(), data.rocket())
    ]
    rng, made = np.random.default_rng(7), []
    for number in range(count):
        source = sources[number % 8 // 2]
        edge = int(rng.uniform(0.6, 1) * min(source.size))
        left, top = (int(rng.integers(length - edge + 1)) for length in source.size)
        crop = source.crop((left, top, left + edge, top + edge))
        made.append(np.asarray(crop.resize((side, side), Image.Resampling.LANCZOS)))
    return made


def make_gallery(
    root: Path, rows: int, *, side: int = 96, distinct: int = 8, originals: bool = True
) -> Path:
    """Write an archive of `rows` rows of so many distinct pictures, with labels, embeddings and
    dead letters.

    The first 20 keys, and the labels and metadata of the first 40 rows, are hostile texts.
    """
    codec = Codec.load()
    pictures = photos(side, distinct)
    streams = codec.encode(pictures)
    rng = np.random.default_rng(4)
    bases = rng.normal(size=(len(KINDS), 16))
    sources = []
    for picture in pictures:
        out = io.BytesIO()
        Image.fromarray(picture).save(out, "PNG")
        sources.append(out.getvalue())
    schema = pa.schema([("kind", pa.string()), ("score", pa.int64()), ("note", pa.string())])
    with ArchiveWriter(
        root,
        "unit",
        layers=codec.layer_names,
        weights_id=codec.weights_id,
        sizes=(256, 512, 0),
        label_schema=schema,
        embedding_size=16,
        extractor="test#1",
        keep_source=originals,
        metadata="basic",
        row_group_limit=4 << 20,
    ) as writer:
        for number in range(rows):
            which = number % len(pictures)
            text = HOSTILE[number % len(HOSTILE)] if number < 40 else f"note {number}"
            key = f"{text[:900]} {number:06d}.jpg" if number < 20 else f"{number:06d}.jpg"
            writer.add(
                Row(
                    key=key,
                    layers=streams[which],
                    width=side,
                    height=side,
                    source_uri=f"https://example.org/{number}.jpg",
                    source_sha256=_sha256(sources[which]),
                    source_bytes=len(sources[which]),
                    source_format="PNG",
                    metadata=json.dumps({"date": "2024-05-01T10:00:00", "model": text}),
                    labels={"kind": KINDS[number % 8 // 2], "score": number, "note": text * 10},
                    embedding=bases[number % 8 // 2] + 0.05 * rng.normal(size=16),
                    source=sources[which] if originals else None,
                )
            )
        for number in range(7):
            message = HOSTILE[number % len(HOSTILE)]
            writer.fail(
                DeadLetter(f"bad-{number}", "file:///x", "decode", "PictureDamaged", message)
            )
        writer.fail(DeadLetter("unreadable", "", "read", "FileNotFoundError", "no such file"))
    publish(root)
    return root


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


@contextmanager
def served(archive: Path | str, *options: str) -> Iterator[str]:
    """The address of `underpaint serve ARCHIVE`, until the block ends."""
    command = [sys.executable, "-P", "-m", "underpaint", "serve", str(archive), "--port", "0"]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found, line
        yield found[0]
    finally:
        process.terminate()
        process.wait(timeout=60)
