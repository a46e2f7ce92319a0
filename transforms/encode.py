"""The Beam transforms of encoding.

    Create(parts of the plan)                                          # str, name of a file
      │ "Read plan"          ParDo                                     # str, shard or unit's place
      │ "Spread shards"      Reshuffle
      │ "Split shards"       ParDo                                     # str, unit or its place
      │ "Spread units"       Reshuffle
      │ "Encode units"       ParDo, writes and commits                 # tuple of counts
      │ "Add up"             CombineGlobally                           # tuple of counts
      └ "Publish"            ParDo, writes manifest and report         # tuple of counts

Pictures never travel between workers: a unit names its pictures, and one worker takes them from the
source bytes to the commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from underpaint.codec.archive import Archive, publish
from underpaint.codec.errors import NotAnArchive
from underpaint.codec.storage.files import Storage
from underpaint.transforms.device import load_codec, prepare_arrow
from underpaint.transforms.embedding import Embedder
from underpaint.transforms.held import Held
from underpaint.transforms.identity import Identity
from underpaint.transforms.job_plan import JobPlan, State, plan_elements, shard_of, unit_of
from underpaint.transforms.prefetch import Prefetcher
from underpaint.transforms.progress import Counts, ProgressStore
from underpaint.transforms.records import Record, Shard, Skipped, Span, WorkUnit, unit_of_span
from underpaint.transforms.report import Facts, result_of, write_report
from underpaint.transforms.settings import Settings
from underpaint.transforms.sources import Source
from underpaint.transforms.work_unit import Exclusions, encode_unit, records_of

NAMESPACE = "underpaint"
"""Namespace of the Beam metrics."""


@dataclass(frozen=True)
class Job:
    """Everything that the transforms of one run need."""

    sources: tuple[Source, ...]
    plan: JobPlan
    settings: Settings
    facts: Facts
    weights: str | None = None
    """Path or URL of the weights; None: the default profile."""
    device: str = "auto"
    deduplicate: bool = False
    progress_store: str | None = None
    """Folder of the progress store, if workers and driver share a disk."""

    def state(self) -> State:
        """Return the state of the archive that the plan recorded."""
        storage = Storage(self.settings.archive)
        return State.load(storage, self.plan.folder)

    def held(self) -> Held:
        """Return the inputs that the archive held when the run began, if records need them."""
        if not self.plan.filtered:
            return Held()
        return Held.load(Storage(self.settings.archive), self.plan.folder)


class EncodePictures(beam.PTransform):
    """Carries out a plan. Its output has one element, the run's `Counts` as a tuple.

    `accelerator` is Beam's resource hint of that name for the step that encodes.
    """

    def __init__(self, job: Job, accelerator: str | None = None) -> None:
        super().__init__()
        self._job = job
        self._accelerator = accelerator

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection:
        """Build the graph from the start of a pipeline to the totals."""
        job = self._job
        units = (
            pbegin
            | "Plan" >> beam.Create(list(job.plan.parts), reshuffle=False)  # str
            | "Read plan" >> beam.ParDo(ReadPlan(job.settings.archive))  # str
            | "Spread shards" >> beam.Reshuffle()  # str
            | "Split shards" >> beam.ParDo(SplitShards(job))  # str
            | "Spread units" >> beam.Reshuffle()  # str
        )
        duplicates = (units | "Find duplicates" >> FindDuplicates(job),) if job.deduplicate else ()
        sides = [beam.pvalue.AsMultiMap(pairs) for pairs in duplicates]
        encode: beam.PTransform = beam.ParDo(EncodeUnits(job), *sides)
        if self._accelerator:
            encode = encode.with_resource_hints(accelerator=self._accelerator)
        return (
            units
            | "Encode units" >> encode  # tuple[Any, ...]
            | "Add up" >> beam.CombineGlobally(add_up)  # tuple[Any, ...]
            | "Publish" >> beam.ParDo(Publish(job))  # tuple[Any, ...]
        )


class ReadPlan(beam.DoFn):
    """Reads a plan file."""

    def __init__(self, archive: str) -> None:
        self._archive = archive

    def process(self, element: str) -> Iterator[str]:  # type: ignore[override]
        """Yield one element for each unit or shard."""
        yield from plan_elements(Storage(self._archive), element)


class SplitShards(beam.DoFn):
    """Splits shards into units; leaves out what the archive holds already."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def setup(self) -> None:
        """Read the state of the archive."""
        self._state = self._job.state()

    def process(self, element: str) -> Iterator[str]:  # type: ignore[override]
        """Yield the units of a shard; yield a unit unchanged."""
        shard = shard_of(element)
        if shard is None:
            yield element
            return
        span_bytes = self._job.plan.span_bytes
        source = self._job.sources[shard.source]
        settings = f"{source.settings()} {span_bytes}"
        for span in split_or_broken(source, shard, span_bytes):
            due = self._state.due(unit_of_span(shard, span, settings))
            if due:
                yield due.to_json()


