"""Bytes that listing and reading a shard take, over the bytes of the shard, for each structure.

    python tests/faults/reading_cost.py

Makes a shard of each kind and structure (one row group, compressed, a huge table …), then lists,
splits and reads it as a job does, and counts at the opened files and at the decompressors. Exit
status 1 where one is read or unpacked more than LIMIT times.
"""

from __future__ import annotations

import csv
import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

if __name__ == "__main__":  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.helpers.reading import read_everything
from tests.helpers.shards import example as tf_example
from tests.helpers.shards import packed, record, tar_of, zip_of
from underpaint.transforms.records import Record
from underpaint.transforms.sources import Choice, streams

LIMIT = 1.2
SPAN_BYTES = 1 << 20
TABLE_ROWS = 20_000


@dataclass
class Cost:
    """What reading a shard took."""

    records: int = 0
    read: int = 0
    unpacked: int = 0


class Counted:
    """A file that counts what is read of it."""

    def __init__(self, file: Any, count: Callable[[int], None]) -> None:
        self._file, self._count = file, count

    def read(self, *arguments: int) -> bytes:
        data = self._file.read(*arguments)
        self._count(len(data))
        return data  # type: ignore[no-any-return]

    def readinto(self, buffer: Any) -> int:
        size = self._file.readinto(buffer)
        self._count(size or 0)
        return size  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Counted:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@contextmanager
def counting() -> Iterator[Cost]:
    """Count what every shard that is opened meanwhile is read and unpacked."""
    cost = Cost()
    raw, unpacked = streams.raw_stream, streams.unpacked

    def counted_raw(*arguments: Any) -> Any:
        def count(size: int) -> None:
            cost.read += size

        return Counted(raw(*arguments), count)

    def counted_unpacked(file: IO[bytes], compression: str) -> Any:
        def count(size: int) -> None:
            cost.unpacked += size

        return Counted(unpacked(file, compression), count)

    streams.raw_stream, streams.unpacked = counted_raw, counted_unpacked  # type: ignore[assignment]
    try:
        yield cost
    finally:
        streams.raw_stream, streams.unpacked = raw, unpacked


def pictures(count: int, size: int) -> list[bytes]:
    """Bytes that begin as a JPEG does and compress no better; nothing here decodes them."""
    noise = np.random.default_rng(0)
    return [b"\xff\xd8\xff\xe0" + noise.bytes(size + 37 * (number % 50)) for number in range(count)]


def members(content: list[bytes]) -> dict[str, bytes]:
    """A WebDataset shard's members."""
    return {
        f"{number:06d}.{suffix}": data
        for number, picture in enumerate(content)
        for suffix, data in (("jpg", picture), ("cls", b"7"), ("json", b'{"a": 1}'))
    }


def shards(folder: Path, count: int = 400) -> Iterator[tuple[str, Path, int, Choice]]:
    """Name, file, unpacked size and choice of a shard of each kind and structure."""

    def made(name: str, data: bytes, plain: int | None = None, choice: Choice = Choice()) -> Any:  # noqa: B008
        path = folder / name
        path.write_bytes(data)
        return name, path, len(data) if plain is None else plain, choice

    large, small = pictures(count, 20_000), pictures(4 * count, 2_000)
    for size, content in (("", large), ("-small", small)):
        tar = tar_of(members(content))
        yield made(f"a{size}.tar", tar)
        for suffix in ("tar.gz", "tgz", "tar.bz2", "tar.xz", "tar.zst"):
            if not size or suffix == "tgz":
                yield made(f"a{size}.{suffix}", packed(tar, suffix), len(tar))
        yield made(f"a{size}.zip", zip_of(members(content)))
        examples = [tf_example(p, n % 100, f"{n}.jpg") for n, p in enumerate(content)]
        tfrecord = b"".join(map(record, examples))
        yield made(f"a{size}.tfrecord", tfrecord)
        yield made(f"a{size}.tfrecord.gz", packed(tfrecord, "gz"), len(tfrecord))
        table = pa.table({"image": content, "label": list(range(len(content)))})
        for rows in (len(content), 50):
            out = io.BytesIO()
            pq.write_table(table, out, row_group_size=rows, compression="none")
            yield made(f"a{size}-groups-of-{rows}.parquet", out.getvalue())
    rows = [[f"https://host/{n}.jpg", f'a "caption", {n}', str(n)] for n in range(TABLE_ROWS)]
    text = io.StringIO()
    csv.writer(text).writerows([["url", "caption", "score"], *rows])
    lines = "".join(json.dumps(dict(zip(("url", "c", "s"), r, strict=True))) + "\n" for r in rows)
    for name, content in (("a.csv", text.getvalue().encode()), ("a.jsonl", lines.encode())):
        yield made(name, content)
        yield made(f"{name}.gz", packed(content, "gz"), len(content))
    out = io.BytesIO()
    columns = {name: [row[at] for row in rows] for at, name in enumerate(("url", "c", "s"))}
    pq.write_table(pa.table(columns), out)
    yield made("urls.parquet", out.getvalue(), None, Choice("manifest"))


def cost_of(path: Path, choice: Choice) -> Cost:
    """What it takes to list, split and read a shard."""
    with counting() as cost:
        found = read_everything([path], choice, SPAN_BYTES)
        records = [each for each in found if isinstance(each, Record)]
        if "url" not in path.name and path.suffix not in (".csv", ".jsonl", ".gz"):
            for each in records:
                each.fetch()
    cost.records = len(records)
    return cost


def main() -> int:
    status = 0
    print(f"{'shard':28} {'bytes':>11} {'records':>8} {'read':>6} {'unpacked':>9}")
    with tempfile.TemporaryDirectory(prefix="reading-cost-") as scratch:
        for name, path, plain, choice in shards(Path(scratch)):
            cost = cost_of(path, choice)
            size = path.stat().st_size
            read, unpacked = cost.read / size, cost.unpacked / plain
            over = max(read, unpacked) > LIMIT
            status |= over
            print(
                f"{name:28} {size:11,} {cost.records:8,} {read:6.3f} {unpacked:9.3f}"
                f"{'  over' if over else ''}",
                flush=True,
            )
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
