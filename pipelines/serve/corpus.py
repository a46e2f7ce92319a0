"""What the gallery shows of an archive: rows by number, their pictures, filters, likeness.

Everything is read-only and bounded: caches in bytes, results in rows, pictures in pixels. Several
threads may use a corpus at once.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from underpaint.codec.archive import Archive, Row
from underpaint.codec.archive.layer_columns import by_layer
from underpaint.codec.archive.parquet.pages import BlobPages
from underpaint.codec.archive.parquet.ranges import Range
from underpaint.codec.archive.row_numbers import RowNumbers, Span
from underpaint.codec.archive.schema import EMBEDDING, FIXED_NAMES, SOURCE
from underpaint.codec.archive.tables import joined, rows_of, vectors_of
from underpaint.codec.archive.tools.search import embeddings, near_duplicates
from underpaint.codec.archive.tools.view import StateView, state_of
from underpaint.codec.archive.unit_columns import digest
from underpaint.codec.codec import Codec
from underpaint.codec.errors import (
    ArchiveChanged,
    ArchiveDamaged,
    NotAnArchive,
    UnderpaintError,
    UsageError,
)
from underpaint.codec.storage.redaction import redacted
from underpaint.codec.transform.sizes import shrink_level, shrunk_sides
from underpaint.pipelines.serve.cache import Cache

PAGE_CACHE_BYTES = 64 << 20
"""Pages of layer columns and tables of small columns that are kept."""

FOUND_CACHE_BYTES = 32 << 20
"""Row numbers of filters that are kept: 8 bytes a row."""

STATE_CACHE_BYTES = 128 << 20
"""Decoded pictures that are kept with their class maps."""

MOST_PIXELS = 1 << 25
"""Most pixels of a picture that is decoded here; larger ones are shown at a smaller size."""

MOST_COMPARED = 200_000
"""Most rows among which near duplicates are searched: each is compared with all others."""

MOST_VALUES = 200
"""Most values of a label that are listed."""

LONGEST_TEXT = 2_000
"""Characters of a text that are shown."""

_GROUP_OVERHEAD = 2_000
"""Bytes that the description of a column's pages takes beside its pages, roughly."""


@dataclass(frozen=True)
class Filter:
    """Which rows are shown."""

    words: str = ""
    """Text that the key contains, as it is or as the page shows it, without regard to case."""
    labels: tuple[tuple[str, str], ...] = ()
    """Name of a label and the text of its value."""

    @property
    def everything(self) -> bool:
        """Whether all rows pass."""
        return not self.words and not self.labels