class EncodeUnits(beam.DoFn):
    """Encodes units. The threads of a process share codec and extractor: a GPU has one owner."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._shared, self._shared_embedder = Shared(), Shared()
        self._images = Metrics.counter(NAMESPACE, "images")
        self._failed = Metrics.counter(NAMESPACE, "failed")
        self._pixels = Metrics.counter(NAMESPACE, "pixels")
        self._bytes_in = Metrics.counter(NAMESPACE, "bytes_in")
        self._bytes_out = Metrics.counter(NAMESPACE, "bytes_out")
        self._unit_images = Metrics.distribution(NAMESPACE, "images_in_a_unit")

    def setup(self) -> None:
        """Start the helpers and load the codec while they start."""
        job = self._job
        prepare_arrow()
        self._prefetcher: Prefetcher = job.settings.prefetcher()
        self._prefetcher.start()
        self._codec = self._shared.acquire(lambda: load_codec(job.weights, job.device))
        embedding = job.settings.embedding
        self._embedder: Embedder | None = None
        if embedding:
            self._embedder = self._shared_embedder.acquire(lambda: embedding.load(job.device))
        self._storage = Storage(job.settings.archive)
        self._state = job.state()
        self._identity = Identity(job.held(), job.settings.on_conflict)
        self._progress_store = ProgressStore(job.progress_store) if job.progress_store else None

    def process(  # type: ignore[override]
        self,
        element: str,
        duplicates: Mapping[str, Iterable[tuple[str, str]]] | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        """Encode one unit, or all units of an open-ended span."""
        counts = Counts()
        source = self._job.sources[unit_of(element, self._storage).source]
        for unit, records in closed_units(unit_of(element, self._storage), self._job):
            due = self._state.due(unit) if records is not None else unit
            if due is None:
                continue
            same = dict(duplicates[due.name]) if duplicates is not None else {}
            counts += encode_unit(
                due,
                self._state.retried(due),
                source,
                self._codec,
                self._job.settings,
                self._prefetcher,
                self._progress_store,
                Exclusions(self._identity, same),
                self._embedder,
                records,
            )
        self._images.inc(counts.images)
        self._failed.inc(counts.failed)
        self._pixels.inc(counts.pixels)
        self._bytes_in.inc(counts.bytes_in)
        self._bytes_out.inc(counts.bytes_out)
        self._unit_images.update(counts.images)
        yield astuple(counts)

    def teardown(self) -> None:
        """Stop the helpers."""
        self._prefetcher.close()


class FindDuplicates(beam.PTransform):
    """Finds pictures with the same bytes; all but the one with the smallest key are duplicates.

    A picture that the archive holds already takes precedence over all others.
    """

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job = job

    def expand(self, units: beam.PCollection) -> beam.PCollection:
        """Build the graph from units to (unit, (key of a duplicate, key of the stored picture))."""
        held = units.pipeline | "Archive" >> beam.Create([self._job.settings.archive])  # str
        return (
            (
                units | "Hash sources" >> beam.ParDo(HashSources(self._job)),
                held | "Hashes held" >> beam.ParDo(HashesHeld()),
            )  # (sha256, (rank, key, unit))
            | "Together" >> beam.Flatten()
            | "By hash" >> beam.GroupByKey()  # (sha256, [(rank, key, unit)])
            | "All but one" >> beam.FlatMap(all_but_one)  # (unit, (key, key))
        )


class HashSources(beam.DoFn):
    """Hashes the source bytes of a unit's records."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def process(self, element: str) -> Iterator[tuple[bytes, tuple[int, str, str]]]:  # type: ignore[override]
        """Yield one element for each readable record."""
        import hashlib

        whole = unit_of(element, Storage(self._job.settings.archive))
        for unit, records in closed_units(whole, self._job):
            for record in records_of(unit, self._job.sources[unit.source], records):
                if isinstance(record, Skipped):
                    continue
                try:
                    digest = hashlib.sha256(record.fetch()).digest()
                except Exception:  # encoding meets the same error and reports it
                    continue
                yield digest, (1, record.key, unit.name)


