"""Shards of every kind made of the same photos, for the tests."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from skimage import data

from underpaint.transforms.records import Item, Record, Shard, Span
from underpaint.transforms.sources import Source


def jpeg(number: int, height: int = 32, width: int = 40) -> bytes:
    """A small JPEG, another one for each number."""
    noise = np.random.default_rng(number).integers(0, 255, (height, width, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "JPEG")
    return out.getvalue()


def photos(folder: Path, count: int = 6) -> list[Path]:
    """Crops of photos as JPEG files of unlike sizes in two folders."""
    sources = [data.astronaut(), data.chelsea(), data.coffee()]
    made = []
    for number in range(count):
        pixels = sources[number % 3][40 * number :][:64, 30 : 130 + 7 * number]
        path = folder / ("left" if number % 2 else "right") / f"{number:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(pixels)).save(path, quality=92)
        made.append(path)
    return sorted(made)


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A tar with these members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """A zip with these members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def packed(content: bytes, suffix: str) -> bytes:
    """The content as a file with such a suffix would hold it."""
    if suffix.endswith(("gz", "tgz")):
        return gzip.compress(content)
    if suffix.endswith("bz2"):
        return bz2.compress(content)
    if suffix.endswith("xz"):
        return lzma.compress(content)
    if suffix.endswith("zst"):
        return pa.compress(content, "zstd", asbytes=True)
    return content


def write_tar(path: Path, pictures: list[Path]) -> None:
    with tarfile.open(path, "w") as tar:
        for number, picture in enumerate(pictures):
            for name, content in (
                (f"{number:04d}.jpg", picture.read_bytes()),
                (f"{number:04d}.cls", str(number).encode()),
                (f"{number:04d}.json", json.dumps({"name": picture.stem}).encode()),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def masked(content: bytes) -> bytes:
    crc = google_crc32c.value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record(content: bytes) -> bytes:
    """A TFRecord record, framed."""
    length = struct.pack("<Q", len(content))
    return length + masked(length) + content + masked(content)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protocol buffer."""
    size, out = len(content), bytearray([number << 3 | 2])
    while size >= 0x80:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    out.append(size)
    return bytes(out) + content


def example(picture: bytes, label: int, name: str) -> bytes:
    """A serialised tf.train.Example."""
    features = {
        "image/encoded": field(1, field(1, picture)),
        "image/class/label": field(3, field(1, bytes([label]))),
        "image/filename": field(1, field(1, name.encode())),
        "image/bbox": field(2, field(1, struct.pack("<2f", 0.25, 0.5))),
    }
    entries = (field(1, field(1, k.encode()) + field(2, v)) for k, v in features.items())
    return field(1, b"".join(entries))


def write_tfrecord(path: Path, pictures: list[Path]) -> None:
    records = (record(example(p.read_bytes(), n, p.name)) for n, p in enumerate(pictures))
    path.write_bytes(b"".join(records))


def write_parquet(path: Path, pictures: list[Path]) -> None:
    table = pa.table(
        {
            "image": [{"bytes": p.read_bytes(), "path": p.name} for p in pictures],
            "label": pa.array(range(len(pictures)), pa.int16()),
            "width": [1.5] * len(pictures),
        }
    )
    pq.write_table(table, path, row_group_size=2)


def write_manifests(folder: Path, pictures: list[Path]) -> dict[str, Path]:
    """CSV, JSON lines and Parquet tables of paths; one path is relative, one a URL."""
    urls = [str(p) for p in pictures]
    urls[0] = (
        str(pictures[0].relative_to(folder)) if pictures[0].is_relative_to(folder) else urls[0]
    )
    urls[-1] = pictures[-1].as_uri()
    rows = [
        {"url": url, "caption": f'a "quoted"\nline {number}', "score": number / 4}
        for number, url in enumerate(urls)
    ]
    paths = {kind: folder / f"list.{kind}" for kind in ("csv", "jsonl", "parquet")}
    with paths["csv"].open("w", newline="") as file:
        writer = csv.DictWriter(file, ["url", "caption", "score"])
        writer.writeheader()
        writer.writerows(rows)
    paths["jsonl"].write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), paths["parquet"])
    return paths


@dataclass(frozen=True)
class Letters(Source):
    """A source as a user would write one: each letter of an input is a record."""

    inputs: tuple[str, ...]

    def listing(self) -> Iterator[Item | Shard]:
        for text in self.inputs:
            yield Shard(uri=text, prefix=text)

    def read(self, shard: Shard, span: Span) -> Iterator[Record]:
        for place, letter in enumerate(shard.uri):
            yield Record(f"{shard.prefix}/{place}", shard.uri, letter.encode)
