"""Bytes of shards: opened anywhere, unpacked where they are compressed, read once.

A compressed file and one on a remote store are read from start to end. Only a plain file of this
machine is cheap to read at chosen places.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import IO, Any, TypeVar, cast

import fsspec
import pyarrow as pa

from underpaint.codec.errors import RangesUnsupported
from underpaint.codec.storage.extras import file_system, is_chain
from underpaint.codec.storage.retries import with_retries
from underpaint.codec.storage.web import session_options
from underpaint.transforms.sources.addresses import is_local, is_web
from underpaint.transforms.sources.tf_example import starts_record

T = TypeVar("T")

LOOKBACK = 1024
"""Bytes behind the place of reading that `Forward` can go back to: two blocks of a tar."""

_CHUNK = 1 << 18

_MAGIC = (
    ("gzip", b"\x1f\x8b\x08", 0),
    ("bz2", b"1AY&SY", 4),
    ("xz", b"\xfd7zXZ\0", 0),
    ("zstd", b"\x28\xb5\x2f\xfd", 0),
)
"""Name, bytes and place of what a compressed file begins with."""


def compression_of(head: bytes) -> str:
    """The compression of a file that begins with these bytes; "" for none that is known.

    Sources: RFC 1952 (gzip), RFC 8878 (zstd), the xz file format, the bzip2 manual.
    """
    for name, magic, place in _MAGIC:
        if head[place : place + len(magic)] == magic and (name != "bz2" or head[:3] == b"BZh"):
            return name
    return ""


def raw_file(uri: str, *, buffered: bool = True) -> IO[bytes]:
    """The bytes of a file as they are stored.

    Args:
        buffered: whether more may be read than is asked for; False reads single headers of a local
            file for their own price.
    """
    if is_chain(uri):
        fs, path = _chained(uri, os.getpid())
    else:
        fs, path = file_system(uri, **session_options(uri))
    file = raw_stream(fs, path)
    return (
        cast(IO[bytes], io.BufferedReader(cast(Any, file))) if buffered and is_local(fs) else file
    )


def raw_stream(fs: fsspec.AbstractFileSystem, path: str) -> IO[bytes]:
    """An opened file; of this machine, one that reads what is asked for and no more."""
    if is_local(fs):
        return open(path, "rb", buffering=0)
    file = with_retries(lambda: fs.open(path, "rb"), fs.unstrip_protocol(path))
    return cast(IO[bytes], _WebFile(file, path)) if is_web(fs) else file  # type: ignore[no-any-return]


def unpacked(file: IO[bytes] | Forward, compression: str) -> IO[bytes]:
    """The bytes that a compressed file stands for, read from start to end."""
    if compression == "gzip":
        return gzip.GzipFile(fileobj=file, mode="rb")  # type: ignore[return-value]
    if compression == "bz2":
        return bz2.BZ2File(file)  # type: ignore[return-value]
    if compression == "xz":
        return lzma.LZMAFile(file)  # type: ignore[return-value, arg-type]
    return pa.CompressedInputStream(pa.PythonFile(file, "r"), compression)


class Forward(io.RawIOBase):
    """A file that is read from start to end, by the names that a seekable file has.

    `seek` skips what lies ahead by reading it, and goes back by at most LOOKBACK bytes.
    """

    def __init__(self, file: IO[bytes], head: bytes = b"") -> None:
        super().__init__()
        self._file = file
        self._ahead = head
        self._behind = b""
        self._end = 0
        self._at = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True, within the limits of `seek`."""
        return True

    def tell(self) -> int:
        """The place of reading in unpacked bytes."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the place of reading; OSError for one that has gone by."""
        target = offset + (self._at if whence == io.SEEK_CUR else 0)
        if whence == io.SEEK_END or target < self._end - len(self._behind):
            raise OSError("the file can only be read from start to end")
        self._at = target
        return target

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; the number of bytes, 0 at the end."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1, /) -> bytes:
        """As many bytes as are asked for, fewer only at the end of the file."""
        while self._at > self._end:
            if not self._take(min(_CHUNK, self._at - self._end)):
                return b""
        parts = (
            [self._behind[len(self._behind) - (self._end - self._at) :]]
            if (self._at < self._end)
            else []
        )
        if size >= 0:
            parts = [part[:size] for part in parts]
        wanted = size - sum(map(len, parts))
        while size < 0 or wanted > 0:
            part = self._take(_CHUNK if size < 0 else wanted)
            if not part:
                break
            parts.append(part)
            wanted -= len(part)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._at += len(data)
        return data

    def close(self) -> None:
        """Close the file below."""
        if not self.closed:
            self._file.close()
        super().close()

    def _take(self, size: int) -> bytes:
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
        else:
            data = self._file.read(size)
        self._end += len(data)
        self._behind = (
            data[-LOOKBACK:] if len(data) >= LOOKBACK else (self._behind + data)[-LOOKBACK:]
        )
        return data


