"""The same photos from every kind of source make archives that decode to the same pictures."""

from __future__ import annotations

import csv
import io
import json
import struct
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers.pictures import make_photos
from underpaint import Codec
from underpaint.codec.archive import Archive
from underpaint.codec.image_io.read import read_picture
from underpaint.pipelines.jobs.encode import EncodeOptions, encode
from underpaint.transforms.sources import Choice
from underpaint.transforms.sources.tf_example import mask

pytestmark = pytest.mark.slow


def folder(root: Path, photos: list[Path]) -> tuple[list[Path], Choice]:
    return [root / "photos"], Choice()


def tar(root: Path, photos: list[Path]) -> tuple[list[Path], Choice]:
    shards = [root / "a.tar", root / "b.tar"]
    for shard, part in zip(shards, (photos[:4], photos[4:]), strict=True):
        with tarfile.open(shard, "w") as out:
            for photo in part:
                for suffix, content in ((photo.suffix, photo.read_bytes()), (".txt", b"hello")):
                    member = tarfile.TarInfo(photo.stem + suffix)
                    member.size = len(content)
                    out.addfile(member, io.BytesIO(content))
    return shards, Choice()


def tfrecord(root: Path, photos: list[Path]) -> tuple[list[Path], Choice]:
    path = root / "a.tfrecord"
    path.write_bytes(b"".join(framed(example(photo.read_bytes())) for photo in photos))
    return [path], Choice()


def parquet(root: Path, photos: list[Path]) -> tuple[list[Path], Choice]:
    path = root / "a.parquet"
    table = {"jpg": [p.read_bytes() for p in photos], "name": [p.stem for p in photos]}
    pq.write_table(pa.table(table), path, row_group_size=3)
    return [path], Choice(key="name")


def list_of_urls(root: Path, photos: list[Path]) -> tuple[list[Path], Choice]:
    path = root / "list.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["url", "stars"])
        writer.writerows([photo.as_uri(), 3] for photo in photos)
    return [path], Choice()


def json_lines(root: Path, photos: list[Path]) -> tuple[list[Path], Choice]:
    path = root / "list.jsonl"
    rows = ({"file_name": str(photo.relative_to(root)), "tags": ["a", "b"]} for photo in photos)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [path], Choice()


def framed(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + struct.pack("<I", mask(length)) + content + struct.pack("<I", mask(content))


def example(picture: bytes) -> bytes:
    """A tf.train.Example with one feature, `image/encoded`."""
    feature = delimited(1, delimited(1, picture))
    return delimited(1, delimited(1, delimited(1, b"image/encoded") + delimited(2, feature)))


def delimited(number: int, content: bytes) -> bytes:
    size, out = len(content), bytearray([number << 3 | 2])
    while size >= 0x80:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(out) + bytes([size]) + content


@pytest.mark.parametrize("make", [folder, tar, tfrecord, parquet, list_of_urls, json_lines])
def test_archives_decode_to_the_pictures_of_the_photos(
    tmp_path: Path,
    make: Callable[[Path, list[Path]], tuple[list[Path], Choice]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("underpaint.transforms.sources.manifest.ROWS_PER_SPAN", 3)
    photos = make_photos(tmp_path / "photos", 7)
    inputs, choice = make(tmp_path, sorted(photos))
    result = encode(
        EncodeOptions(
            inputs=tuple(map(str, inputs)),
            output=str(tmp_path / "archive"),
            choice=choice,
            max_layers=3,
            workers=1,
            unit_bytes=4000,
        )
    )
    assert (result.status, result.statistics.images) == (0, 7)
    archive = Archive.open(tmp_path / "archive")
    assert len(archive.manifest.units) > 1  # one shard is the work of several units
    found = {row.source_sha256: row for row in archive.rows()}
    codec = Codec.load()
    for photo in photos:
        row = found[sha256(photo.read_bytes()).digest()]
        (want,) = codec.decode(codec.encode([read_picture(photo.read_bytes()).pixels], layers=3))
        (have,) = codec.decode([row.layers])
        assert np.array_equal(have, want)
    if make is tar:
        assert {row.labels["txt"] for row in archive.rows()} == {"hello"}
    if make is json_lines:
        assert archive.get("photos/left/001.jpg").labels == {"tags": ["a", "b"]}
