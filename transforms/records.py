"""Data types of the encoding pipeline: inputs, work units and records.

    inputs --list--> Item, Shard --plan--> WorkUnit --read--> Record --decode, encode--> archive row

A *work unit* is a group of loose pictures, or a range of one shard, and produces one output file.
Its name depends on its inputs alone, so a second run recognises the units that are finished. Items
and units travel as JSON lines: small, readable, and the same for every runner.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa

from underpaint.codec import limits

UNKNOWN = -1
"""Size of an input whose listing gives no size."""


@dataclass(frozen=True)
class Item:
    """A picture in a file of its own."""

    key: str
    uri: str
    size: int = UNKNOWN
    """In bytes."""
    source: int = 0
    """Index of the source, among the job's sources, that lists it."""
    version: str = ""
    """Mark of the file's version from its listing (time of modification, ETag); "" if unknown."""
    note: str = ""
    """A note for the row, for example about another key."""
    conflict: str = ""
    """"Error: message" of a conflict with the archive; the item becomes a dead letter."""


@dataclass(frozen=True)
class Shard:
    """A file that holds many pictures."""

    uri: str
    prefix: str
    """Prefix of the keys of its records: the shard's path below the input folder, without suffix.
    """
    size: int = UNKNOWN
    """In bytes."""
    source: int = 0


@dataclass(frozen=True)
class Span:
    """A part of a shard that can be read by itself. The source defines the unit of `start` and
    `stop`.
    """

    start: int
    stop: int
    first: int
    """Index, within the shard, of the first record."""
    records: int
    """Number of records; 0 in a broken span, where it is unknown."""
    size: int
    """Number of the shard's bytes that the span stands for."""
    broken: str = ""
    """Why the rest of the shard cannot be read; empty for a sound span."""
    open_ended: bool = False
    """The span can only be read from its start in one pass: one worker reads it with
    `Source.stream`, which cuts it into closed spans on the way."""
    empty: bool = False
    """The shard is valid and has no records: the span stands for the shard itself."""
    rows: str = ""
    """Rows of a table that the span carries, so that the table is not read again."""


@dataclass(frozen=True)
class Part:
    """A span of a shard that was cut while the inputs were listed."""

    shard: Shard
    span: Span


@dataclass(frozen=True)
class Skipped:
    """A file, or a member of a shard, that is no picture and no label: it is counted, not read."""

    uri: str
    reason: str
    """Short and stable, because files are counted by it: the suffix (".txt"), or what the file is
    ("dot file", "link loop")."""


ENCODED = "encoded already"
"""Reason for which a file that holds the layers of a picture is skipped."""

EMPTY_SHARD = "empty shard"
"""Reason for which a shard without records is counted as skipped."""

LISTED_TWICE = "listed twice"
"""Reason for which a file or member that was read already in the same run is counted as skipped."""


def skipped_text(reasons: Mapping[str, int]) -> str:
    """Return counts of skipped files as text: "skipped 12: .txt 9, .mov 3"."""
    causes = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())
    return f"skipped {sum(reasons.values()):,}: {causes}"


def left_out_text(counts: Mapping[str, int]) -> Iterator[str]:
    """Yield "labels left out: cls 12 (not int64; …)" for each cause and its count."""
    for each, count in counts.items():
        name, _, reason = each.partition(": ")
        yield f"labels left out: {name} {count:,} ({reason})"


