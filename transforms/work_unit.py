"""A work unit from its inputs to its commit: read, decode, batch, encode, write.

    source ─records─> Prefetcher ─pictures─> window ─batches by shape─> codec ─layers─> writer
                          │ read, decode          │ encode                   │ write
                          └───────────────────────┴─────── dead letters ─────┘

Rows are written in the order of the inputs. Every input of the unit becomes one row or one dead
letter. A fault that no input causes (storage full, weights gone) fails the whole unit, which then
leaves nothing behind.
"""

from __future__ import annotations

import base64
import json
import logging
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from underpaint.codec.archive import ArchiveWriter, Commit, DeadLetter, Row
from underpaint.codec.archive.commits import read_commit
from underpaint.codec.archive.key_conflicts import key_for, note_of
from underpaint.codec.errors import (
    DuplicateKey,
    RowInvalid,
    ShardCut,
    UnderpaintError,
    UnitConflict,
)
from underpaint.codec.image_io.read import Picture
from underpaint.codec.storage.files import Storage
from underpaint.codec.storage.redaction import redacted
from underpaint.transforms.batching import halving, shape_batches
from underpaint.transforms.embedding import STAGE as EMBED
from underpaint.transforms.embedding import Embedder
from underpaint.transforms.held import Held
from underpaint.transforms.identity import RENAME, Identity, conflict_error
from underpaint.transforms.job_plan import DUPLICATE
from underpaint.transforms.picture_process import too_large_for_memory
from underpaint.transforms.prefetch import Prefetcher, Ready
from underpaint.transforms.progress import Counts, ProgressStore, peak_memory
from underpaint.transforms.records import (
    EMPTY_SHARD,
    LISTED_TWICE,
    Item,
    NotAPicture,
    Record,
    Skipped,
    WorkUnit,
    clean_key,
    short_hash,
)
from underpaint.transforms.settings import Settings
from underpaint.transforms.sources import Source
from underpaint.transforms.sources.base import failing
from underpaint.transforms.sources.labels import MISFITS, Labels, cause, fit, misfit, misfit_cause

LEAST_PIXELS = 1 << 19
"""Fewest pixels worth a call of the codec while other pictures are still being decoded."""

TRACE_CHARACTERS = 4_000

MOST_LATE_LABELS = 64
"""Most label columns that a unit adds to those known before."""

_LOG = logging.getLogger(__name__)

Stream = tuple[bytes, ...]


class Encoder(Protocol):
    """The part of the codec that a unit uses."""

    def encode(
        self,
        images: Sequence[np.ndarray],
        *,
        layers: int | None = None,
        effort: int = 1,
        sizes: Sequence[int] = (),
    ) -> list[tuple[bytes, ...]]:
        """Return the layers of each picture."""
        ...


@dataclass(frozen=True)
class Exclusions:
    """Records that a unit must leave out."""

    identity: Identity
    """Decides about records of shards that the archive may hold already."""
    duplicates: Mapping[str, str]
    """Key of each duplicate -> key of the picture that has the same bytes and is stored."""


def encode_unit(
    unit: WorkUnit,
    retries: str | None,
    source: Source,
    encoder: Encoder,
    settings: Settings,
    prefetcher: Prefetcher,
    progress_store: ProgressStore | None = None,
    exclusions: Exclusions | None = None,
    embedder: Embedder | None = None,
    records: Iterable[Record | Skipped] | None = None,
) -> Counts:
    """Encode and commit one work unit; return its counts.

    A unit that is committed by now (by another run, or by this one before its runner tried a bundle
    again) is not done again, and of two runs that do one at the same time the first commit stands.
    `embedder` is there where the settings have an embedding, `records` for a part of an open-ended
    span (see `Source.stream`).
    """
    storage = Storage(settings.archive)
    with suppress(FileNotFoundError):
        counts = replace(counts_of(read_commit(storage, unit.name)), input_bytes=unit.size)
        if progress_store:
            progress_store.add(counts, now=True)
        return counts
    writer = settings.writer(unit.name, retries)
    work = _Work(unit, writer, encoder, embedder, settings, progress_store)
    if retries is not None:
        for reason, count in read_commit(storage, retries).skipped.items():
            writer.skip(reason, count)
    with suppress(UnitConflict), writer:
        work.run(
            records_of(unit, source, records),
            prefetcher,
            exclusions or Exclusions(Identity(Held()), {}),
        )
    if progress_store:
        final = Counts(input_bytes=unit.size, units=1, peak_memory=peak_memory())
        progress_store.add(final, now=True)
    return work.counts + Counts(input_bytes=unit.size, units=1, peak_memory=peak_memory())


