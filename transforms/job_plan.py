"""The plan of a job: the inputs cut into work units, without the units that are already committed.

    sources ──list──> items, shards ──plan──> plans/RUN/plan-00000.jsonl …  one unit or shard a line
    commits/* ─────────────────────────────>  plans/RUN/state.*, held.*

The plan is written to the archive's folder, because the job graph of a cluster has no room for it.
The units depend on the inputs alone, not on the number of workers or on the time. If the archive
holds units of other inputs (photos were added since), records are compared with the archive's keys
one by one; otherwise whole units are skipped by name.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from underpaint.codec.archive import Archive, Commit, DeadLetter, Manifest
from underpaint.codec.archive.records import PLANS, REWRITTEN, original_unit
from underpaint.codec.archive.units import Units
from underpaint.codec.storage.files import Storage
from underpaint.transforms.hash_table import HashTable
from underpaint.transforms.held import Held, inputs_table
from underpaint.transforms.identity import CONFLICTS, RENAME, REPLACE, Identity
from underpaint.transforms.records import (
    Item,
    Part,
    Retry,
    Shard,
    Skipped,
    WorkUnit,
    shard_name,
    unit_of_items,
    unit_of_span,
)
from underpaint.transforms.sources import Source, listed
from underpaint.transforms.sources.addresses import as_stored
from underpaint.transforms.sources.base import SPAN_RECORDS

UNITS_WANTED = 64
"""Number of units aimed at: enough to keep all workers busy until the end."""

SPAN_BYTES_LEAST = 1 << 20
SPAN_BYTES_MOST = 64 << 20

PART_BYTES = 4 << 20
"""Size of one file of a plan."""

_RETRY = "-retry[0-9]+"
"""Regular expression of what the name of a retry adds to that of the unit."""

_SHARD = '{"kind": "shard"'
"""Start of a line that stands for a shard."""

LISTING = "listing-"
"""Prefix of the units that record what a listing of inputs skipped."""

_RETRIES, _COMMITTED = "state.retries.json", "state.committed"
"""Files of the state of the archive."""

DUPLICATE = "Duplicate"
"""Error class of dead letters of pictures that were left out as duplicates."""

FINAL = frozenset({DUPLICATE, "DuplicateKey"})
"""Error classes for which a retry is pointless."""


@dataclass(frozen=True)
class JobPlan:
    """The work of one run, and what the listing found."""

    folder: str
    """Folder below the archive with `parts`, `state.*` and, if `filtered`, `held.*`."""
    parts: tuple[str, ...]
    span_bytes: int
    bytes: int
    """Input bytes of all units and shards in the plan; some may turn out to be done."""
    records: int
    """Number of loose pictures in the plan; the records of shards are not known before reading."""
    shards: int
    inputs: int
    """Number of items and shards in the inputs, done or not."""
    filtered: bool
    """Whether records are compared with the keys that the archive holds."""
    units: int
    generation: int = 0
    """See `Commit.generation`."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Number of listed files that are not pictures, by reason."""


@dataclass(frozen=True)
class State:
    """State of the archive at the beginning of the run, for the workers."""

    committed: HashTable = field(default_factory=HashTable)
    """Names of the committed units: 16 bytes for each."""
    retries: Mapping[str, Retry] = field(default_factory=dict)
    """Retries by name of the unit whose failed records they try again."""

    def store(self, storage: Storage, folder: str) -> None:
        """Write the state below a folder of the archive."""
        retries = {unit: asdict(retry) for unit, retry in self.retries.items()}
        storage.put(f"{folder}/{_RETRIES}", json.dumps(retries).encode())
        self.committed.store(storage, f"{folder}/{_COMMITTED}")

    @staticmethod
    def load(storage: Storage, folder: str) -> State:
        """Read what `store` wrote."""
        parts = json.loads(storage.read(f"{folder}/{_RETRIES}"))
        retries = {
            unit: Retry(
                value["commit"],
                value["attempt"],
                tuple(value["keys"]),
                tuple(map(tuple, value["carried"])),
            )
            for unit, value in parts.items()
        }
        return State(HashTable.load(storage, f"{folder}/{_COMMITTED}"), retries)

    @staticmethod
    def files(folder: str) -> list[str]:
        """Return the names of the files that `store` writes."""
        return [f"{folder}/{_RETRIES}", *HashTable.files(f"{folder}/{_COMMITTED}")]

    def due(self, unit: WorkUnit) -> WorkUnit | None:
        """Return the unit to do now: the unit, its retry, or None if it is done."""
        if unit.name not in self.committed:
            return unit
        retry = self.retries.get(unit.name)
        return retry.of(unit) if retry else None

    def retried(self, unit: WorkUnit) -> str | None:
        """Return the name of the commit that this unit replaces; None unless it is a retry."""
        return self.retries[base_name(unit.name)].commit if unit.only is not None else None


