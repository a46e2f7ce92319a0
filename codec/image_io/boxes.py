"""A reader of the boxes of HEIF files: items, their properties, and where their bytes lie.

Every offset and count is checked against the available bytes, and the number of boxes is limited.

Sources: ISO/IEC 14496-12 section 4.2 (boxes) and 8.11 (items); ISO/IEC 23008-12 section 6 (image
items and their properties).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from underpaint.codec.errors import PictureDamaged
from underpaint.codec.limits import MAX_PICTURE_PARTS


@dataclass
class Item:
    """An item: its type, its properties as (type, content), and its extents as (start, length).

    `extents` is None if the bytes lie in another file or are derived from other items.
    """

    type: bytes = b""
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)
    extents: list[tuple[int, int]] | None = None


@dataclass(frozen=True)
class Items:
    """The items of a file, the primary one, and references as (type, from, to)."""

    items: dict[int, Item]
    primary: int
    references: list[tuple[bytes, int, tuple[int, ...]]]

    def referring(self, kind: bytes, to: int) -> list[int]:
        """Return the items that refer to an item, such as the metadata (b"cdsc") of a picture."""
        return [
            source for type, source, targets in self.references if type == kind and to in targets
        ]

    def referred(self, kind: bytes, source: int) -> list[int]:
        """Return the items that an item refers to, such as the tiles (b"dimg") of a grid."""
        return [
            target
            for type, item, targets in self.references
            if type == kind and item == source
            for target in targets
        ]


class _Cursor:
    """Reads big-endian integers from a range of bytes."""

    def __init__(self, data: bytes, start: int, stop: int) -> None:
        self._data, self.at, self._stop = data, start, stop

    def uint(self, size: int) -> int:
        """Read an integer of `size` bytes; of 0 bytes it is 0."""
        if self.at + size > self._stop:
            raise PictureDamaged("HEIF box is cut")
        self.at += size
        return int.from_bytes(self._data[self.at - size : self.at], "big")


def boxes(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of the content of each box in a range of bytes.

    Raises PictureDamaged if a box ends behind the range.
    """
    for _ in range(MAX_PICTURE_PARTS):
        if start + 8 > stop:
            return
        cursor = _Cursor(data, start, stop)
        size, kind = cursor.uint(4), data[start + 4 : start + 8]
        cursor.at += 4
        if size == 1:
            size = cursor.uint(8)
        end = start + size if size else stop
        if end > stop or end < cursor.at:
            raise PictureDamaged(f"the file is cut in its {kind.decode('latin-1')!r} box")
        yield kind, cursor.at, end
        start = end
    raise PictureDamaged(f"HEIF has more than {MAX_PICTURE_PARTS} boxes")


def read_items(data: bytes) -> Items | None:
    """Return the items of a file; None if it has no `meta` box, as a file of tracks only."""
    metas = [(start, end) for kind, start, end in boxes(data, 0, len(data)) if kind == b"meta"]
    if not metas:
        return None
    start, end = metas[0]
    found = {kind: (at, stop) for kind, at, stop in boxes(data, start + 4, end)}
    items: dict[int, Item] = {}
    if b"iinf" in found:
        _read_types(data, *found[b"iinf"], items)
    if b"iprp" in found:
        _read_properties(data, *found[b"iprp"], items)
    if b"iloc" in found:
        _read_extents(data, *found[b"iloc"], items, found.get(b"idat"))
    references = list(_references(data, *found[b"iref"])) if b"iref" in found else []
    if b"pitm" not in found:
        raise PictureDamaged("HEIF names no primary picture")
    cursor = _Cursor(data, *found[b"pitm"])
    primary = cursor.uint(4 if _version(cursor) else 2)
    return Items(items, primary, references)


def _version(cursor: _Cursor) -> int:
    return cursor.uint(4) >> 24


def _read_types(data: bytes, start: int, stop: int, items: dict[int, Item]) -> None:
    cursor = _Cursor(data, start, stop)
    cursor.uint(2 if _version(cursor) == 0 else 4)
    for kind, at, end in boxes(data, cursor.at, stop):
        entry = _Cursor(data, at, end)
        version = _version(entry)
        if kind != b"infe" or version < 2:
            continue
        number = entry.uint(2 if version == 2 else 4)
        entry.uint(2)
        items.setdefault(number, Item()).type = entry.uint(4).to_bytes(4, "big")


def _read_properties(data: bytes, start: int, stop: int, items: dict[int, Item]) -> None:
    properties: list[tuple[bytes, bytes]] = []
    entries = 0
    for kind, at, end in boxes(data, start, stop):
        if kind == b"ipco":
            properties = [(name, data[a:b]) for name, a, b in boxes(data, at, end)]
        elif kind == b"ipma":
            cursor = _Cursor(data, at, end)
            head = cursor.uint(4)
            for _ in range(cursor.uint(4)):
                item = items.setdefault(cursor.uint(4 if head >> 24 else 2), Item())
                count = cursor.uint(1)
                entries += count
                if entries > MAX_PICTURE_PARTS:
                    raise PictureDamaged("HEIF has too many properties")
                for _ in range(count):
                    index = cursor.uint(2) & 0x7FFF if head & 1 else cursor.uint(1) & 0x7F
                    if 0 < index <= len(properties):
                        item.properties.append(properties[index - 1])


def _read_extents(
    data: bytes, start: int, stop: int, items: dict[int, Item], idat: tuple[int, int] | None
) -> None:
    cursor = _Cursor(data, start, stop)
    version = _version(cursor)
    sizes = cursor.uint(2)
    offset_size, length_size, base_size, index_size = (
        sizes >> shift & 15 for shift in (12, 8, 4, 0)
    )
    for _ in range(cursor.uint(4 if version == 2 else 2)):
        item = items.setdefault(cursor.uint(4 if version == 2 else 2), Item())
        method = cursor.uint(2) & 15 if version else 0
        elsewhere = cursor.uint(2)
        base = cursor.uint(base_size)
        extents = []
        for _ in range(cursor.uint(2)):
            cursor.uint(index_size if version else 0)
            extents.append((base + cursor.uint(offset_size), cursor.uint(length_size)))
        if elsewhere or method > 1 or (method == 1 and idat is None):
            continue
        first, last = idat if method == 1 and idat else (0, len(data))
        item.extents = [(first + at, length or last - first - at) for at, length in extents]
        if any(at + length > last for at, length in item.extents):
            raise PictureDamaged("the file is cut: its pictures end outside of it")


def _references(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, tuple[int, ...]]]:
    cursor = _Cursor(data, start, stop)
    size = 4 if _version(cursor) else 2
    for kind, at, end in boxes(data, cursor.at, stop):
        entry = _Cursor(data, at, end)
        source = entry.uint(size)
        yield kind, source, tuple(entry.uint(size) for _ in range(entry.uint(2)))
