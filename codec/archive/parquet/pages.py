"""Reads one row's blobs without the rest of its row group, by Parquet's page index.

    footer ─> offset index of each blob column ─> the page that holds the row ─> its value

pyarrow reads whole column chunks only. Blob columns are written so that a short reader suffices:
uncompressed, PLAIN, data pages V1, small pages. Numbers are those of Parquet's Thrift files
(github.com/apache/parquet-format); Thrift's compact protocol is parsed generically.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from underpaint.codec import limits
from underpaint.codec.errors import ArchiveDamaged

Fetch = Callable[[int, int], bytes]
"""Returns bytes [start, stop) of the file."""

DATA_PAGE, PLAIN, RLE = 0, 0, 3
LONGEST_HEADER = 1 << 10
"""Bytes that suffice for a page header without statistics."""

_DEEPEST = 16
_BOOLEANS = {1: True, 2: False}


@dataclass(frozen=True)
class Page:
    """Position of one data page."""

    offset: int
    size: int
    """Including its header."""
    first_row: int


@dataclass(frozen=True)
class BlobPages:
    """The pages of one column chunk of blobs."""

    pages: tuple[Page, ...]
    rows: int
    nullable: bool

    def read(self, fetch: Fetch, row: int) -> bytes | None:
        """Return the value of a row of the group; ArchiveDamaged unless its page is intact."""
        number = self.page_of(row)
        return self.values(fetch, number)[row - self.pages[number].first_row]

    def page_of(self, row: int) -> int:
        """Return the number of the page that holds a row of the group."""
        return bisect_right([page.first_row for page in self.pages], row) - 1

    def values(self, fetch: Fetch, number: int) -> list[bytes | None]:
        """Return all values of a page; ArchiveDamaged unless it is intact."""
        page = self.pages[number]
        last = number + 1 == len(self.pages)
        end = self.rows if last else self.pages[number + 1].first_row
        data = fetch(page.offset, page.offset + page.size)
        return page_values(data, end - page.first_row, nullable=self.nullable)


def blob_pages(index: bytes, chunk: tuple[int, int], rows: int, *, nullable: bool) -> BlobPages:
    """Return the pages of a chunk of `rows` rows from its offset index.

    The index has no checksum, only consistency: the pages must fill `chunk`, its range in the file,
    without a gap. A wrong first row then shows in the number of values of its page.
    """
    try:
        locations = read_struct(index, 0)[0][1]
        pages = tuple(Page(one[1], one[2], one[3]) for one in locations)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ArchiveDamaged(f"page index: {type(error).__name__}") from None
    firsts = [page.first_row for page in pages]
    if not pages or firsts[0] != 0 or sorted(set(firsts)) != firsts or firsts[-1] >= rows:
        raise ArchiveDamaged("page index: pages out of order")
    at = chunk[0]
    for page in pages:
        if page.offset != at or not 0 < page.size <= limits.MAX_PAGE_BYTES:
            raise ArchiveDamaged("page index: the pages do not fill their column")
        at += page.size
    if at != chunk[1]:
        raise ArchiveDamaged("page index: the pages do not fill their column")
    return BlobPages(pages, rows, nullable)


def page_values(data: bytes, rows: int, *, nullable: bool) -> list[bytes | None]:
    """Return the values of one data page with its header; CRC-32, counts and lengths must be
    correct.
    """
    try:
        header, at = read_struct(data[:LONGEST_HEADER], 0)
        kind, size, crc, page = header[1], header[3], header[4], header[5]
        count, encoding = page[1], page[2]
        crc &= 0xFFFFFFFF
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ArchiveDamaged(f"page header: {type(error).__name__}") from None
    body = memoryview(data)[at:]
    if kind != DATA_PAGE or encoding != PLAIN or size != len(body) or header[2] != size:
        raise ArchiveDamaged("page header: not an uncompressed plain data page of this size")
    if zlib.crc32(body) != crc:
        raise ArchiveDamaged("page: CRC checksum verification failed")
    if count != rows:
        raise ArchiveDamaged(f"page: {count} values for {rows} rows")
    present = [True] * count
    at = 0
    if nullable:
        length = int.from_bytes(body[:4], "little")
        try:
            present = _levels(bytes(body[4 : 4 + length]), count)
        except (IndexError, ValueError):
            raise ArchiveDamaged("page: definition levels that do not end") from None
        at = 4 + length
    values: list[bytes | None] = []
    for there in present:
        if not there:
            values.append(None)
            continue
        length = int.from_bytes(body[at : at + 4], "little")
        at += 4 + length
        if at > len(body):
            raise ArchiveDamaged("page: a value is longer than its page")
        values.append(bytes(body[at - length : at]))
    return values


def _levels(data: bytes, count: int) -> list[bool]:
    """Decode definition levels of one bit each (RLE and bit-packed runs): is each value present?"""
    levels: list[bool] = []
    at = 0
    while len(levels) < count:
        if at >= len(data):
            raise ArchiveDamaged("page: too few definition levels")
        run, at = _varint(data, at)
        if run & 1:
            for byte in data[at : at + (run >> 1)]:
                levels += [bool(byte >> bit & 1) for bit in range(8)]
            at += run >> 1
        else:
            levels += [at < len(data) and data[at] == 1] * min(run >> 1, count - len(levels))
            at += 1
    return levels[:count]


def read_struct(data: bytes | memoryview, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Parse a struct of Thrift's compact protocol as {field id: value}; return it and its end.

    Raises IndexError or ValueError if the bytes are cut or malformed.
    """
    if depth > _DEEPEST:
        raise ValueError("too deep")
    fields: dict[int, Any] = {}
    number = 0
    while data[at] != 0:
        head = data[at]
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _zigzag(data, at)
        kind = head & 15
        if kind in _BOOLEANS:
            fields[number] = _BOOLEANS[kind]
        else:
            fields[number], at = _value(data, at, kind, depth)
    return fields, at + 1


def _value(data: bytes | memoryview, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (1, 2, 3):  # within lists a boolean is a byte
        return data[at], at + 1
    if kind in (4, 5, 6):
        return _zigzag(data, at)
    if kind == 7:
        return data[at : at + 8], at + 8
    if kind == 8:
        length, at = _varint(data, at)
        if at + length > len(data):
            raise ValueError("cut")
        return data[at : at + length], at + length
    if kind in (9, 10):
        return _list(data, at, depth)
    if kind == 12:
        return read_struct(data, at, depth + 1)
    raise ValueError(f"type {kind}")


def _list(data: bytes | memoryview, at: int, depth: int) -> tuple[list[Any], int]:
    length, kind = data[at] >> 4, data[at] & 15
    at += 1
    if length == 15:
        length, at = _varint(data, at)
    if length > len(data) - at:
        raise ValueError("a list longer than its bytes")
    items = []
    for _ in range(length):
        item, at = _value(data, at, kind, depth + 1)
        items.append(item)
    return items, at


def _varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("an integer of more than 64 bits")


def _zigzag(data: bytes | memoryview, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return value >> 1 ^ -(value & 1), at
