"""Exact reads: the byte ranges of a data file that a job needs, fetched once and counted.

    columns ─> chunks of the row group ─> coalesced ranges ─> storage ─> ChunkFile ─> pyarrow

The read-ahead of pyarrow and fsspec fetches up to 24 times the bytes of one column. Here pyarrow
sees only bytes that were fetched deliberately.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Container, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from underpaint.codec.archive.layer_columns import is_layer
from underpaint.codec.archive.parquet.chunk_file import ChunkFile
from underpaint.codec.archive.parquet.footer import ARROW_ERRORS, Footer, first_line, parse_footer
from underpaint.codec.archive.parquet.pages import BlobPages, blob_pages
from underpaint.codec.archive.parquet.unpacking import check_unpacked
from underpaint.codec.archive.records import FAILED, FileEntry
from underpaint.codec.archive.schema import breach, is_blob
from underpaint.codec.errors import ArchiveDamaged, FileMissing
from underpaint.codec.storage.files import Storage

WASTE = 0.04
"""Limit on the bytes between two chunks that are fetched to save a request, relative to those
wanted.
"""

WIDEST_GAP = 256 << 10
"""Widest gap in bytes that is fetched to save a request."""

REQUEST_BYTES = 16 << 20
"""Longer ranges are split into requests of this size, which run in parallel."""

MOST_REQUESTS = 64
"""Most requests for single values that run at the same time."""

FOOTERS_KEPT = 256
"""Number of parsed footers kept in memory, the most recently used."""

TURNS = 64
"""Number of locks among which files are divided while their footers are fetched."""

Range = tuple[int, int]


@dataclass(frozen=True)
class Traffic:
    """Bytes that a reader fetched from storage, and the part of them that was requested."""

    fetched: int = 0
    """Bytes that storage returned, footers included."""
    wanted: int = 0
    """Bytes of the returned values: blob lengths, and the column chunks of small columns."""
    requests: int = 0

    @property
    def ratio(self) -> float:
        """Fetched over wanted: 1.0 is perfect; 0.0 if nothing was wanted."""
        return self.fetched / self.wanted if self.wanted else 0.0


class Counter:
    """Sums `Traffic` over threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._traffic = Traffic()

    def __getstate__(self) -> Traffic:
        return self._traffic

    def __setstate__(self, traffic: Traffic) -> None:
        self._lock = threading.Lock()
        self._traffic = traffic

    @property
    def traffic(self) -> Traffic:
        """Return the sums so far."""
        return self._traffic

    def add(self, *, fetched: int = 0, wanted: int = 0, requests: int = 0) -> None:
        """Count one event."""
        with self._lock:
            now = self._traffic
            self._traffic = Traffic(
                now.fetched + fetched, now.wanted + wanted, now.requests + requests
            )


def coalesce(
    ranges: Iterable[Range], *, waste: float = WASTE, gap: int = WIDEST_GAP
) -> list[Range]:
    """Merge adjacent ranges, and close ones while the bytes between them stay few.

    All gaps together stay under `waste` times the bytes of the ranges, and each gap under `gap`
    bytes.
    """
    ordered: list[Range] = []
    for start, stop in sorted(ranges):
        if ordered and start <= ordered[-1][1]:
            ordered[-1] = (ordered[-1][0], max(stop, ordered[-1][1]))
        else:
            ordered.append((start, stop))
    budget = int(waste * sum(stop - start for start, stop in ordered))
    gaps = sorted((ordered[i + 1][0] - ordered[i][1], i) for i in range(len(ordered) - 1))
    joined = set()
    for width, index in gaps:
        if width > min(gap, budget):
            break
        budget -= width
        joined.add(index)
    merged: list[Range] = []
    for index, (start, stop) in enumerate(ordered):
        if index - 1 in joined:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((start, stop))
    return merged