def make_job_plan(
    sources: Sequence[Source],
    storage: Storage,
    committed: Units,
    *,
    retry_failed: bool = False,
    span_bytes: int | None = None,
    on_conflict: str = RENAME,
) -> JobPlan:
    """List the inputs, compare them with the commits, and write the plan to the archive."""

    def read(item: Item) -> bytes:
        return sources[item.source].record(item).fetch()

    folder = f"{PLANS}/{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(4)}"
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogateescape") as spool:
        total, inputs, shards = 0, 0, []
        skipped: Counter[str] = Counter()
        parts: list[Part] = []
        for each in listed(sources):
            if isinstance(each, Skipped):
                skipped[each.reason] += 1
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
        state = _state(storage, committed, _retried_errors(retry_failed, on_conflict))
        state.store(storage, folder)
        writer = _PlanWriter(storage, folder)
        items: Iterable[Item] = _spooled(spool)
        if foreign:
            archive = Archive(storage, Manifest.of(committed))
            uris = chain((shard.uri for shard in cut), (item.uri for item in _spooled(spool)))
            held = Held.of(archive, inputs_table(uris) if on_conflict == REPLACE else None)
            held.store(storage, folder)
            compare = partial(Identity(held, on_conflict).items, archive=archive, read=read)
            retries = _foreign_retries(storage, committed, state, foreign, _spooled(spool))
            tried = {item.uri for _, _, found in retries for item in found}
            for retry, base, found in retries:
                again = tuple(compare(found, again=True))
                if again:
                    unit = retry.of(WorkUnit(base, 0, again))
                    writer.unit(replace(unit, only=tuple(item.key for item in again)))
            items = compare(item for item in _spooled(spool) if item.uri not in tried)
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
        plan = writer.plan(span_bytes, inputs, bool(foreign))
        generation = _generation(committed, foreign)
        return replace(plan, skipped=dict(skipped), generation=generation)


def plan_elements(storage: Storage, part: str) -> Iterator[str]:
    """Yield one pipeline element for each line of a plan file: a shard itself, a unit's location.

    A unit of loose pictures lists all of them. Runners that keep elements in memory would need more
    memory the more pictures there are, so only the location of the line travels.
    """
    start = 0
    for line in storage.read(part).splitlines(keepends=True):
        stop = start + len(line)
        yield line.decode() if line.startswith(_SHARD.encode()) else json.dumps([part, start, stop])
        start = stop


def shard_of(element: str) -> Shard | None:
    """Return the shard of an element; None if the element is a unit."""
    if not element.startswith(_SHARD):
        return None
    return Shard(**json.loads(element)["shard"])


def unit_of(element: str, storage: Storage) -> WorkUnit:
    """Return the unit of an element, or read it from the location that the element names."""
    if element.startswith("["):
        part, start, stop = json.loads(element)
        element = storage.read_range(part, start, stop).decode()
    return WorkUnit.from_json(element)


def chunked(items: Iterable[Item], span_bytes: int) -> Iterator[tuple[Item, ...]]:
    """Yield groups of items: about `span_bytes`, at most SPAN_RECORDS, one source each."""
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
    """Return the unit that a retry or a rewritten unit stems from; the name itself for others."""
    return re.sub(f"{_RETRY}$", "", original_unit(unit))


def _span_bytes(total: int) -> int:
    """Return the span size, a power of two: a few more photos do not change how others are cut."""
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
    committed: Units,
    span_bytes: int,
) -> frozenset[str]:
    """Return the commits that the present inputs, cut as they are now, would not produce."""
    if not len(committed):
        return frozenset()
    names = _base_names(committed.column("unit"))
    names = pc.unique(names.filter(pc.invert(pc.starts_with(names, LISTING))))
    produced = pa.array((unit_of_items(g).name for g in chunked(items, span_bytes)), pa.string())
    names = names.filter(pc.invert(pc.is_in(names, value_set=produced)))
    found = {shard_name(shard, settings[shard.source]) for shard in shards}
    prefixes = pc.replace_substring_regex(names, r"-[^-]*-[^-]*$|-[^-]*-[^-]*-rest$", "")
    own = pc.is_in(prefixes, value_set=pa.array(sorted(found), pa.string()))
    return frozenset(names.filter(pc.invert(own)).to_pylist())