def counts_of(commit: Commit) -> Counts:
    """Return the counts that a commit records."""
    return Counts(
        images=commit.rows,
        failed=commit.dead_letters,
        pixels=commit.pixels,
        bytes_in=commit.source_bytes,
        bytes_out=sum(commit.layer_bytes),
        input_bytes=commit.source_bytes,
        units=1,
        causes=commit.failures,
        skipped=commit.skipped,
    )


def records_of(
    unit: WorkUnit, source: Source, records: Iterable[Record | Skipped] | None = None
) -> Iterator[Record | Skipped]:
    """Yield the records of a unit; `records` are those of a part of an open-ended span.

    A record that cannot be read is yielded too, and fails when it is fetched. If a shard breaks off
    and the number of lost records is unknown, one record stands for them (ShardCut).
    """
    if unit.shard is None or unit.span is None:
        yield from (_record_of(item, source) for item in unit.items)
        return
    span = unit.span
    if span.empty:
        yield Skipped(unit.shard.uri, EMPTY_SHARD)
        return
    done = 0
    trouble: Exception | None = None
    if span.broken:
        trouble = ShardCut(span.broken)
    else:
        try:
            for record in source.read(unit.shard, span) if records is None else records:
                yield record
                done += isinstance(record, Record)
        except Exception as error:  # a shard format raises any error; it ends the span
            trouble = error
    lost = span.records - done
    if trouble is None and lost > 0:
        trouble = OSError(f"{lost} records of the span are not there any more")
    if trouble:
        for ordinal in range(span.first + done, span.first + done + max(1, lost)):
            yield Record(lost_key(unit, ordinal), unit.shard.uri, failing(trouble))


def lost_key(unit: WorkUnit, ordinal: int) -> str:
    """Return the key of a record of a shard whose own key could not be read; "" without a shard."""
    return clean_key(f"{unit.shard.prefix}@{ordinal:08d}") if unit.shard else ""


def _record_of(item: Item, source: Source) -> Record:
    record = replace(source.record(item), version=item.version)
    if item.conflict:
        return replace(record, fetch=failing(conflict_error(item.conflict)))
    return replace(record, notes=(*record.notes, item.note)) if item.note else record


def metadata_text(picture: Picture, kept: str) -> str | None:
    """Return a picture's metadata as the archive stores it; None if nothing is kept or there is
    nothing.

    `kept` is "basic", "exif" or "none".
    """
    if kept == "none":
        return None
    found = dict(picture.metadata)
    if kept == "exif" and picture.exif:
        found["exif"] = base64.b64encode(picture.exif).decode()
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")) if found else None