class _WebFile(io.RawIOBase):
    """A file of a web server: RangesUnsupported where it would have to send a byte range and sends
    whole files alone.
    """

    def __init__(self, file: Any, url: str) -> None:
        super().__init__()
        self._file, self._url = file, url

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True, within the limits of the server."""
        return True

    def tell(self) -> int:
        """The place of reading."""
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the place of reading."""
        with self._ranges():
            return int(self._file.seek(offset, whence))

    def read(self, size: int = -1, /) -> bytes:
        """As many bytes as are asked for, fewer only at the end of the file."""
        with self._ranges():
            return bytes(self._file.read(size))

    def close(self) -> None:
        """Close the file below."""
        if not self.closed:
            self._file.close()
        super().close()

    @contextmanager
    def _ranges(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            if "range requests" not in str(error) and "Cannot seek" not in str(error):
                raise
            raise RangesUnsupported.of(self._url, "file") from None


class Opened:
    """A shard that is being read from start to end."""

    def __init__(self, raw: IO[bytes], file: Forward) -> None:
        self._raw, self.file = raw, file

    def place(self) -> int:
        """How many bytes of the shard, as it is stored, have been read."""
        try:
            return self._raw.tell()
        except (OSError, ValueError, AttributeError):  # a web server that gives no places
            return self.file.tell()


class Place:
    """How far the reading of a shard has come, also before it is opened and once it is closed."""

    def __init__(self) -> None:
        self._bytes = 0
        self._opened: Opened | None = None

    def follow(self, opened: Opened | None) -> None:
        """Take the place from a shard that is open now, or from none any more."""
        if self._opened:
            self._bytes = self._opened.place()
        self._opened = opened

    def __call__(self) -> int:
        """Bytes of the shard, as it is stored."""
        return self._opened.place() if self._opened else self._bytes


@contextmanager
def opened(uri: str, place: Place | None = None) -> Iterator[Opened]:
    """Open a shard to be read from start to end, unpacked where its content is compressed."""
    place = place or Place()
    raw = raw_file(uri)
    try:
        head = raw.read(1024)
        compression = "" if _is_plain(head) else compression_of(head)
        with ExitStack() as cleanup:
            file = Forward(raw, head)
            if compression:
                file = Forward(cleanup.enter_context(unpacked(file, compression)))
            shard_file = Opened(raw, file)
            place.follow(shard_file)
            try:
                yield shard_file
            finally:
                place.follow(None)
    finally:
        raw.close()


def is_random_access(uri: str) -> bool:
    """Whether a shard is a plain file of this machine, cheap to read at chosen places."""
    fs, _ = file_system(uri)
    if not is_local(fs):
        return False
    with raw_file(uri) as file:
        head = file.read(1024)
    return _is_plain(head) or not compression_of(head)


def kept(uri: str, make: Callable[[str], T]) -> T:
    """What `make` makes of a file; kept in this process, from one span to the next."""
    fs, path = file_system(uri)
    changed = os.stat(path).st_mtime_ns if is_local(fs) else 0
    return _kept(uri, changed, os.getpid(), make)


@lru_cache(maxsize=32)
def _kept(uri: str, changed: int, process: int, make: Callable[[str], T]) -> T:
    return make(uri)


def _is_plain(head: bytes) -> bool:
    """Whether a beginning is that of a tar or TFRecord, whatever compression it looks like."""
    return head[257:262] == b"ustar" or starts_record(head)


@lru_cache(maxsize=16)
def _chained(uri: str, process: int) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a chain, kept: without it, fsspec closes the file that it lies in."""
    return file_system(uri)