def _base_names(units: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return what `base_name` returns, of many names."""
    return pc.replace_substring_regex(
        pc.replace_substring_regex(units, REWRITTEN, ""), f"{_RETRY}$", ""
    )


def _generation(committed: Units, foreign: frozenset[str]) -> int:
    """Return the generation of the run: above that of foreign units, not below that of its own.

    A run that is continued after a kill therefore has the generation that it had before.
    """
    if not len(committed):
        return 0
    generations = committed.column("generation").to_numpy()
    others = pa.array(sorted(foreign), pa.string())
    later = pc.is_in(_base_names(committed.column("unit")), value_set=others).to_numpy()
    return int((generations + later).max())


def _retried_errors(retry_failed: bool, on_conflict: str) -> Callable[[str], bool]:
    """Return which classes of errors of dead letters are tried again."""
    if retry_failed:
        return lambda error: error not in FINAL
    return lambda error: on_conflict == REPLACE and error in CONFLICTS


def _state(storage: Storage, committed: Units, retried: Callable[[str], bool]) -> State:
    retries = {}
    for commit in committed.failed():
        if not any(retried(cause.rpartition(": ")[2]) for cause in commit.failures):
            continue
        letters = _letters(storage, commit)
        keys = tuple(sorted(letter.key for letter in letters if retried(letter.error)))
        if keys:
            base = base_name(commit.unit)
            attempt = int(commit.unit[len(base) + len("-retry") :]) if commit.unit != base else 0
            carried = tuple(astuple(letter) for letter in letters if not retried(letter.error))
            retries[base] = Retry(commit.unit, attempt + 1, keys, carried)
    chunks = committed.column("unit").chunks
    names = HashTable.of(name for chunk in chunks for name in chunk.to_pylist())
    return State(names, retries)


def _foreign_retries(
    storage: Storage,
    committed: Units,
    state: State,
    foreign: frozenset[str],
    items: Iterable[Item],
) -> list[tuple[Retry, str, list[Item]]]:
    """Return retries of failed loose pictures in units that the present inputs would not produce.

    Each has the name of its unit, and its pictures: as listed now if they are among the inputs.
    """
    retries = [
        (retry, base, _letters(storage, committed.named(retry.commit)))
        for base, retry in state.retries.items()
        if base in foreign and base.startswith("files-")
    ]
    wanted = {letter.source_uri for _, _, letters in retries for letter in letters}
    now = {as_stored(item.uri): item for item in items if as_stored(item.uri) in wanted}

    def tried(retry: Retry, letters: list[DeadLetter]) -> list[Item]:
        found = (
            now.get(x.source_uri) or Item(x.key, x.source_uri)
            for x in letters
            if x.key in retry.keys
        )
        return list(dict.fromkeys(found))

    return [(retry, base, tried(retry, letters)) for retry, base, letters in retries]


def _letters(storage: Storage, commit: Commit) -> list[DeadLetter]:
    """Return the dead letters of one commit."""
    return list(Archive(storage, Manifest.of([replace(commit, retries=None)])).dead_letters())


class _PlanWriter:
    """Writes the lines of a plan to files of bounded size."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage, self._folder = storage, folder
        self._lines: list[str] = []
        self._size = 0
        self._parts: list[str] = []
        self._bytes = self._records = self._shards = self._units = 0

    def unit(self, unit: WorkUnit) -> None:
        self._units += 1
        self._bytes += unit.size
        records = unit.span.records if unit.span else len(unit.items)
        self._records += records if unit.only is None else len(unit.only)
        self._line(unit.to_json())

    def shard(self, shard: Shard) -> None:
        self._shards += 1
        self._bytes += max(shard.size, 0)
        self._line(json.dumps({"kind": "shard", "shard": asdict(shard)}))

    def plan(self, span_bytes: int, inputs: int, filtered: bool) -> JobPlan:
        self._flush()
        return JobPlan(
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


def remove_job_plan(storage: Storage, plan: JobPlan) -> None:
    """Delete the files of a plan that is finished."""
    held = Held.files(plan.folder) if plan.filtered else []
    for name in (*plan.parts, *State.files(plan.folder), *held):
        storage.delete(name)
    if storage.is_local:
        with suppress(OSError):
            os.rmdir(storage.path(plan.folder))
