"""What a run has to do: inputs cut into units of work, less what the archive already holds.

    sources ──list──> items, shards ──plan──> plans/RUN/plan-00000.jsonl …  one unit or shard a line
    commits/* ─────────────────────────────>  plans/RUN/state.json, done.keys

The plan lies in the archive's folder, because a cluster's job graph has room only for its name.
Units come from inputs alone: neither the number of workers nor the time has a part in them. Where
the archive holds units of other inputs (photos were added since), records whose keys it has are
left out one by one; otherwise whole units are skipped by name.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, field, replace
from typing import Any

from underpaint.codec.archive import Archive, Commit, DeadLetter
from underpaint.codec.archive.manifest import Manifest
from underpaint.codec.storage.files import Storage
from underpaint.transforms.keys import KeySet
from underpaint.transforms.records import (
    Item,
    Part,
    Retry,
    Shard,
    Skipped,
    Unit,
    shard_name,
    unit_of_items,
    unit_of_span,
)
from underpaint.transforms.sources import Source, listed
from underpaint.transforms.sources.base import SPAN_RECORDS

PLANS = "plans"
"""Folder of plans in an archive; the sweep command removes what runs have left there."""

UNITS_WANTED = 64
"""Units of a job between the two limits of their size: enough to keep workers equally busy."""

SPAN_BYTES_LEAST = 1 << 20
SPAN_BYTES_MOST = 64 << 20

PART_BYTES = 4 << 20
"""Size of one file of a plan."""

_SHARD = '{"kind": "shard"'
"""What a line of a shard begins with."""

DUPLICATE = "Duplicate"
"""Error class of dead letters that stand for pictures left out on purpose."""

FINAL = frozenset({DUPLICATE, "DuplicateKey"})
"""Error classes that trying again does not help."""


@dataclass(frozen=True)
class Plan:
    """What is to be done, and what the listing told about it."""

    folder: str
    """Below the archive; it holds `parts`, `state.json` and, where `filtered`, `done.keys`."""
    parts: tuple[str, ...]
    span_bytes: int
    bytes: int
    """Input bytes of all units and shards in it; some may turn out to be done already."""
    records: int
    """Loose pictures in it; what is in shards is not known before they are read."""
    shards: int
    inputs: int
    """Items and shards that the inputs hold, done or not."""
    filtered: bool
    """Whether records are to be compared with the keys that the archive holds."""
    units: int


@dataclass(frozen=True)
class State:
    """What workers must know of the archive as it was when the run began."""

    committed: frozenset[str] = frozenset()
    retries: Mapping[str, Retry] = field(default_factory=dict)
    """By name of the unit whose failures are to be tried again."""

    def to_json(self) -> str:
        """What `from_json` reads."""
        return json.dumps({**asdict(self), "committed": sorted(self.committed)})

    @staticmethod
    def from_json(text: str | bytes) -> State:
        """The state that `to_json` wrote."""
        parts = json.loads(text)
        retries = {
            unit: Retry(
                value["commit"],
                value["attempt"],
                tuple(value["keys"]),
                tuple(map(tuple, value["carried"])),
            )
            for unit, value in parts["retries"].items()
        }
        return State(frozenset(parts["committed"]), retries)

    def due(self, unit: Unit) -> Unit | None:
        """The unit as it is to be done now: itself, only its failed records, or not at all."""
        if unit.name not in self.committed:
            return unit
        retry = self.retries.get(unit.name)
        return retry.of(unit) if retry else None

    def retried(self, unit: Unit) -> str | None:
        """Name of the commit whose dead letters this unit stands in for."""
        return self.retries[base_name(unit.name)].commit if unit.only is not None else None


def make_plan(
    sources: Sequence[Source],
    storage: Storage,
    committed: Mapping[str, Commit],
    *,
    retry_failed: bool = False,
    span_bytes: int | None = None,
) -> Plan:
    """List the inputs, compare them with the commits, and write the plan into the archive."""
    folder = f"{PLANS}/{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(4)}"
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogateescape") as spool:
        total, inputs, shards = 0, 0, []
        parts: list[Part] = []
        for each in listed(sources):
            if isinstance(each, Skipped):
                continue
            inputs += 1
            if isinstance(each, Part):
                total += each.span.size
                parts.append(each)
                continue
            total += max(each.size, 0)
            if isinstance(each, Shard):
                shards.append(each)
            else:
                spool.write(json.dumps(asdict(each)) + "\n")
        span_bytes = span_bytes or _span_bytes(total)
        settings = [f"{source.settings()} {span_bytes}" for source in sources]
        cut = [*shards, *{part.shard: None for part in parts}]
        foreign = _foreign(_spooled(spool), cut, settings, committed, span_bytes)
        done = KeySet()
        if foreign:
            archive = Archive(storage, Manifest(tuple(committed.values())))
            letters = (letter.key for letter in archive.dead_letters())
            done = KeySet.of(key for keys in (archive.keys(), letters) for key in keys)
            storage.put(f"{folder}/done.keys", done.data)
        state = _state(storage, committed, retry_failed)
        storage.put(f"{folder}/state.json", state.to_json().encode())
        writer = _PlanWriter(storage, folder)
        for unit in _foreign_retries(storage, committed, state, foreign):
            writer.unit(unit)
        items = (item for item in _spooled(spool) if not foreign or item.key not in done)
        for group in chunked(items, span_bytes):
            due = state.due(unit_of_items(group))
            if due:
                writer.unit(due)
        for shard in shards:
            writer.shard(shard)
        for part in parts:
            due = state.due(unit_of_span(part.shard, part.span, settings[part.shard.source]))
            if due:
                writer.unit(due)
        return writer.plan(span_bytes, inputs, bool(foreign))


def plan_elements(storage: Storage, part: str) -> Iterator[str]:
    """What travels for each line of a file of the plan: a shard as it is, of a unit its place.

    A unit of loose pictures names them all; runners that keep their elements in memory would need
    more of it the more pictures there are.
    """
    start = 0
    for line in storage.read(part).splitlines(keepends=True):
        stop = start + len(line)
        yield line.decode() if line.startswith(_SHARD.encode()) else json.dumps([part, start, stop])
        start = stop


def shard_of(element: str) -> Shard | None:
    """The shard that an element stands for; None where that is a unit."""
    if not element.startswith(_SHARD):
        return None
    return Shard(**json.loads(element)["shard"])


def unit_of(element: str, storage: Storage) -> Unit:
    """The unit that an element is, or whose place it is."""
    if element.startswith("["):
        part, start, stop = json.loads(element)
        element = storage.read_range(part, start, stop).decode()
    return Unit.from_json(element)


def chunked(items: Iterable[Item], span_bytes: int) -> Iterator[tuple[Item, ...]]:
    """Items in groups of about `span_bytes`, each of one source, at most SPAN_RECORDS in one."""
    group: list[Item] = []
    size = 0
    for item in items:
        full = len(group) >= SPAN_RECORDS or size >= span_bytes
        if group and (full or item.source != group[0].source):
            yield tuple(group)
            group, size = [], 0
        group.append(item)
        size += max(item.size, 0)
    if group:
        yield tuple(group)


def base_name(unit: str) -> str:
    """Name of the unit whose failed records a retry unit tries again; its own for others."""
    base, mark, attempt = unit.rpartition("-retry")
    return base if mark and attempt.isdigit() else unit


def _span_bytes(total: int) -> int:
    """A power of two, so that a few more photos do not change how all the others are cut."""
    wanted = 1 << max(0, (total // UNITS_WANTED).bit_length() - 1)
    return min(max(wanted, SPAN_BYTES_LEAST), SPAN_BYTES_MOST)


def _spooled(spool: Any) -> Iterator[Item]:
    spool.seek(0)
    for line in spool:
        yield Item(**json.loads(line))


def _foreign(
    items: Iterable[Item],
    shards: Iterable[Shard],
    settings: Sequence[str],
    committed: Mapping[str, Commit],
    span_bytes: int,
) -> frozenset[str]:
    """Commits that these inputs, cut as they are now, would not make."""
    if not committed:
        return frozenset()
    names = {base_name(name) for name in committed}
    for group in chunked(items, span_bytes):
        names.discard(unit_of_items(group).name)
    prefixes = {shard_name(shard, settings[shard.source]) for shard in shards}
    return frozenset(n for n in names if n.removesuffix("-rest").rsplit("-", 2)[0] not in prefixes)


def _state(storage: Storage, committed: Mapping[str, Commit], retry_failed: bool) -> State:
    if not retry_failed:
        return State(frozenset(committed))
    manifest = Manifest(tuple(committed.values()))
    retries = {}
    for commit in manifest.failed_units:
        letters = _letters(storage, commit)
        keys = tuple(sorted(letter.key for letter in letters if letter.error not in FINAL))
        if keys:
            base = base_name(commit.unit)
            attempt = int(commit.unit[len(base) + len("-retry") :]) if commit.unit != base else 0
            carried = tuple(astuple(letter) for letter in letters if letter.error in FINAL)
            retries[base] = Retry(commit.unit, attempt + 1, keys, carried)
    return State(frozenset(committed), retries)


def _foreign_retries(
    storage: Storage, committed: Mapping[str, Commit], state: State, foreign: frozenset[str]
) -> Iterator[Unit]:
    """Failed loose pictures of units that these inputs would not make, found by their addresses."""
    for base, retry in state.retries.items():
        if base in foreign and base.startswith("files-"):
            letters = _letters(storage, committed[retry.commit])
            yield retry.of(Unit(base, 0, tuple(Item(x.key, x.source_uri) for x in letters)))


def _letters(storage: Storage, commit: Commit) -> list[DeadLetter]:
    """The dead letters of one commit."""
    return list(Archive(storage, Manifest((replace(commit, retries=None),))).dead_letters())


class _PlanWriter:
    """Writes the lines of a plan into files of bounded size."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage, self._folder = storage, folder
        self._lines: list[str] = []
        self._size = 0
        self._parts: list[str] = []
        self._bytes = self._records = self._shards = self._units = 0

    def unit(self, unit: Unit) -> None:
        self._units += 1
        self._bytes += unit.size
        records = unit.span.records if unit.span else len(unit.items)
        self._records += records if unit.only is None else len(unit.only)
        self._line(unit.to_json())

    def shard(self, shard: Shard) -> None:
        self._shards += 1
        self._bytes += max(shard.size, 0)
        self._line(json.dumps({"kind": "shard", "shard": asdict(shard)}))

    def plan(self, span_bytes: int, inputs: int, filtered: bool) -> Plan:
        self._flush()
        return Plan(
            folder=self._folder,
            parts=tuple(self._parts),
            span_bytes=span_bytes,
            bytes=self._bytes,
            records=self._records,
            shards=self._shards,
            inputs=inputs,
            filtered=filtered,
            units=self._units,
        )

    def _line(self, line: str) -> None:
        self._lines.append(line)
        self._size += len(line)
        if self._size >= PART_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._lines:
            name = f"{self._folder}/plan-{len(self._parts):05d}.jsonl"
            self._storage.put(name, ("\n".join(self._lines) + "\n").encode())
            self._parts.append(name)
            self._lines, self._size = [], 0


def remove_plan(storage: Storage, plan: Plan) -> None:
    """Delete the files of a plan that has been carried out."""
    for name in (*plan.parts, f"{plan.folder}/state.json", f"{plan.folder}/done.keys"):
        storage.delete(name)
    if storage.is_local:
        with suppress(OSError):
            os.rmdir(storage.path(plan.folder))
