"""Measures random access: single pictures by key, beside Lance, and from many rows.

python -m tests.benchmarks.access PHOTOS... [--limit N] [--side N] [--rows N] [--reads N]

An archive and a Lance data set of `--rows` rows are written, whose rows repeat the photos, scaled
to at most `--side` pixels a side. Both are read by the same random keys, one after the other, on
one core: the layers of a picture from the archive, and its JPEG of quality 85 from Lance, by a
scalar index on the keys. Nothing is decoded. The bytes read for a picture are those that the
process reads from files, as Linux counts them (`rchar` of /proc/self/io), whichever library asks.
The index of the archive is read before, and counted apart. On a machine that does other work, keys
a second of CPU time tell more than keys a second.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from underpaint.codec.archive import Archive, ArchiveWriter, Row, publish
from underpaint.codec.codec import Codec
from underpaint.codec.errors import UnderpaintError
from underpaint.pipelines.evaluation.photos import find_photos

JPEG_QUALITY = 85
UNIT_ROWS = 10_000
WARM_READS = 50

Figure = tuple[str, float, str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0, or 2 after a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.access",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--limit", type=int, default=50, help="number of photos")
    parser.add_argument("--side", type=int, default=160, help="longest side of a photo, in pixels")
    parser.add_argument("--rows", type=int, default=100_000, help="rows of each store")
    parser.add_argument("--reads", type=int, default=2_000, help="keys to read from each")
    chosen = parser.parse_args(arguments)
    try:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        with tempfile.TemporaryDirectory(prefix="underpaint-") as folder:
            for name, value, unit in _measured(chosen, Path(folder)):
                print(f"{name:<56} {value:>12,.2f} {unit}".rstrip(), flush=True)
    except UnderpaintError as error:
        print(f"access: {error}", file=sys.stderr)
        return 2
    return 0


def _measured(chosen: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    found = find_photos(chosen.photos, chosen.limit)
    photos = [_scaled(photo.read(), chosen.side) for photo in found]
    codec = Codec.load()
    streams = codec.encode(photos)
    files = [_jpeg(pixels) for pixels in photos]
    yield "photos", len(photos), ""
    yield "mean layers of a photo", np.mean([sum(map(len, one)) for one in streams]), "bytes"
    yield "mean JPEG of a photo", np.mean([len(file) for file in files]), "bytes"
    _write_archive(folder / "archive", codec, photos, streams, chosen.rows)
    _write_lance(folder / "lance", files, chosen.rows)
    rows = np.random.default_rng(0).integers(0, chosen.rows, chosen.reads + WARM_READS)
    keys = [_key(int(row)) for row in rows]

    archive = Archive.open(folder / "archive")
    begin = time.perf_counter()
    index = archive.load_index()
    yield "archive: index in memory, a row", index / chosen.rows, "bytes"
    yield "archive: index fetched, a row", archive.traffic.fetched / chosen.rows, "bytes"
    yield "archive: index, time to read it", time.perf_counter() - begin, "s"
    for layers in (2, len(codec.layer_names)):
        columns = len(archive.layer_columns(layers))

        def picture(key: str, layers: int = layers) -> int:
            return sum(map(len, archive.get(key, layers, labels=False, provenance=False).layers))

        yield f"archive, layers: {layers}: columns", columns, ""
        yield from _read(f"archive, layers: {layers}", picture, keys)

    import lance

    data = lance.dataset(str(folder / "lance"))
    numbers = {key: int(row) for key, row in zip(keys, rows, strict=True)}

    def by_key(key: str) -> int:
        found = data.to_table(columns=["jpeg"], filter=f"key = '{key}'").column("jpeg")
        return len(found[0].as_py())

    def by_number(key: str) -> int:
        return len(data.take([numbers[key]], columns=["jpeg"]).column("jpeg")[0].as_py())

    yield from _read("Lance, by key", by_key, keys)
    yield from _read("Lance, by row number", by_number, keys)


def _read(name: str, read: Callable[[str], int], keys: list[str]) -> Iterator[Figure]:
    """Yield keys a second, bytes of a picture, bytes read for one, and reads for one."""
    for key in keys[:WARM_READS]:
        read(key)
    before, begin, cpu = _files_read(), time.perf_counter(), time.process_time()
    wanted = sum(read(key) for key in keys[WARM_READS:])
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    after, reads = _files_read(), len(keys) - WARM_READS
    yield f"{name}: keys a second", reads / seconds, ""
    yield f"{name}: keys a second of CPU time", reads / cpu, ""
    yield f"{name}: bytes of a picture", wanted / reads, "bytes"
    yield f"{name}: bytes read for it", (after[0] - before[0]) / reads, "bytes"
    yield f"{name}: reads for it", (after[1] - before[1]) / reads, ""


def _files_read() -> tuple[int, int]:
    """Return the bytes that all threads of this process have read, and in how many calls."""
    figures = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(figures["rchar"]), int(figures["syscr"])


def _key(row: int) -> str:
    return f"{row:07}.jpg"


def _scaled(pixels: np.ndarray, side: int) -> np.ndarray:
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _jpeg(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def _write_archive(
    root: Path,
    codec: Codec,
    photos: Sequence[np.ndarray],
    streams: Sequence[tuple[bytes, ...]],
    rows: int,
) -> None:
    for first in range(0, rows, UNIT_ROWS):
        with ArchiveWriter(
            root, f"unit-{first:09}", layers=codec.layer_names, weights_id=codec.weights_id
        ) as writer:
            for row in range(first, min(first + UNIT_ROWS, rows)):
                height, width, _ = photos[row % len(photos)].shape
                writer.add(Row(_key(row), streams[row % len(streams)], width, height))
    publish(str(root))


def _write_lance(root: Path, files: Sequence[bytes], rows: int) -> None:
    import lance

    schema = pa.schema([("key", pa.string()), ("jpeg", pa.large_binary())])

    def batches() -> Iterator[pa.RecordBatch]:
        for first in range(0, rows, 1_000):
            part = range(first, min(first + 1_000, rows))
            columns = [[_key(row) for row in part], [files[row % len(files)] for row in part]]
            yield pa.RecordBatch.from_arrays(
                [pa.array(columns[0]), pa.array(columns[1], pa.large_binary())], schema=schema
            )

    data = lance.write_dataset(batches(), str(root), schema=schema)
    data.create_scalar_index("key", "BTREE")


if __name__ == "__main__":
    sys.exit(main())
