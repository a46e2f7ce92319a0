"""Prefetching: threads fetch and decode pictures while the codec encodes.

records ──at most RECORDS_AHEAD, at most `ahead` bytes──> threads, helpers ──> Ready, in order
"""

from __future__ import annotations

import hashlib
import queue
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from underpaint.codec.image_io.read import Picture
from underpaint.transforms.picture_process import PictureReader
from underpaint.transforms.records import Record

PIXELS_PER_SOURCE_BYTE = 16
"""Estimate of decoded bytes for each source byte, until the picture is decoded."""

RECORDS_AHEAD = 64
"""Most records that wait, however small they are."""

UNKNOWN_SOURCE_BYTES = 1 << 18
"""Estimate of a source's size if no listing gives it: that of a photo on the web.

With a larger one, fewer downloads wait for servers at a time than there are threads for them.
"""


@dataclass(frozen=True)
class Ready:
    """A record with its decoded picture, or with the stage and error at which it failed."""

    record: Record
    data: bytes = b""
    """Source bytes, if they are kept."""
    source_bytes: int = 0
    """Number of source bytes."""
    sha256: bytes = b""
    picture: Picture | None = None
    stage: str = ""
    error: Exception | None = None


class Prefetcher:
    """Decodes records in order, at most `ahead` bytes ahead of the reader.

    Args:
        readers: helper processes that decode pictures.
        fetchers: threads that wait for storage.
        ahead: bytes of sources and pixels that may wait; one record is always in progress.
        timeout_s, most_pixels, reader_memory: limits for one picture, see `PictureReader`.
        keep_source: whether `Ready.data` holds the source bytes.
    """

    def __init__(
        self,
        readers: int,
        fetchers: int,
        ahead: int,
        *,
        timeout_s: float,
        most_pixels: int,
        reader_memory: int,
        keep_source: bool = False,
    ) -> None:
        self._ahead = ahead
        self._keep_source = keep_source
        self._most = max(RECORDS_AHEAD, 2 * (readers + fetchers))
        self._pool = ThreadPoolExecutor(readers + fetchers, thread_name_prefix="prefetch")
        self._all = [
            PictureReader(timeout_s=timeout_s, most_pixels=most_pixels, memory=reader_memory)
            for _ in range(readers)
        ]
        self._free: queue.Queue[PictureReader] = queue.Queue()
        for reader in self._all:
            self._free.put(reader)

    def start(self) -> None:
        """Start the helpers before the first picture arrives."""
        for reader in self._all:
            reader.start()

    def ready(self, records: Iterator[Record]) -> Iterator[Ready | None]:
        """Yield the decoded records in order, and None whenever the next one is not ready yet.

        The caller may use that time; meanwhile other records are fetched and decoded.
        """
        waiting: deque[tuple[int, Future[Ready]]] = deque()
        more = True
        while more or waiting:
            while more and len(waiting) < self._most and sum(map(_held, waiting)) <= self._ahead:
                record = next(records, None)
                if record is None:
                    more = False
                    break
                size = record.size if record.size >= 0 else UNKNOWN_SOURCE_BYTES
                guess = size * (1 + PIXELS_PER_SOURCE_BYTE)
                waiting.append((guess, self._pool.submit(self._decode, record)))
            if waiting:
                _, first = waiting.popleft()
                if not first.done():
                    yield None
                yield first.result()

    def close(self) -> None:
        """Stop threads and helpers."""
        for reader in self._all:
            reader.close()
        self._pool.shutdown(cancel_futures=True)

    def _decode(self, record: Record) -> Ready:
        try:
            data = record.fetch()
        except Exception as error:  # storage and shard formats raise any kind of error
            return Ready(record, stage="read", error=error)
        digest = hashlib.sha256(data).digest()
        reader = self._free.get()
        try:
            picture = reader.read(data)
        except Exception as error:  # as above: any failure belongs to this record alone
            return Ready(record, stage="decode", error=error)
        finally:
            self._free.put(reader)
        kept = data if self._keep_source else b""
        return Ready(record, kept, len(data), digest, picture)


def _held(waiting: tuple[int, Future[Ready]]) -> int:
    """Return the bytes that a waiting record holds: exact once it is decoded, else an estimate."""
    guess, future = waiting
    if not future.done():
        return guess
    ready = future.result()
    return ready.source_bytes + (ready.picture.pixels.nbytes if ready.picture else 0)
