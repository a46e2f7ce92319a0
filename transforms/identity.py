"""Identity of inputs: which of them an archive holds, and what becomes of a conflict.

A picture's key is unique in an archive, and its source URI says where it came from. A loose file is
known by its URI, whatever its key. A record of a shard is known by its key and its shard's URI.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from underpaint.codec.archive import Archive
from underpaint.codec.archive.key_conflicts import key_for, note_of
from underpaint.codec.errors import KeyConflict, SourceChanged, UnderpaintError
from underpaint.codec.storage.files import Storage
from underpaint.codec.storage.redaction import redacted
from underpaint.transforms.keys import KeySet
from underpaint.transforms.records import UNKNOWN, Item, Record

POLICIES = ("rename", "skip", "fail")
"""What becomes of a picture of another source under a key that is taken: the picture gets a key of
its own, the picture is left out, or it becomes a dead letter. A changed file of a known source
becomes a dead letter, and is left out with "skip"."""

_FOR_RECORDS = ("keys", "records")
"""Sets that workers need: loose pictures are compared when the plan is made."""


@dataclass(frozen=True)
class Held:
    """The inputs that an archive holds, as sets of hashes.

    keys      keys of rows and dead letters
    sources   URIs of rows
    contents  URI and size of rows
    records   key and URI of rows and dead letters
    letters   URI of dead letters, and URI with message
    """

    keys: KeySet = field(default_factory=KeySet)
    sources: KeySet = field(default_factory=KeySet)
    contents: KeySet = field(default_factory=KeySet)
    records: KeySet = field(default_factory=KeySet)
    letters: KeySet = field(default_factory=KeySet)

    @staticmethod
    def of(archive: Archive) -> Held:
        """Read keys, URIs and sizes from an archive."""
        rows = list(_rows(archive))
        letters = list(archive.dead_letters())
        return Held(
            KeySet.of([*(key for key, _, _ in rows), *(letter.key for letter in letters)]),
            KeySet.of(uri for _, uri, _ in rows if uri),
            KeySet.of(_joined(uri, size) for _, uri, size in rows if uri),
            KeySet.of(
                [
                    *(_joined(key, uri) for key, uri, _ in rows),
                    *(_joined(letter.key, letter.source_uri) for letter in letters),
                ]
            ),
            KeySet.of(
                [
                    *(letter.source_uri for letter in letters),
                    *(_joined(letter.source_uri, letter.message) for letter in letters),
                ]
            ),
        )

    def store(self, storage: Storage, folder: str) -> None:
        """Write, below a folder of the archive, what `record` needs."""
        for name in _FOR_RECORDS:
            storage.put(f"{folder}/held.{name}", getattr(self, name).data)

    @staticmethod
    def load(storage: Storage, folder: str) -> Held:
        """Read what `store` wrote: sets that suffice for `record`."""
        read = {name: KeySet(storage.read(f"{folder}/held.{name}")) for name in _FOR_RECORDS}
        return Held(**read)

    def item(self, item: Item, policy: str) -> Item | None:
        """Return a loose picture as it is to be encoded; None if there is nothing to do."""
        uri = redacted(item.uri)
        if uri in self.sources:
            if item.size == UNKNOWN or _joined(uri, item.size) in self.contents or policy == "skip":
                return None
            return self._conflicting(
                item,
                f"SourceChanged: the file has {item.size} bytes now, and others than were stored",
            )
        if uri in self.letters:
            return None
        if item.key not in self.keys:
            return item
        if _joined(item.key, "") in self.records or policy == "skip":
            return None  # the archive does not know the row's source, or the user wants the old one
        if policy == "fail":
            return self._conflicting(item, "KeyConflict: the key belongs to another source")
        key = key_for(item.key, item.uri)
        return None if key in self.keys else replace(item, key=key, note=note_of(item.key))

    def record(self, record: Record, policy: str) -> Record | UnderpaintError | None:
        """Return a record of a shard as it is to be encoded, a conflict, or None: nothing to do."""
        if record.key not in self.keys:
            return record
        uri = redacted(record.uri)
        known = _joined(record.key, uri) in self.records or _joined(record.key, "") in self.records
        if known or policy == "skip":
            return None
        if policy == "fail":
            return KeyConflict("the key belongs to another source")
        key = key_for(record.key, record.uri)
        if key in self.keys:
            return None
        return replace(record, key=key, notes=(*record.notes, note_of(record.key)))

    def _conflicting(self, item: Item, conflict: str) -> Item | None:
        message = conflict.partition(": ")[2]
        known = _joined(redacted(item.uri), message) in self.letters
        return None if known else replace(item, conflict=conflict)


def conflict_error(conflict: str) -> UnderpaintError:
    """Return the error of an item's conflict."""
    kind, _, message = conflict.partition(": ")
    return {"SourceChanged": SourceChanged, "KeyConflict": KeyConflict}[kind](message)


def _rows(archive: Archive) -> Iterator[tuple[str, str, int]]:
    for group in archive.row_groups(["key", "source_uri", "source_bytes"]):
        columns = (group.table.column(name).to_pylist() for name in group.table.column_names)
        yield from zip(*columns, strict=True)


def _joined(*parts: object) -> str:
    return "\n".join(map(str, parts))
