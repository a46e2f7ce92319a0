"""Bounds the memory that a column chunk unpacks to, before pyarrow unpacks it.

A page of a kilobyte can claim, in well-formed zstd, run lengths or dictionary indices, to hold
terabytes. Page headers record unpacked sizes and numbers of values; a dictionary's longest value
times the values that may refer to it bounds the rest. Numbers are those of Parquet's Thrift files.
"""

from __future__ import annotations

import pyarrow as pa

from underpaint.codec import limits
from underpaint.codec.archive.parquet.pages import read_struct
from underpaint.codec.errors import ArchiveDamaged

_DATA, _DICTIONARY, _DATA_2 = 0, 2, 3
_EXPANDING = 7
"""DELTA_BYTE_ARRAY: each value may repeat all of the previous one."""

_BYTE_ARRAY = 6
_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}

_VALUE_BYTES = 16
"""Memory of a value besides the bytes of a text: an offset, a number, levels."""


def check_unpacked(chunk: bytes | memoryview, kind: int, codec: int) -> None:
    """Raise ArchiveDamaged if a chunk may unpack to more than `limits.MAX_UNPACKED_BYTES`.

    `kind` and `codec` are the physical type and the compression that the footer gives the chunk.
    """
    total = values = at = 0
    dictionaries: list[tuple[bytes, int, int]] = []
    try:
        while at < len(chunk):
            header, at = read_struct(chunk, at)
            page, unpacked, packed = header[1], header[2], header[3]
            if unpacked < 0 or not 0 <= packed <= len(chunk) - at:
                raise ValueError("page sizes")
            total += unpacked
            if page == _DICTIONARY:
                dictionaries.append((bytes(chunk[at : at + packed]), unpacked, header[7][1]))
            elif page in (_DATA, _DATA_2):
                count = header[5 if page == _DATA else 8]
                if count[1] < 0 or count[2 if page == _DATA else 4] == _EXPANDING:
                    raise ValueError("page values")
                values += count[1]
            at += packed
        longest = sum(unpacked for _, unpacked, _ in dictionaries)
        if _fits(total, values, 0) and not _fits(total, values, longest):
            longest = sum(_longest(*found, kind, codec) for found in dictionaries)
    except (KeyError, IndexError, TypeError, ValueError, pa.ArrowException, OSError) as error:
        raise ArchiveDamaged(f"page header: {type(error).__name__}") from None
    if not _fits(total, values, longest):
        raise ArchiveDamaged(f"a column that unpacks to over {limits.MAX_UNPACKED_BYTES} bytes")


def _fits(total: int, values: int, longest: int) -> bool:
    return total + values * (_VALUE_BYTES + longest) <= limits.MAX_UNPACKED_BYTES


def _longest(page: bytes, unpacked: int, count: int, kind: int, codec: int) -> int:
    """Return the length of the longest value of a dictionary page in bytes."""
    if kind != _BYTE_ARRAY:
        return unpacked // max(1, count)
    if codec:
        page = pa.decompress(page, unpacked, _CODECS[codec], asbytes=True)
    longest = at = 0
    while at + 4 <= len(page):
        length = int.from_bytes(page[at : at + 4], "little")
        longest, at = max(longest, length), at + 4 + length
    return longest
