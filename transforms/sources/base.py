"""The protocol of sources, and what all of them share: bytes of files, names of keys.

A source lists what there is (`Item`s, `Shard`s and what is skipped), cuts a shard into spans, and
reads a span as records. One of your own takes two methods; hand its dotted name to `--source`:

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
from collections.abc import Callable, Iterator
from functools import partial
from typing import ClassVar

import pyarrow as pa

from underpaint.codec import limits
from underpaint.codec.errors import PictureTooLarge
from underpaint.codec.storage.extras import file_system
from underpaint.codec.storage.retries import with_retries
from underpaint.codec.storage.web import DEFAULT_LIMITS, TimeLimits, download
from underpaint.transforms.records import Item, Part, Record, Shard, Skipped, Span
from underpaint.transforms.sources.addresses import is_local, is_web
from underpaint.transforms.sources.recognition import HEAD_BYTES

SPAN_RECORDS = 1024
"""Most records in one work unit."""

STREAM_BYTES = 32 << 20
"""A span of a stream is closed after this many bytes of records, which are held in memory."""

FOLDER_LABEL = pa.field("label", pa.string())
"""The label that holds the name of a picture's folder."""


class Source(ABC):
    """A source of pictures. It can be pickled, because it travels to the workers."""

    kind: ClassVar[str] = ""
    """The kind by which `choice.USED_BY` knows the source."""

    @abstractmethod
    def listing(self) -> Iterator[Item | Shard | Part | Skipped]:
        """Yield every file of the inputs, always in the same order.

        UsageError if an input is missing.
        """

    def split(self, shard: Shard, span_bytes: int) -> Iterator[Span]:
        """Yield spans of about `span_bytes`; a single span unless a source can do better."""
        yield Span(start=0, stop=0, first=0, records=0, size=max(shard.size, 0))

    @abstractmethod
    def read(self, shard: Shard, span: Span) -> Iterator[Record | Skipped]:
        """Yield the records of a span, always in the same order."""

    def stream(
        self, shard: Shard, span: Span, span_bytes: int
    ) -> Iterator[tuple[Span, list[Record | Skipped]]]:
        """Cut an open-ended span into closed spans with their records, in one pass.

        A closed span of about `span_bytes` is in memory at a time. Where the shard breaks off, the
        last span is a broken one.
        """
        raise NotImplementedError(f"{type(self).__name__} makes no open-ended spans")

    def record(self, item: Item) -> Record:
        """Return the record of a loose picture that `listing` yielded."""
        return Record(item.key, item.uri, partial(read_bytes, item.uri), item.size)

    def labels(self) -> pa.Schema:
        """Return the label columns; the values of `Record.labels` have these types."""
        return pa.schema([])

    def with_labels(self, schema: pa.Schema) -> Source:
        """Return the source with the types that `schema` has for its label columns."""
        return self

    def settings(self) -> str:
        """Return the options that change a shard's records; they are part of the units' names."""
        return ""


def whole(shard: Shard) -> Span:
    """Return the open-ended span of a shard that is read from start to end."""
    return Span(0, 0, 0, 0, max(shard.size, 0), open_ended=True)


def closed_spans(
    records: Iterator[Record | Skipped],
    place: Callable[[], int],
    span_bytes: int,
    first: int = 0,
) -> Iterator[tuple[Span, list[Record | Skipped]]]:
    """Cut the records of a stream into closed spans, the last of them a broken one on an error.

    Args:
        place: bytes of the shard that have been read so far, for the sizes of spans.
        first: ordinal of the first record.
    """
    held: list[Record | Skipped] = []
    some = False
    count = size = 0
    start = place()
    broken = ""
    most = min(span_bytes, STREAM_BYTES)
    while True:
        record = None
        try:
            record = next(records, None)
        except Exception as error:  # a shard format raises any error; it ends the shard
            broken = f"{type(error).__name__}: {error}"
        if record is None or (held and (size >= most or count >= SPAN_RECORDS)):
            if held:
                stop = place()
                yield Span(start, stop, first, count, stop - start), held
                first, start = first + count, stop
                held, count, size = [], 0, 0
            if record is None:
                break
        some = True
        held.append(record)
        if isinstance(record, Record):
            count += 1
            size += max(record.size, 0)
    if broken:
        yield Span(start, start, first, 0, 0, broken=broken), []
    elif not some:
        yield Span(0, 0, 0, 0, place(), empty=True), []


def read_bytes(uri: str, limits_of_time: TimeLimits = DEFAULT_LIMITS) -> bytes:
    """Return all bytes of a source picture; a web server has limited time to send them.

    Raises PictureTooLarge if there are more than the limit, and OSError for folders, pipes and
    devices, which may have no end or block.
    """
    fs, path = file_system(uri)
    limit = limits.MAX_SOURCE_BYTES
    if is_local(fs):
        _check_regular(path)
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size > limit:
                raise PictureTooLarge(f"source of more than {limit} bytes")
            return file.read()
    data: bytes = (
        download(fs, path, limit + 1, limits_of_time)
        if is_web(fs)
        else with_retries(lambda: fs.cat_file(path, start=0, end=limit + 1), uri)
    )
    if len(data) > limit:
        raise PictureTooLarge(f"source of more than {limit} bytes")
    return data


def read_head(uri: str) -> bytes:
    """Return the first bytes of a file, which identify its format."""
    fs, path = file_system(uri)
    if is_local(fs):
        _check_regular(path)
        with open(path, "rb", buffering=0) as file:
            return file.read(HEAD_BYTES)
    return with_retries(lambda: fs.cat_file(path, start=0, end=HEAD_BYTES), uri)  # type: ignore[no-any-return]


def folder_label(key: str) -> dict[str, str]:
    """Return the label with the name of a picture's folder, taken from the picture's key."""
    parts = key.split("/")
    return {FOLDER_LABEL.name: parts[-2]} if len(parts) > 1 else {}


def failing(error: Exception) -> Callable[[], bytes]:
    """Return a `fetch` that raises `error`, for a record that cannot be read."""

    def fetch() -> bytes:
        raise error

    return fetch


def _check_regular(path: str) -> None:
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        os.listdir(path)  # raises PermissionError where that is why it was not walked
    if not stat.S_ISREG(mode):
        raise OSError(f"{path}: neither a file nor a link to one")
