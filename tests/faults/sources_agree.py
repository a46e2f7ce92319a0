"""Encode the same photos from a folder, every kind of shard and a list of addresses; compare.

    python tests/faults/sources_agree.py PHOTOS --count 200 --tfrecord SHARD

Shards are made of `count` photos of a folder. A TFRecord file of someone else's making can be named
as well: its pictures are taken out of it, and both archives compared. Exit status 0 where every
source decodes to the same pictures.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import struct
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from underpaint import Codec
from underpaint.codec.archive import Archive
from underpaint.pipelines.jobs.encode import EncodeOptions, encode
from underpaint.transforms.records import Record, Shard
from underpaint.transforms.sources import Choice, open_sources
from underpaint.transforms.sources.tf_example import mask


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=200, help="photos (default 200)")
    parser.add_argument("--tfrecord", type=Path, help="a real TFRecord file")
    parser.add_argument("--layers", type=int, help="layers to store (default all)")
    arguments = parser.parse_args()
    suffixes = (".jpg", ".jpeg", ".png")
    found = sorted(p for p in arguments.photos.rglob("*") if p.suffix.lower() in suffixes)
    step = max(1, len(found) // arguments.count)
    with tempfile.TemporaryDirectory(prefix="sources-agree-") as scratch:
        root = Path(scratch)
        (root / "photos").mkdir()
        photos = []
        for number, photo in enumerate(found[::step][: arguments.count]):
            photos.append(root / "photos" / f"{number:04d}{photo.suffix.lower()}")
            shutil.copyfile(photo, photos[-1])
        make_shards(root, photos)
        shards = [f"all.{kind}" for kind in ("tar", "tar.zst", "zip", "tfrecord", "parquet", "csv")]
        sets = [["photos", *shards]]
        if arguments.tfrecord:
            unpack(arguments.tfrecord, root / "unpacked")
            sets.append(["unpacked", str(arguments.tfrecord)])
        return max(agree(root, names, arguments.layers) for names in sets)


def make_shards(root: Path, photos: list[Path]) -> None:
    """One shard of each kind."""
    with tarfile.open(root / "all.tar", "w") as tar:
        for photo in photos:
            tar.add(photo, photo.name)
    (root / "all.tar.zst").write_bytes(
        pa.compress((root / "all.tar").read_bytes(), "zstd", asbytes=True)
    )
    with zipfile.ZipFile(root / "all.zip", "w") as archive:
        for photo in photos:
            archive.write(photo, photo.name)
    with (root / "all.tfrecord").open("wb") as file:
        for photo in photos:
            feature = delimited(1, delimited(1, photo.read_bytes()))
            content = delimited(
                1, delimited(1, delimited(1, b"image/encoded") + delimited(2, feature))
            )
            length = struct.pack("<Q", len(content))
            file.write(length + struct.pack("<I", mask(length)))
            file.write(content + struct.pack("<I", mask(content)))
    pq.write_table(
        pa.table({"image": [photo.read_bytes() for photo in photos]}), root / "all.parquet"
    )
    with (root / "all.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["url"], *([str(photo)] for photo in photos)])


def delimited(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protocol buffer."""
    size, out = len(content), bytearray([number << 3 | 2])
    while size >= 0x80:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(out) + bytes([size]) + content


def unpack(shard: Path, folder: Path) -> None:
    """The pictures of a TFRecord file as files."""
    folder.mkdir()
    (source,) = open_sources([str(shard)], Choice())
    for each in source.listing():
        assert isinstance(each, Shard)
        for span in source.split(each, 1 << 20):
            parts = source.stream(each, span, 1 << 20) if span.open_ended else [(span, None)]
            for closed, records in parts:
                for record in source.read(each, closed) if records is None else records:
                    assert isinstance(record, Record)
                    name = record.key.rpartition("/")[2]
                    (folder / f"{name}.jpg").write_bytes(record.fetch())


def agree(root: Path, names: list[str], layers: int | None) -> int:
    """Encode each input; 0 if all archives decode to the pictures of the first."""
    codec = Codec.load()
    want: dict[bytes, bytes] = {}
    status = 0
    for number, name in enumerate(names):
        output = root / f"archive-{number}-{len(names)}"
        inputs = (str(root / name),)
        result = encode(EncodeOptions(inputs, str(output), max_layers=layers, max_failed=1.0))
        pictures = {}
        for row in Archive.open(output).rows():
            (pixels,) = codec.decode([row.layers])
            pictures[row.source_sha256] = pixels.tobytes()
        want = want or pictures
        same = pictures == want
        status |= not same
        units = result.counts.units
        print(
            f"{'ok ' if same else 'NOT'} {Path(name).name}: {len(pictures)} pictures of "
            f"{units} units, {result.failed} failures",
            flush=True,
        )
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
