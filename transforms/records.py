"""What flows through the encoding pipeline: inputs, units of work, records.

    inputs --list--> Item, Shard --plan--> Unit --read--> Record --picture, codec--> archive row

A *unit* is one piece of work with one output file: some loose pictures, or a range of one shard.
Its name comes from its inputs alone, so a second run knows what the first one has finished.
Items and units travel as JSON lines: small, readable, the same for every runner.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from underpaint.codec import limits

UNKNOWN = -1
"""Size of an input that its listing does not tell."""


@dataclass(frozen=True)
class Item:
    """A picture in a file of its own."""

    key: str
    uri: str
    size: int = UNKNOWN
    """Bytes."""
    source: int = 0
    """Which of the job's sources it comes from."""


@dataclass(frozen=True)
class Shard:
    """A file of many pictures."""

    uri: str
    prefix: str
    """What the keys of its records begin with: its path without folder of the input and suffix."""
    size: int = UNKNOWN
    """Bytes."""
    source: int = 0


@dataclass(frozen=True)
class Span:
    """A part of a shard that can be read alone. What `start` and `stop` count is the source's."""

    start: int
    stop: int
    first: int
    """Ordinal in the shard of the first record."""
    records: int
    size: int
    """Bytes of the shard that the span stands for."""
    broken: str = ""
    """Why nothing of the rest of the shard can be read; such a span becomes one dead letter."""
    open_ended: bool = False
    """The span can only be read from its start in one pass: one worker reads it with
    `Source.stream`, which cuts it into closed spans on the way."""
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


class NotAPicture(Exception):
    """Raised by `Record.fetch` for a file whose content shows that it is no picture.

    The record is counted as skipped, for the reason that the exception holds.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Record:
    """One picture on its way, its bytes not fetched yet."""

    key: str
    uri: str
    fetch: Callable[[], bytes]
    """Returns the source bytes; raises what reading raises, and NotAPicture."""
    size: int = UNKNOWN
    labels: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What was lost of the labels; stored beside the notes about the picture."""


@dataclass(frozen=True)
class Unit:
    """One piece of work: loose items, or a span of a shard."""

    name: str
    size: int
    """Bytes of input it stands for; what progress is measured in."""
    items: tuple[Item, ...] = ()
    shard: Shard | None = None
    span: Span | None = None
    only: tuple[str, ...] | None = None
    """Keys to do, all others being done: the unit tries failed records again."""
    carried: tuple[tuple[str, ...], ...] = ()
    """Dead letters (their fields in order) that such a unit takes over as they are."""

    @property
    def source(self) -> int:
        """Which of the job's sources reads it."""
        return self.shard.source if self.shard else self.items[0].source

    def to_json(self) -> str:
        """One line of a plan."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def from_json(line: str) -> Unit:
        """The unit that `to_json` wrote."""
        parts = json.loads(line)
        return Unit(
            name=parts["name"],
            size=parts["size"],
            items=tuple(Item(**item) for item in parts["items"]),
            shard=Shard(**parts["shard"]) if parts["shard"] else None,
            span=Span(**parts["span"]) if parts["span"] else None,
            only=None if parts["only"] is None else tuple(parts["only"]),
            carried=tuple(map(tuple, parts["carried"])),
        )


def unit_of_items(items: Iterable[Item]) -> Unit:
    """The unit that holds these loose pictures."""
    items = tuple(items)
    identity = "\n".join(f"{item.key}\t{item.uri}\t{item.size}" for item in items)
    return Unit(
        name=f"files-{short_hash(identity, 16)}",
        size=sum(max(item.size, 0) for item in items),
        items=items,
    )


def shard_name(shard: Shard, settings: str) -> str:
    """First part of the names of a shard's units; `settings` says how it is cut and read."""
    stem = re.sub(r"[^A-Za-z0-9_.]+", "_", shard.prefix.rsplit("/", 1)[-1])[:40]
    return f"{stem or 'shard'}-{short_hash(f'{shard.uri} {shard.size} {settings}', 12)}"


def unit_of_span(shard: Shard, span: Span, settings: str) -> Unit:
    """The unit that holds one span of a shard."""
    name = f"{shard_name(shard, settings)}-{span.first:08d}-{span.first + span.records:08d}"
    if span.broken:
        name += "-rest"
    if span.open_ended:
        name += "-open"  # never committed: its closed spans are
    return Unit(name=name, size=span.size, shard=shard, span=span)


@dataclass(frozen=True)
class Retry:
    """What of a finished unit is to be tried again."""

    commit: str
    """Name of the commit whose dead letters are tried again: the unit's, or its last retry's."""
    attempt: int
    keys: tuple[str, ...]
    carried: tuple[tuple[str, ...], ...] = ()
    """Its dead letters that nobody wants tried again."""

    def of(self, unit: Unit) -> Unit:
        """The unit that does it."""
        name = f"{unit.name}-retry{self.attempt}"
        return replace(unit, name=name, only=self.keys, carried=self.carried)


def short_hash(text: str, digits: int) -> str:
    """The first hex digits of a content hash."""
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape")).hexdigest()[:digits]


def clean_key(text: str) -> str:
    """A key the archive takes: control characters and broken UTF-8 percent-encoded, bounded.

    A key over the limit keeps its start and gets a hash, so that it stays unique.
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