class _Work:
    """The state of one unit while it is being encoded."""

    def __init__(
        self,
        unit: WorkUnit,
        writer: ArchiveWriter,
        encoder: Encoder,
        embedder: Embedder | None,
        settings: Settings,
        progress_store: ProgressStore | None,
    ) -> None:
        self.counts = Counts()
        self._unit, self._writer, self._encoder = unit, writer, encoder
        self._embedder, self._settings, self._progress_store = embedder, settings, progress_store
        self._known_labels = Labels(settings.labels, settings.stated_labels)
        self._known_types = {item.name: item.type for item in settings.labels}
        self._missing: dict[str, None] = dict.fromkeys(unit.only or ())
        self._written: set[str] = set()
        """Hashes of key and `_identity` of the pictures written so far."""

    def run(
        self, found: Iterator[Record | Skipped], prefetcher: Prefetcher, exclusions: Exclusions
    ) -> None:
        records = self._wanted(found, exclusions)
        window: list[Ready] = []
        pixels = 0
        for ready in prefetcher.ready(records):
            if ready is None:  # the next picture is not ready: encode those that are
                if pixels >= LEAST_PIXELS:
                    self._encode(window)
                    window, pixels = [], 0
                continue
            size = _pixels(ready)
            if window and pixels + size > self._settings.window_pixels:
                self._encode(window)
                window, pixels = [], 0
            window.append(ready)
            pixels += size
            if len(window) >= 1024:
                self._encode(window)
                window, pixels = [], 0
        self._encode(window)
        self._report_missing()
        for letter in self._unit.carried:
            carried = DeadLetter(*letter)
            self._writer.fail(carried)
            self._count(Counts(failed=1, causes={f"{carried.stage}: {carried.error}": 1}))

    def _wanted(
        self, records: Iterator[Record | Skipped], exclusions: Exclusions
    ) -> Iterator[Record]:
        ordinal = self._unit.span.first if self._unit.span else 0
        for record in records:
            if isinstance(record, Skipped):
                if self._unit.only is None:  # a retry takes these counts from the unit it retries
                    self._skip(record.reason)
                continue
            own_key = record.key
            names = {record.key, lost_key(self._unit, ordinal)} & self._missing.keys()
            ordinal += 1
            if self._unit.only is not None:
                if not names:
                    continue
                for name in names:
                    del self._missing[name]
            elif self._unit.shard is not None:  # loose pictures are compared in the plan
                decided = exclusions.identity.record(record)
                if decided is None:
                    self._count(Counts(done_before=1))
                    continue
                if isinstance(decided, Exception):
                    record = replace(record, fetch=failing(decided))
                else:
                    record = decided
            if own_key in exclusions.duplicates:
                of = exclusions.duplicates[own_key]
                record = Record(record.key, record.uri, failing(_Duplicate(f"same bytes as {of}")))
            yield record

    def _report_missing(self) -> None:
        for key in self._missing:
            uri = self._unit.shard.uri if self._unit.shard else ""
            error = FileNotFoundError("the record is not among the inputs any more")
            self._fail(Record(key, uri, failing(error)), "read", error)

    def _encode(self, window: Sequence[Ready]) -> None:
        able = [i for i, ready in enumerate(window) if self._fits(ready)]
        shapes = [_shape(window[i]) for i in able]
        streams: dict[int, Stream | Exception] = {}
        for batch in shape_batches(shapes, self._settings.window_pixels):
            chosen = [able[index] for index in batch]
            results = halving(self._layers, [_array(window[i]) for i in chosen])
            streams.update(zip(chosen, results, strict=True))
        vectors: dict[int, np.ndarray | Exception] = {}
        if self._embedder:
            sound = [i for i in able if not isinstance(streams[i], Exception)]
            embedded = self._embedder.embed([_array(window[i]) for i in sound])
            vectors.update(zip(sound, embedded, strict=True))
        for index, ready in enumerate(window):
            self._write(ready, streams.get(index), vectors.get(index))

    def _layers(self, images: Sequence[np.ndarray]) -> list[Stream]:
        settings = self._settings
        return self._encoder.encode(
            images,
            layers=len(settings.layer_names),
            effort=settings.effort,
            sizes=settings.sizes,
        )

    def _fits(self, ready: Ready) -> bool:
        return ready.picture is not None and _pixels(ready) <= self._settings.largest_pixels

    def _write(
        self,
        ready: Ready,
        stream: Stream | Exception | None,
        embedding: np.ndarray | Exception | None,
    ) -> None:
        record, picture = ready.record, ready.picture
        if isinstance(ready.error, NotAPicture):
            self._skip(ready.error.reason)
            return
        if picture is None:
            self._fail(record, ready.stage, ready.error or RuntimeError("no picture"))
            return
        height, width = picture.pixels.shape[:2]
        if stream is None:
            stream = too_large_for_memory(width, height, self._settings.largest_pixels)
        if isinstance(stream, Exception):
            self._fail(record, "encode", stream)
            return
        if isinstance(embedding, Exception):
            self._fail(record, EMBED, embedding)
            return
        labels, misfits, left_out = self._labels(record)
        row = Row(
            key=record.key,
            layers=tuple(stream),
            width=width,
            height=height,
            source_uri=record.uri,
            source_sha256=ready.sha256,
            source_bytes=ready.source_bytes,
            source_version=record.version or None,
            source_format=picture.format,
            notes=(*picture.notes, *record.notes, *misfits),
            metadata=metadata_text(picture, self._settings.metadata),
            labels=labels,
            embedding=embedding,
            source=ready.data if self._settings.keep_source else None,
        )
        mark = short_hash(f"{row.key} {_identity(row)}", 32)
        if mark in self._written:
            self._skip(LISTED_TWICE)
            return
        try:
            self._add(row)
        except (RowInvalid, DuplicateKey) as error:
            self._fail(record, "write", error)
            return
        self._written.add(mark)
        self._count(
            Counts(
                images=1,
                pixels=width * height,
                bytes_in=row.source_bytes,
                bytes_out=sum(map(len, stream)),
                labels_left_out=dict(Counter(left_out)),
            )
        )

    def _labels(self, record: Record) -> tuple[dict[str, Any], list[str], list[str]]:
        """Return the labels of a record, and notes and causes of lost ones, after adding columns.

        A label that only this unit knows becomes a column, whose type is the union over the unit.
        A column that was known before widens as `Labels.column_type` says.
        """
        labels, notes, left_out = dict(record.labels), [], list(record.labels_left_out)
        known = self._known_labels
        for name, kind in record.label_types.items():
            late = self._writer.columns.labels
            if name not in late.names and len(late) - len(known.schema) >= MOST_LATE_LABELS:
                del labels[name]
                notes.append(f"label {name!r} not stored: there are too many labels")
                left_out.append(cause(name, "too many labels"))
                continue
            self._writer.widen_labels(pa.schema([(name, known.column_type(name, kind))]))
        for item in self._writer.columns.labels:
            standing = self._known_types.get(item.name) == item.type
            if item.name not in labels or (standing and item.name not in record.label_types):
                continue
            try:
                labels[item.name] = fit(labels[item.name], item.type)
            except MISFITS:
                del labels[item.name]
                notes.append(misfit(item.name, item.type))
                left_out.append(misfit_cause(item.name, item.type))
        return labels, notes, left_out

    def _add(self, row: Row) -> None:
        """Write a row, under another key if the unit holds another picture of its key.

        Raises DuplicateKey where the policy on conflicts is not to rename.
        """
        try:
            self._writer.add(row)
        except DuplicateKey:
            if self._settings.on_conflict != RENAME:
                raise
            other = replace(row, notes=(*row.notes, note_of(row.key)))
            try:
                self._writer.add(replace(other, key=key_for(row.key, row.source_uri)))
            except DuplicateKey:  # a third member of one name in a shard
                self._writer.add(replace(other, key=key_for(row.key, _identity(row))))

    def _fail(self, record: Record, stage: str, error: Exception) -> None:
        duplicate = isinstance(error, _Duplicate)
        letter = DeadLetter(
            key=record.key,
            source_uri=redacted(record.uri),
            stage="deduplicate" if duplicate else stage,
            error=DUPLICATE if duplicate else type(error).__name__,
            message=redacted(" ".join(str(error).split()))[:1000],
            trace="" if isinstance(error, UnderpaintError | _Duplicate) else _trace(error),
        )
        try:
            self._writer.fail(letter)
        except DuplicateKey:
            free = f"{letter.key}@{self.counts.failed + self.counts.duplicates}"
            self._writer.fail(replace(letter, key=clean_key(free)))
        if duplicate:
            self._count(Counts(duplicates=1))
            return
        cause = f"{letter.stage}: {letter.error}"
        _LOG.warning("%s: %s: %s", letter.key, cause, letter.message)
        self._count(Counts(failed=1, causes={cause: 1}))

    def _skip(self, reason: str) -> None:
        self._writer.skip(reason)
        self._count(Counts(skipped={reason: 1}))

    def _count(self, counts: Counts) -> None:
        self.counts += counts
        if self._progress_store:
            self._progress_store.add(counts)


class _Duplicate(Exception):
    """The archive or the inputs hold a picture of the same bytes under another key."""


def _identity(row: Row) -> str:
    """Return a text that is the same for the same record of the same source."""
    return f"{row.source_uri} {row.source_sha256.hex()} {sorted(row.labels.items())}"


def _trace(error: Exception) -> str:
    return "".join(traceback.format_exception(error, limit=-8))[-TRACE_CHARACTERS:]


def _array(ready: Ready) -> np.ndarray:
    assert ready.picture
    return ready.picture.pixels


def _shape(ready: Ready) -> tuple[int, int]:
    height, width = _array(ready).shape[:2]
    return height, width


def _pixels(ready: Ready) -> int:
    return ready.picture.pixels.size // 3 if ready.picture else 0