class RangeReader:
    """Reads selected columns of row groups of an archive's data files.

    It is thread-safe, can be pickled and works after a fork.
    """

    def __init__(self, storage: Storage, *, threads: int = 4) -> None:
        self.storage = storage
        self.counter = Counter()
        self._threads = threads
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._footers: OrderedDict[str, Footer] = OrderedDict()
        self._turns = [threading.Lock() for _ in range(TURNS)]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_lock": None, "_footers": None, "_turns": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._reset()

    def footer(self, entry: FileEntry) -> Footer:
        """Return the footer of a data file, fetched by one exact range; ArchiveDamaged if it
        changed.
        """
        turn = self._turns[hash(entry.path) % TURNS]
        with turn:  # threads that want the same footer fetch it once
            with self._lock:
                if entry.path in self._footers:
                    self._footers.move_to_end(entry.path)
                    return self._footers[entry.path]
            tail = self._fetch(entry, entry.bytes - entry.footer_bytes, entry.bytes)
            return self.use_footer(entry, tail)

    def use_footer(self, entry: FileEntry, tail: bytes) -> Footer:
        """Parse these bytes as the footer of a file; ArchiveDamaged if they are not."""
        if hashlib.sha256(tail).hexdigest() != entry.footer_sha256:
            raise ArchiveDamaged(f"{entry.path}: the footer does not match its checksum")
        try:
            footer = parse_footer(tail)
        except ArchiveDamaged as error:
            raise ArchiveDamaged(f"{entry.path}: {error}") from None
        rows = tuple(group.rows for group in footer.groups)
        if rows != entry.row_groups:
            raise ArchiveDamaged(f"{entry.path}: row groups of {rows} rows, not {entry.row_groups}")
        with self._lock:
            self._footers[entry.path] = footer
            while len(self._footers) > FOOTERS_KEPT:
                self._footers.popitem(last=False)
        return footer

    def row_blobs(
        self, entry: FileEntry, group: int, row: int, columns: Sequence[str]
    ) -> dict[str, bytes | None]:
        """Return blob columns of one row: the page index, then one page a column;
        ArchiveDamaged.
        """
        pages = self.pages(entry, group, columns)

        def value(name: str) -> bytes | None:
            return pages[name].read(partial(self._fetch, entry), row)

        try:
            if self.storage.is_local or len(pages) == 1:
                values = [value(name) for name in pages]
            else:
                with ThreadPoolExecutor(min(self._threads, len(pages) or 1)) as pool:
                    values = list(pool.map(value, pages))
        except ArchiveDamaged as error:
            raise ArchiveDamaged(f"{entry.path}: row group {group}: {error}") from None
        self.counter.add(wanted=sum(len(value or b"") for value in values))
        return dict(zip(pages, values, strict=True))

    def pages(self, entry: FileEntry, group: int, columns: Sequence[str]) -> dict[str, BlobPages]:
        """Return the pages of blob columns of a row group, from its page index; ArchiveDamaged."""
        rows = entry.row_groups[group]
        chunks = self.chunks(entry, group, columns)
        indices = self._offset_indices(entry, group, columns)
        schema = self.footer(entry).schema
        try:
            return {
                name: blob_pages(
                    indices[name], chunks[name], rows, nullable=schema.field(name).nullable
                )
                for name in columns
            }
        except ArchiveDamaged as error:
            raise ArchiveDamaged(f"{entry.path}: row group {group}: {error}") from None

    def page(self, entry: FileEntry, pages: BlobPages, number: int) -> list[bytes | None]:
        """Return the values of one page of a column of `pages`; ArchiveDamaged."""
        try:
            values = pages.values(partial(self._fetch, entry), number)
        except ArchiveDamaged as error:
            raise ArchiveDamaged(f"{entry.path}: {error}") from None
        self.counter.add(wanted=sum(len(value or b"") for value in values))
        return values

    def blob_pages(
        self, entry: FileEntry, columns: Sequence[str]
    ) -> list[dict[str, BlobPages] | None]:
        """Return the pages of blob columns for each row group of a file, by few requests.

        None for a row group whose page index is damaged or missing.
        """
        footer = self.footer(entry)
        known = [[group.indices.get(name, (0, 0)) for name in columns] for group in footer.groups]
        parts = self._fetch_all(entry, coalesce(chain.from_iterable(known), waste=8.0))
        found: list[dict[str, BlobPages] | None] = []
        for number, (ranges, rows) in enumerate(zip(known, entry.row_groups, strict=True)):
            try:
                chunks = self.chunks(entry, number, columns)
                found.append({
                    name: blob_pages(
                        _within(parts, place), chunks[name], rows,
                        nullable=footer.schema.field(name).nullable,
                    )
                    for name, place in zip(columns, ranges, strict=True)
                })  # fmt: skip
            except ArchiveDamaged:
                found.append(None)
        return found

    def fetch_each(self, entry: FileEntry, ranges: Sequence[Range]) -> list[bytes]:
        """Return the bytes of several ranges, fetched in one parallel round; ArchiveDamaged."""
        if self.storage.is_local or len(ranges) < 2:
            return [self._fetch(entry, *one) for one in ranges]
        with ThreadPoolExecutor(min(MOST_REQUESTS, len(ranges))) as pool:
            return list(pool.map(lambda one: self._fetch(entry, *one), ranges))

    def _offset_indices(
        self, entry: FileEntry, group: int, columns: Sequence[str]
    ) -> dict[str, bytes]:
        known = self.footer(entry).groups[group].indices
        missing = [name for name in columns if name not in known]
        if missing:
            raise ArchiveDamaged(f"{entry.path}: no page index for {missing[0]!r}")
        found = {}
        for start, stop in coalesce((known[name] for name in columns), waste=8.0):
            data = self._fetch(entry, start, stop)
            for name in columns:
                first, last = known[name]
                if start <= first and last <= stop:
                    found[name] = data[first - start : last - start]
        return found

    def chunks(self, entry: FileEntry, group: int, columns: Iterable[str]) -> dict[str, Range]:
        """Return the position of each column's chunk in the file: path of the Parquet leaf ->
        range.
        """
        names = set(columns)
        chunks = self.footer(entry).groups[group].chunks
        found = {path: chunk for path, chunk in chunks.items() if _column_of(path, names)}
        missing = names - {_column_of(path, names) for path in found}
        if missing:
            raise ArchiveDamaged(f"{entry.path}: no column {min(missing)!r}")
        return found

    def read(
        self, entry: FileEntry, group: int, columns: Sequence[str], *, checked: bool = True
    ) -> pa.Table:
        """Return columns of one row group, in the order of the file.

        Raises ArchiveDamaged if bytes are missing, or page checksums (unless not `checked`) or the
        encoding are wrong.
        """
        chunks = self.chunks(entry, group, columns)
        parts = self._fetch_all(entry, coalesce(chunks.values()))
        file = ChunkFile(entry.bytes, parts)
        kinds = self.footer(entry).groups[group].kinds
        source = pa.PythonFile(file, mode="r")
        try:
            for path, (start, stop) in chunks.items():
                file.seek(start)
                check_unpacked(file.read(stop - start), *kinds[path])
            file.seek(0)
            parquet = pq.ParquetFile(
                source,
                metadata=self.footer(entry).metadata,
                pre_buffer=False,
                page_checksum_verification=checked,
            )
            table = parquet.read_row_group(group, columns=list(columns), use_threads=False)
            table.validate(full=True)
        except (*ARROW_ERRORS, ArchiveDamaged) as error:
            raise ArchiveDamaged(f"{entry.path}: row group {group}: {first_line(error)}") from None
        if table.num_rows != entry.row_groups[group]:
            raise ArchiveDamaged(f"{entry.path}: row group {group}: {table.num_rows} rows")
        if absent := set(columns).difference(table.column_names):  # chunks have other names
            raise ArchiveDamaged(f"{entry.path}: the schema has no column {min(absent)!r}")
        required = next(filter(is_layer, self.footer(entry).schema.names), "")
        failed = entry.path.startswith(f"{FAILED}/")
        if reason := breach(table, failed=failed, required=required):
            raise ArchiveDamaged(f"{entry.path}: row group {group}: {reason}")
        small = sum(stop - start for path, (start, stop) in chunks.items() if not is_blob(path))
        blobs = sum(blob_bytes(table, name) for name in table.column_names if is_blob(name))
        self.counter.add(wanted=small + blobs)
        return table

    def difference(self, entry: FileEntry) -> str:
        """Return how a file differs from the committed one; "" if it does not."""
        try:
            size = self.storage.size(entry.path)
        except FileNotFoundError:
            return "the file is missing"
        if size != entry.bytes:
            return f"{size} bytes, not {entry.bytes}"
        digest = hashlib.sha256()
        for start in range(0, size, REQUEST_BYTES):
            digest.update(self._fetch(entry, start, min(start + REQUEST_BYTES, size)))
        same = digest.hexdigest() == entry.sha256
        return "" if same else "the content does not match its checksum"

    def _fetch_all(self, entry: FileEntry, ranges: Sequence[Range]) -> list[tuple[int, bytes]]:
        requests = [
            (start, min(start + REQUEST_BYTES, stop))
            for first, stop in ranges
            for start in range(first, stop, REQUEST_BYTES)
        ]
        if self.storage.is_local or len(requests) == 1:
            return [(start, self._fetch(entry, start, stop)) for start, stop in ranges]
        with ThreadPoolExecutor(min(self._threads, len(requests))) as pool:
            fetched = list(pool.map(lambda request: self._fetch(entry, *request), requests))
        by_start = {start: data for (start, _), data in zip(requests, fetched, strict=True)}
        return [
            (
                first,
                b"".join(by_start[start] for start in range(first, stop, REQUEST_BYTES)),
            )
            for first, stop in ranges
        ]

    def _fetch(self, entry: FileEntry, start: int, stop: int) -> bytes:
        if not 0 <= start <= stop <= entry.bytes:
            raise ArchiveDamaged(f"{entry.path}: bytes {start} to {stop} of {entry.bytes}")
        try:
            data = self.storage.read_range(entry.path, start, stop)
        except FileNotFoundError:
            raise FileMissing(f"{entry.path}: the file is missing") from None
        self.counter.add(fetched=len(data), requests=1)
        if len(data) != stop - start:
            raise ArchiveDamaged(f"{entry.path}: cut, {len(data)} of {stop - start} bytes there")
        return data


def blob_bytes(table: pa.Table, name: str) -> int:
    """Return the total length of a blob column's values in bytes."""
    return int(pc.sum(pc.binary_length(table.column(name))).as_py() or 0)


def _within(parts: Iterable[tuple[int, bytes]], place: Range) -> bytes:
    """Return bytes of a file from those of its parts; b"" if no part holds them."""
    start, stop = place
    for first, data in parts:
        if first <= start and stop <= first + len(data):
            return data[start - first : stop - first]
    return b""


def _column_of(path: str, names: Container[str]) -> str:
    """Return the column, one of `names`, that a Parquet leaf belongs to; "" if it is another's.

    A path is the column's name, and for lists more parts behind dots; a name may have dots too.
    """
    while path and path not in names:
        path = path.rpartition(".")[0]
    return path