class NotAPicture(Exception):
    """Raised by `Record.fetch` for a file whose content shows that it is no picture.

    The record is counted as skipped, for the reason that the exception holds.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Record:
    """A picture whose bytes have not been fetched yet."""

    key: str
    uri: str
    fetch: Callable[[], bytes]
    """Returns the source bytes; raises whatever reading raises, and NotAPicture."""
    size: int = UNKNOWN
    labels: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """Notes about lost labels; stored beside the notes about the picture."""
    labels_left_out: tuple[str, ...] = ()
    """Causes of lost labels, as `sources.labels.cause` returns them."""
    label_types: Mapping[str, pa.DataType] = field(default_factory=dict)
    """Types of those labels that the columns of the source (`Source.labels`) do not hold."""
    version: str = ""
    """See `Item.version`."""


@dataclass(frozen=True)
class WorkUnit:
    """A work unit: loose items, or a span of a shard."""

    name: str
    size: int
    """Number of input bytes; the measure of progress."""
    items: tuple[Item, ...] = ()
    shard: Shard | None = None
    span: Span | None = None
    only: tuple[str, ...] | None = None
    """Keys to encode, if only these are left to do: the unit retries failed records."""
    carried: tuple[tuple[str, ...], ...] = ()
    """Dead letters, as tuples of their fields, that a retry copies unchanged."""

    @property
    def source(self) -> int:
        """Index of the source that reads the unit."""
        return self.shard.source if self.shard else self.items[0].source

    def to_json(self) -> str:
        """Return the unit as one line of JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def from_json(line: str) -> WorkUnit:
        """Parse a line that `to_json` wrote."""
        parts = json.loads(line)
        return WorkUnit(
            name=parts["name"],
            size=parts["size"],
            items=tuple(Item(**item) for item in parts["items"]),
            shard=Shard(**parts["shard"]) if parts["shard"] else None,
            span=Span(**parts["span"]) if parts["span"] else None,
            only=None if parts["only"] is None else tuple(parts["only"]),
            carried=tuple(map(tuple, parts["carried"])),
        )


def unit_of_items(items: Iterable[Item]) -> WorkUnit:
    """Return the unit of some loose pictures."""
    items = tuple(items)
    identity = "\n".join(
        f"{item.key}\t{item.uri}\t{item.size}\t{item.version}"
        + (f"\t{item.conflict}" if item.conflict else "")
        for item in items
    )
    return WorkUnit(
        name=f"files-{short_hash(identity, 16)}",
        size=sum(max(item.size, 0) for item in items),
        items=items,
    )


def shard_name(shard: Shard, settings: str) -> str:
    """Return the first part of the names of a shard's units; `settings` identifies how it is
    read.
    """
    stem = re.sub(r"[^A-Za-z0-9_.]+", "_", shard.prefix.rsplit("/", 1)[-1])[:40]
    return f"{stem or 'shard'}-{short_hash(f'{shard.uri} {shard.size} {settings}', 12)}"


def unit_of_span(shard: Shard, span: Span, settings: str) -> WorkUnit:
    """Return the unit of one span of a shard."""
    name = f"{shard_name(shard, settings)}-{span.first:08d}-{span.first + span.records:08d}"
    if span.broken:
        name += "-rest"
    if span.open_ended:
        name += "-open"  # never committed: its closed spans are
    return WorkUnit(name=name, size=span.size, shard=shard, span=span)


@dataclass(frozen=True)
class Retry:
    """The records of a finished unit that are to be tried again."""

    commit: str
    """Name of the commit that holds the failed records: the unit's own, or that of its last retry.
    """
    attempt: int
    keys: tuple[str, ...]
    carried: tuple[tuple[str, ...], ...] = ()
    """Dead letters of that commit that are not tried again."""

    def of(self, unit: WorkUnit) -> WorkUnit:
        """Return the unit that retries the records."""
        name = f"{unit.name}-retry{self.attempt}"
        return replace(unit, name=name, only=self.keys, carried=self.carried)


def short_hash(text: str, digits: int) -> str:
    """Return the first hex digits of a content hash."""
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape")).hexdigest()[:digits]


def clean_key(text: str) -> str:
    """Return a valid archive key: control characters and broken UTF-8 are percent-encoded.

    A key that is too long keeps its beginning and gets a hash at its end, so that it stays unique.
    """
    raw = text.encode("utf-8", "surrogateescape")
    try:
        raw.decode()
        plain = text
    except UnicodeDecodeError:
        plain = "".join(
            f"%{ord(letter) & 0xFF:02X}" if "\udc80" <= letter <= "\udcff" else letter
            for letter in text
        )
    plain = re.sub(r"[\x00-\x1f\x7f]", lambda found: f"%{ord(found[0]):02X}", plain) or "%"
    data = plain.encode()
    if len(data) <= limits.MAX_KEY_BYTES:
        return plain
    kept = data[: limits.MAX_KEY_BYTES - 17].decode("utf-8", "ignore")
    return f"{kept}-{short_hash(plain, 16)}"