class HashesHeld(beam.DoFn):
    """Reads the source hashes of an archive's rows."""

    def process(self, element: str) -> Iterator[tuple[bytes, tuple[int, str, str]]]:  # type: ignore[override]
        """Yield one element for each row."""
        try:
            archive = Archive.open(element)
        except NotAnArchive:
            return
        for group in archive.row_groups(["key", "source_sha256"]):
            keys = group.table.column("key").to_pylist()
            for key, digest in zip(keys, group.table.column(1).to_pylist(), strict=True):
                if digest:
                    yield digest, (0, key, "")


class Publish(beam.DoFn):
    """Publishes all commits and writes the report."""

    def __init__(self, job: Job) -> None:
        self._archive, self._facts = job.settings.archive, job.facts

    def process(self, element: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:  # type: ignore[override]
        """Write manifest and report; pass the counts on."""
        storage = Storage(self._archive)
        publish(storage)
        write_report(storage, result_of(storage, Counts(*element), self._facts), self._facts)
        yield element


def closed_units(
    unit: WorkUnit, job: Job
) -> Iterator[tuple[WorkUnit, list[Record | Skipped] | None]]:
    """Yield the unit itself, or the units of an open-ended span, each with its records."""
    if unit.shard is None or unit.span is None or not unit.span.open_ended:
        yield unit, None
        return
    source, span_bytes = job.sources[unit.source], job.plan.span_bytes
    settings = f"{source.settings()} {span_bytes}"
    for span, records in source.stream(unit.shard, unit.span, span_bytes):
        yield unit_of_span(unit.shard, span, settings), records


def split_or_broken(source: Source, shard: Shard, span_bytes: int) -> Iterator[Span]:
    """Yield the spans of a shard, at least one; if splitting fails, end with a broken span."""
    done, none = 0, True
    try:
        for span in source.split(shard, span_bytes):
            yield span
            done, none = span.first + span.records, False
        if none:
            yield Span(0, 0, 0, 0, max(shard.size, 0), empty=True)
    except Exception as error:  # a source raises any error; it ends the shard
        yield Span(0, 0, done, 0, 0, broken=f"{type(error).__name__}: {error}")


def all_but_one(
    group: tuple[bytes, Iterable[tuple[int, str, str]]],
) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the duplicates among pictures of one hash, each with the key of the stored picture."""
    first, *others = sorted(group[1])
    for rank, key, unit in others:
        if rank and key != first[1]:
            yield unit, (key, first[1])


def add_up(counts: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Return the sum of the counts of units."""
    return astuple(sum((Counts(*each) for each in counts), Counts()))