class Corpus:
    """An archive, and the codec that reads it."""

    def __init__(self, archive: Archive, codec: Codec) -> None:
        self.archive, self.codec = archive, codec
        self.numbers = RowNumbers(archive.manifest.units.groups)
        self._pages = Cache(PAGE_CACHE_BYTES)
        self._found = Cache(FOUND_CACHE_BYTES)
        self._states = Cache(STATE_CACHE_BYTES)
        self._damaged: set[tuple[int, int]] = set()
        self.version = _version(archive)
        """Changes with the content of the archive: part of the addresses of pictures."""

    def check_unchanged(self) -> None:
        """Raise ArchiveChanged if another archive, or none, is in the place of the one opened.

        Reads the manifest: for use where something cannot be read.
        """
        try:
            now = _version(Archive(self.archive.storage))
        except NotAnArchive:
            now = ""
        if now != self.version:
            raise ArchiveChanged(
                f"{self.archive.storage.root}: the archive has changed since it was opened; end "
                "`underpaint serve` and start it again"
            )

    # rows

    def rows(self, wanted: Sequence[int]) -> list[dict[str, Any]]:
        """Return number, key, width and height of rows by their numbers, in the order given.

        A row of a damaged file has its number and `damaged`, why it cannot be read.
        """
        found: list[dict[str, Any]] = []
        intact = True
        for number in wanted:
            try:
                key, width, height = self._listed(number)
            except ArchiveDamaged as error:
                if intact:
                    self.check_unchanged()
                    intact = False
                text = clipped(redacted(str(error)))
                found.append({"n": number, "key": f"{number}", "damaged": text})
                continue
            found.append({"n": number, "key": clipped(key), "width": width, "height": height})
        return found

    def row(self, number: int) -> Row:
        """Return all small columns of a row, without layers."""
        span = self._span(number)
        table = self._small(span, (*FIXED_NAMES, *self.archive.label_names))
        return next(rows_of(table.slice(span.start, 1)))

    def layers(self, number: int, layers: int | None, size: int | None) -> tuple[bytes, ...]:
        """Return the layers of a row, read page by page; neighbours come from the same pages."""
        span = self._span(number)
        names = self.archive.layer_columns(layers, size)
        cells = {name: self._cell(span, names, name) for name in names}
        chunks = (joined([cells[name] for name in of_layer]) for of_layer in by_layer(names))
        return tuple(chunk for chunk in chunks if chunk is not None)

    def stored_layers(self, number: int) -> dict[str, Any]:
        """Return where the layers of a row are stored; ArchiveDamaged.

        `file` is the path of the data file below the archive. `parts` has a list for each size, and
        in it for each layer the start and length of its part in the file, or None.
        """
        span = self._span(number)
        ranges = self.archive.data.layer_ranges(span.file, span.group, span.start)
        return {"file": self.archive.files[span.file].path, "parts": parts_of(ranges)}

    def original(self, number: int) -> bytes:
        """Return the stored bytes of the source, compared with their SHA-256.

        Raises UsageError if there are none, ArchiveDamaged if they differ.
        """
        if not self.archive.manifest.keeps_source:
            raise UsageError("this archive keeps no original files")
        span, row = self._span(number), self.row(number)
        data = self.archive.data.read_blobs(span.file, span.group, span.start, [SOURCE])[SOURCE]
        if data is None:
            raise UsageError("the original of this picture was not stored")
        if row.source_sha256 and hashlib.sha256(data).digest() != row.source_sha256:
            raise ArchiveDamaged("the stored original does not match its SHA-256")
        return data

    def number_of(self, key: str) -> int:
        """Return the number of the row with a key; NoSuchKey."""
        place = self.archive.place(key)
        return self.numbers.number(place.file, place.group, place.row)

    # pictures

    def preload(self) -> None:
        """Decode the first picture, so that the first request need not load compiled loops."""
        if len(self.archive):
            with suppress(UnderpaintError, OSError):
                self.thumbnail(0, 1, 128)
                self.state(0, 1, 128)

    def thumbnail(self, number: int, layers: int, size: int) -> np.ndarray:
        """Decode a row to uint8 [H, W, 3] without the network; UsageError over MOST_PIXELS."""
        wanted = self._bearable(number, size)
        chunks = self.layers(number, layers, self._stored(wanted))
        return self.codec.decode([chunks], size=wanted, refine=False)[0]

    def state(self, number: int, layers: int, size: int | None) -> StateView:
        """Return a row at a number of layers: pixels, class map and palette.

        Raises UsageError over MOST_PIXELS.
        """
        wanted = self._bearable(number, size)

        def decode() -> StateView:
            chunks = self.layers(number, layers, self._stored(wanted))
            row = replace(self.row(number), layers=chunks)
            return state_of(self.codec, row, self.archive.layer_names, size=wanted)

        return self._states.get(
            (number, layers, wanted),
            decode,
            lambda view: view.pixels.nbytes + view.class_map.nbytes + 200 * len(view.palette),
        )

    def _stored(self, size: int | None) -> int | None:
        """Return the size to read: the largest stored one, if pictures of `size` need all."""
        largest = self.archive.sizes[-1]
        return None if size is not None and 0 < largest < size else size

    def _bearable(self, number: int, size: int | None) -> int | None:
        """Return the size to decode; UsageError if it has too many pixels."""
        if size is None:
            size = self.archive.decoded_size(None)
        _, width, height = self._listed(number)
        level = shrink_level(height, width, size) if size else 0
        height, width = shrunk_sides(height, width, level)
        if height * width > MOST_PIXELS:
            raise UsageError(
                f"{width} x {height} pixels are too many for this page; choose a smaller size, or "
                "decode the picture with `underpaint decode`"
            )
        return size

    # filters

    @property
    def damaged(self) -> int:
        """Number of row groups that filters have left out because they are damaged."""
        return len(self._damaged)

    def find(self, wanted: Filter) -> np.ndarray | None:
        """Return the numbers of the rows that pass, int64; None if all do.

        Reads keys and labels of the whole archive, once for each filter. Rows whose keys or labels
        are damaged do not pass.
        """
        if wanted.everything:
            return None
        for name, _ in wanted.labels:
            self._check_label(name)
        return self._found.get(wanted, lambda: self._scan(wanted), lambda found: found.nbytes)

    def _scan(self, wanted: Filter) -> np.ndarray:
        words = {text.casefold() for text in (wanted.words, _unescaped(wanted.words))}
        names = list(dict.fromkeys(["key", *(name for name, _ in wanted.labels)]))
        parts = [np.zeros(0, np.int64)]
        for span in self.numbers.groups():
            table = self._intact(span, names)
            if table is None:
                continue
            passes = np.ones(table.num_rows, bool)
            if wanted.words:
                keys = [key.casefold() for key in table.column("key").to_pylist()]
                passes &= np.array([any(word in key for word in words) for key in keys], bool)
            for name, value in wanted.labels:
                texts = map(label_text, table.column(name).to_pylist())
                passes &= np.array([text == value for text in texts], bool)
            parts.append(np.flatnonzero(passes) + span.number)
        return np.concatenate(parts)

    def _intact(self, span: Span, names: Sequence[str]) -> pa.Table | None:
        """Return small columns of a row group; None if it is damaged, which `damaged` counts."""
        try:
            return self.archive.data.read_group(span.file, span.group, names)
        except ArchiveDamaged:
            if (span.file, span.group) not in self._damaged:
                self.check_unchanged()
                self._damaged.add((span.file, span.group))
            return None

    def label_values(self, name: str) -> tuple[list[tuple[str, int]], int]:
        """Return the most frequent values of a label with their counts, and the number of others.

        Reads the label of the whole archive.
        """
        self._check_label(name)

        def count() -> tuple[list[tuple[str, int]], int]:
            counts: Counter[str] = Counter()
            for span in self.numbers.groups():
                table = self._intact(span, [name])
                if table is None:
                    continue
                counts.update(map(label_text, table.column(0).to_pylist()))
                if len(counts) > 50 * MOST_VALUES:  # not a class, but a text for each picture
                    counts = Counter(dict(counts.most_common(MOST_VALUES)))
            return counts.most_common(MOST_VALUES), max(0, len(counts) - MOST_VALUES)

        return self._found.get(("values", name), count, lambda found: 200 * len(found[0]))

    def _check_label(self, name: str) -> None:
        if name not in self.archive.label_names:
            raise UsageError(f"no label {clipped(name)!r}")

    # likeness

    def similar(self, number: int, count: int) -> list[tuple[int, float]]:
        """Return the rows most similar to one by their embeddings, with the cosines; not itself."""
        span = self._span(number)
        if self.archive.manifest.embedding_size is None:
            raise UsageError("this archive has no embeddings; encode with --embedding NAME")
        vectors = self._embeddings(span)
        wanted = vectors[span.start].astype(np.float32)
        wanted /= max(float(np.linalg.norm(wanted)), 1e-12)
        best: list[tuple[float, int]] = []
        first = 0
        for keys, vectors in embeddings(self.archive):
            cosines = vectors @ wanted
            nearest = np.argsort(-cosines, kind="stable")[: count + 1]
            best += [(float(cosines[at]), first + int(at)) for at in nearest]
            best = sorted(best, key=lambda one: (-one[0], one[1]))[: count + 1]
            first += len(keys)
        return [(other, cosine) for cosine, other in best if other != number][:count]

    def duplicates(self, least: float, count: int) -> list[dict[str, Any]]:
        """Return `count` pairs of rows with at least this cosine: numbers, keys and the cosine.

        The most similar of them come first.

        Raises UsageError if the archive has more than MOST_COMPARED rows.
        """
        if len(self.archive) > MOST_COMPARED:
            raise UsageError(
                f"{len(self.archive):,} pictures are too many to compare all pairs here "
                f"(limit {MOST_COMPARED:,}): use `underpaint search --duplicates`"
            )
        pairs = [
            {
                "similarity": round(match.similarity, 4),
                "one": {"n": self.number_of(key), "key": clipped(key)},
                "other": {"n": self.number_of(match.key), "key": clipped(match.key)},
            }
            for key, match in islice(near_duplicates(self.archive, least), count)
        ]
        return sorted(pairs, key=lambda pair: -pair["similarity"])

    def _embeddings(self, span: Span) -> np.ndarray:
        table = self.archive.data.read_group(span.file, span.group, [EMBEDDING])
        return vectors_of(table.column(EMBEDDING))

    # reading

    def _span(self, number: int) -> Span:
        found = next(self.numbers.spans(number, number + 1), None)
        if number < 0 or found is None:
            raise UsageError(f"no picture number {number}: the archive has {len(self.archive)}")
        return found

    def _listed(self, number: int) -> tuple[str, int, int]:
        """Return key, width and height of a row."""
        span = self._span(number)
        table = self._small(span, ("key", "width", "height"))
        key, width, height = (table.column(name)[span.start].as_py() for name in table.column_names)
        return key, width, height

    def _small(self, span: Span, names: tuple[str, ...]) -> pa.Table:
        return self._pages.get(
            (span.file, span.group, names),
            lambda: self.archive.data.read_group(span.file, span.group, names).select(names),
            lambda table: table.nbytes + _GROUP_OVERHEAD,
        )

    def _cell(self, span: Span, names: Sequence[str], name: str) -> bytes | None:
        """Return a cell of a row; page indices are read for all columns of `names` together."""
        place = span.file, span.group

        def indices() -> dict[str, BlobPages]:
            return self.archive.data.blob_pages(*place, names)

        def nbytes(found: Mapping[str, BlobPages]) -> int:
            return sum(100 * len(pages.pages) + _GROUP_OVERHEAD for pages in found.values())

        pages = self._pages.get((*place, "pages", tuple(names)), indices, nbytes)[name]
        at = pages.page_of(span.start)
        values = self._pages.get(
            (*place, name, at),
            lambda: self.archive.data.blob_page(span.file, pages, at),
            lambda values: sum(len(value or b"") + 60 for value in values),
        )
        return values[span.start - pages.pages[at].first_row]

    def letters(self, start: int, count: int, cause: str) -> Iterator[dict[str, str]]:
        """Yield dead letters of one cause ("stage: error class"), or of all if it is empty."""
        letters = (
            letter
            for letter in self.archive.dead_letters()
            if not cause or cause == f"{letter.stage}: {letter.error}"
        )
        for letter in islice(letters, start, start + count):
            yield {
                name: clipped(getattr(letter, name))
                for name in ("key", "source_uri", "stage", "error", "message")
            }


def _version(archive: Archive) -> str:
    return digest(archive.manifest.units.column("content"))[:12]


def parts_of(ranges: Sequence[Sequence[Range | None]]) -> list[list[list[int] | None]]:
    """Return ranges of `Archive.layer_ranges` as pairs of start and length, for JSON."""
    return [[[one[0], one[1] - one[0]] if one else None for one in of_size] for of_size in ranges]


def clipped(text: str) -> str:
    """Return a text, cut behind LONGEST_TEXT characters with an ellipsis."""
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…"


def _unescaped(text: str) -> str:
    """Return a text with the escapes of `static/text.js` replaced by their characters."""
    return re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), text)


def label_text(value: Any) -> str:
    """Return the value of a label as a text of limited length; "∅" for none."""
    if value is None:
        return "∅"
    if isinstance(value, (dict, list)):
        return clipped(json.dumps(value, ensure_ascii=False, default=str))
    return clipped(str(value))
