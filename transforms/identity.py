"""Identity of inputs: what becomes of pictures that an archive holds, and of conflicts with it.

A picture's key is unique in an archive, and its source URI says where it came from. A loose file is
known by its URI, whatever its key. A record of a shard is known by its key and its own URI.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace

from underpaint.codec.archive import Archive
from underpaint.codec.archive.key_conflicts import key_for, note_of
from underpaint.codec.errors import KeyConflict, SourceChanged, UnderpaintError
from underpaint.transforms.held import Held, joined, keys_of_sources
from underpaint.transforms.records import UNKNOWN, Item, Record
from underpaint.transforms.sources.addresses import as_stored
from underpaint.transforms.sources.spool import Spool

RENAME, REPLACE, SKIP, FAIL = POLICIES = ("rename", "replace", "skip", "fail")
"""What becomes of a picture of another source under a key that is taken: the picture gets a key of
its own, it replaces the stored one, it is left out, or it becomes a dead letter. A changed file of
a known source replaces the stored picture with "replace", is left out with "skip", and becomes a
dead letter otherwise. A source among the inputs of the run is never replaced by another one."""

CONFLICTS = frozenset({"KeyConflict", "SourceChanged"})
"""Error classes of dead letters that "replace" resolves."""

_TAKEN = "the key belongs to another picture"


@dataclass(frozen=True)
class Identity:
    """Decides which inputs of a run are encoded, and under which keys."""

    held: Held
    policy: str = RENAME

    def items(
        self,
        items: Iterable[Item],
        archive: Archive,
        read: Callable[[Item], bytes],
        *,
        again: bool = False,
    ) -> Iterator[Item]:
        """Yield the loose pictures to encode; those that replace a row come last, under its key.

        Args:
            read: returns the bytes of a picture; called if its version differs from the stored one.
            again: whether pictures that failed in earlier runs are tried again. Then every picture
                is yielded; publishing leaves out those that are stored already.
        """
        changed = Spool()
        uris: dict[str, None] = {}
        for item in items:
            uri = as_stored(item.uri)
            if self.held.has_source(uri):
                message = self._change(item, read)
                if not message:
                    yield from [item] if again else []
                elif self.policy == REPLACE:
                    changed.append(asdict(item))
                    uris[uri] = None
                elif self.policy != SKIP:
                    yield from self._conflicting(item, "SourceChanged", message, again)
            elif again and joined(item.key, uri) in self.held.letters:
                yield item
            elif again or uri not in self.held.letters:
                yield from self._new(item, again)
        keys = keys_of_sources(archive, tuple(uris))
        for values in changed:
            item = Item(**values)
            yield replace(item, key=keys[as_stored(item.uri)])

    def record(self, record: Record) -> Record | UnderpaintError | None:
        """Return a record of a shard as it is to be encoded, a conflict, or None: nothing to do."""
        held = self.held
        if record.key not in held.keys:
            return record
        uri = as_stored(record.uri)
        if joined(record.key, uri) in held.letters or held.has_row(record.key, ""):
            return None
        if held.has_row(record.key, uri):
            change = self._changed_record(record, uri)
            if not change or self.policy == SKIP:
                return None
            return record if self.policy == REPLACE else SourceChanged(change)
        if self.policy == SKIP:
            return None
        if self.policy == FAIL:
            return KeyConflict(_TAKEN)
        if self.policy == REPLACE and record.key not in held.kept:
            return record
        key = key_for(record.key, record.uri)
        if key in held.keys:
            return None
        return replace(record, key=key, notes=(*record.notes, note_of(record.key)))

    def _new(self, item: Item, again: bool) -> Iterator[Item]:
        """Yield a picture of an unknown source, under a key that is free."""
        held = self.held
        if item.key not in held.keys:
            yield item
        elif held.has_row(item.key, "") or self.policy == SKIP:
            return  # the archive does not know the row's source, or the user wants the old one
        elif self.policy == FAIL:
            yield from self._conflicting(item, "KeyConflict", _TAKEN, again)
        elif self.policy == REPLACE and item.key not in held.kept:
            yield item
        else:
            key = key_for(item.key, item.uri)
            if key not in held.keys or again:
                yield replace(item, key=key, note=note_of(item.key))

    def _conflicting(self, item: Item, kind: str, message: str, again: bool) -> Iterator[Item]:
        """Yield a picture that becomes a dead letter, unless the archive has that dead letter."""
        if again or joined(as_stored(item.uri), message) not in self.held.letters:
            yield replace(item, conflict=f"{kind}: {message}")

    def _change(self, item: Item, read: Callable[[Item], bytes]) -> str:
        """Return how a stored source has changed; "" if it has not, or nothing tells."""
        uri = as_stored(item.uri)
        if item.size == UNKNOWN or self.held.has_stamp(uri, item.size, item.version):
            return ""
        try:
            digest = hashlib.sha256(read(item)).digest()
        except Exception as error:  # as any reading of a source
            return f"the file has changed since it was stored, and cannot be read: {error}"
        if self.held.has_content(uri, digest):
            return ""
        return _changed_text("file", item.size, digest)

    def _changed_record(self, record: Record, uri: str) -> str:
        if record.size == UNKNOWN:
            return ""
        try:
            digest = hashlib.sha256(record.fetch()).digest()
        except Exception:  # encoding it would fail as well; the stored picture stays
            return "the record has changed since it was stored, and cannot be read"
        if self.held.has_content(uri, digest):
            return ""
        return _changed_text("record", record.size, digest)


def conflict_error(conflict: str) -> UnderpaintError:
    """Return the error of an item's conflict."""
    kind, _, message = conflict.partition(": ")
    return {"SourceChanged": SourceChanged, "KeyConflict": KeyConflict}[kind](message)


def _changed_text(what: str, size: int, digest: bytes) -> str:
    return (
        f"the {what} has changed since it was stored: it has {size} bytes now "
        f"(SHA-256 {digest.hex()[:16]}…); --on-conflict replace stores them"
    )
