"""The protocol of sources, and what all of them share: files by path or URL.

A source lists what there is (`Item`s and `Shard`s), cuts a shard into spans, and reads a span as
records. One of your own takes two methods; hand its dotted name to `--source`:

    @dataclass(frozen=True)
    class Album(Source):
        inputs: tuple[str, ...]

        def listing(self):
            for path in self.inputs:
                yield Shard(uri=path, prefix=Path(path).stem)

        def read(self, shard, span):
            for page, data in enumerate(my_format.pictures(shard.uri)):
                yield Record(f"{shard.prefix}/{page}", shard.uri, lambda data=data: data)
"""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import IO, Any

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from underpaint.codec import limits
from underpaint.codec.archive.schema import is_reserved
from underpaint.codec.errors import PictureTooLarge
from underpaint.codec.storage.extras import file_system
from underpaint.codec.storage.files import with_retries
from underpaint.transforms.records import Item, Part, Record, Shard, Skipped, Span

SPAN_RECORDS = 1024
"""Most records in one unit of work."""

SHARD_SUFFIX_TAR = (".tar", ".tar.gz", ".tgz")
SHARD_SUFFIX_TFRECORD = (".tfrecord", ".tfrecords", ".tfrecord.gz", ".tfrecords.gz")
SHARD_SUFFIX_PARQUET = (".parquet",)
SHARD_SUFFIX_MANIFEST = (".csv", ".jsonl", ".ndjson")


class Source(ABC):
    """Where pictures come from. Picklable: it travels to the workers."""

    @abstractmethod
    def listing(self) -> Iterator[Item | Shard | Part | Skipped]:
        """Every file of the inputs, always in the same order.

        UsageError where an input is missing.
        """

    def split(self, shard: Shard, span_bytes: int) -> Iterator[Span]:
        """The shard in spans of about `span_bytes`; as one span unless a source can do better."""
        yield Span(start=0, stop=0, first=0, records=0, size=max(shard.size, 0))

    @abstractmethod
    def read(self, shard: Shard, span: Span) -> Iterator[Record | Skipped]:
        """The records of a span, always in the same order."""

    def stream(
        self, shard: Shard, span: Span, span_bytes: int
    ) -> Iterator[tuple[Span, list[Record | Skipped]]]:
        """Cut an open-ended span into closed spans with their records, in one pass.

        A closed span of about `span_bytes` is in memory at a time. Where the shard breaks off, the
        last span is a broken one.
        """
        raise NotImplementedError(f"{type(self).__name__} makes no open-ended spans")

    def record(self, item: Item) -> Record:
        """The record of a loose picture that `listing` named."""
        return Record(item.key, item.uri, partial(read_bytes, item.uri), item.size)

    def labels(self) -> pa.Schema:
        """Columns that come with the pictures; the values of `Record.labels` are of these types."""
        return pa.schema([])

    def settings(self) -> str:
        """What besides the shard decides what its records are; part of the names of units."""
        return ""


def is_local(fs: fsspec.AbstractFileSystem) -> bool:
    """Whether files of this file system are files of this machine."""
    return isinstance(fs, LocalFileSystem)


def is_web(fs: fsspec.AbstractFileSystem) -> bool:
    """Whether files are web addresses: no folders, no listing."""
    return "http" in fs.protocol or "https" in fs.protocol


def to_uri(fs: fsspec.AbstractFileSystem, path: str) -> str:
    """The address under which anyone can open the file again."""
    return path if is_local(fs) else str(fs.unstrip_protocol(path))


def open_file(uri: str) -> IO[bytes]:
    """A seekable binary file; `.gz` and the like are decompressed on the way."""
    fs, path = file_system(uri)
    compression = "gzip" if uri.endswith((".gz", ".tgz")) else None
    return with_retries(lambda: fs.open(path, "rb", compression=compression))


def read_bytes(uri: str) -> bytes:
    """All bytes of a source picture.

    Raises PictureTooLarge where it has more than the limit, and OSError for pipes and devices: they
    may have no end, or wait for someone.
    """
    fs, path = file_system(uri)
    limit = limits.MAX_SOURCE_BYTES
    if is_local(fs):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError(f"{path}: not a file of bytes")
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size > limit:
                raise PictureTooLarge(f"source of more than {limit} bytes")
            return file.read()
    data: bytes = with_retries(lambda: fs.cat_file(path, start=0, end=limit + 1))
    if len(data) > limit:
        raise PictureTooLarge(f"source of more than {limit} bytes")
    return data


def roots_to_prefixes(roots: Iterable[str]) -> dict[str, str]:
    """What the keys below each input folder begin with: nothing for one folder, else its name.

    Folders of the same name get as many of their parents as it takes to tell them apart.
    """
    distinct = list(dict.fromkeys(root.rstrip("/") for root in roots))
    if len(distinct) == 1:
        return {distinct[0]: ""}
    parts = {
        root: [part for part in root.split("/") if part and ":" not in part] for root in distinct
    }
    for depth in range(1, max(map(len, parts.values()), default=1) + 1):
        names = {root: "/".join(parts[root][-depth:]) + "/" for root in distinct}
        if len(set(names.values())) == len(distinct):
            return names
    return {root: f"{index}/" for index, root in enumerate(distinct)}


def label_name(name: str) -> str:
    """The name of a label column: `label_…` where the archive has a column of that name itself."""
    return f"label_{name}" if is_reserved(name) else name


def failing(error: Exception) -> Callable[[], bytes]:
    """The `fetch` of a record that could not be read."""

    def fetch() -> bytes:
        raise error

    return fetch


def conform(value: Any, kind: pa.DataType) -> Any:
    """The value as the Arrow type takes it; ValueError where it does not fit."""
    try:
        return pa.scalar(value, type=kind).as_py()
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{value!r} is no {kind}") from error
