"""The encoding job: from inputs to a plan, to a pipeline, to an archive with its report."""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from apache_beam import Pipeline

from underpaint.codec.archive import Archive, Manifest, committed_units, publish
from underpaint.codec.archive.key_conflicts import RENAMED
from underpaint.codec.archive.label_columns import joined_type, names_of, widened
from underpaint.codec.archive.layer_columns import FULL
from underpaint.codec.archive.tools.targets import check_no_other_files
from underpaint.codec.archive.united_reader import UnitedReader
from underpaint.codec.archive.units import Units
from underpaint.codec.errors import UnderpaintError, UsageError
from underpaint.codec.reconstruct.preload import compile_ahead
from underpaint.codec.storage.files import Storage
from underpaint.codec.storage.redaction import redacted
from underpaint.codec.transform.sizes import DEFAULT_SIZES, check_sizes
from underpaint.codec.weights.header import WeightsHeader, fetch_weights, named, read_header
from underpaint.pipelines.cli.console import ProgressLine, plural, shown, size_text
from underpaint.pipelines.jobs.commit_watch import CommitWatch
from underpaint.pipelines.runners import dataflow
from underpaint.pipelines.runners.local_workers import silent_threads
from underpaint.pipelines.runners.select import (
    LOCAL,
    check_options,
    cores,
    last_line,
    make_runner,
    pipeline_options,
    runner_name,
)
from underpaint.transforms.embedding import Embedding
from underpaint.transforms.encode import EncodePictures, Job
from underpaint.transforms.job_plan import JobPlan, make_job_plan, remove_job_plan
from underpaint.transforms.listing import commit_listing, remembered_folders
from underpaint.transforms.progress import Counts, ProgressStore, peak_memory, progress_folder
from underpaint.transforms.report import EncodeResult, Facts, result_of, write_report
from underpaint.transforms.settings import Settings
from underpaint.transforms.sources import Choice, Inputs, Source, all_labels, open_sources
from underpaint.transforms.sources.labels import label_name, renamed_text
from underpaint.transforms.sources.manifest import ManifestSource

REMOTE_MEMORY = 3 << 30
"""Default memory for pictures in a worker of a cluster, in bytes."""

LEAST_MEMORY = 64_000_000
"""Least memory for pictures in one process, in bytes: room for a photo of half a megapixel."""

UNITS_FOR_A_PROCESS = 8
"""Fewest units for each additional process, by default: fewer do not pay for its start."""


@dataclass(frozen=True)
class EncodeOptions:
    """Options of an encoding job."""

    inputs: tuple[str, ...]
    output: str
    choice: Choice = field(default_factory=Choice)
    max_layers: int | None = None
    sizes: tuple[int, ...] = DEFAULT_SIZES
    """Short sides in pixels of smaller pictures that can be read alone (`codec.encode`)."""
    effort: int = 1
    """How long to search for fewer bytes, 1 to 3 (see `codec.quantize.rate_distortion`)."""
    on_conflict: str = "rename"
    """What becomes of a picture whose key belongs to another source (`transforms.identity`)."""
    strict: bool = False
    """Whether skipped files make the job fail."""
    max_failed: float = 0.0
    """Fraction of failed inputs up to which the job counts as a success."""
    retry_failed: bool = False
    deduplicate: bool = False
    keep_source: bool = False
    metadata: str = "basic"
    """What is stored about how a picture was taken: "basic", "exif" or "none"."""
    embedding: str | None = None
    """Name of the extractor whose vectors are stored (see `codec.extractors`)."""
    weights: str | None = None
    device: str = "auto"
    runner: str = LOCAL
    workers: int | None = None
    """Number of processes; None: one a core."""
    memory: int | None = None
    """Bytes that pictures may take in all local workers together, or in each remote worker. None:
    half of this machine's memory, or REMOTE_MEMORY.
    """
    picture_timeout_s: float = 60.0
    fetchers: int | None = None
    """Number of threads in each worker that wait for storage; None: depends on the inputs'
    location.
    """
    unit_bytes: int | None = None
    """Input bytes of a work unit; None: depends on the size of the inputs."""
    beam_options: tuple[str, ...] = ()
    gpu: str | None = None
    """GPU of a worker on Dataflow: TYPE, TYPE:MACHINE, or none; None: the default one."""
    dry_run: bool = False
    """Describe the job and write nothing."""
    verbose: bool = False


def encode(options: EncodeOptions) -> EncodeResult | dataflow.Submission:
    """Run the job.

    UsageError for a mistake in the options, UnderpaintError if the job breaks. A dry run, or a job
    that is staged as a template, returns a Submission.
    """
    begin = time.time()
    runner = runner_name(options.runner)
    check_options(options.beam_options, runner)
    if options.gpu and not dataflow.is_dataflow(runner):
        raise UsageError(f"--gpu: no effect on {runner}, only on DataflowRunner; leave it out")
    if runner == LOCAL:
        _check_device(options.device)
    launch = _launch(options) if dataflow.is_dataflow(runner) else None
    if launch:
        options = replace(
            options, beam_options=launch.flags, device=launch.device, memory=launch.memory
        )
    storage = (dataflow.Unwritten if options.dry_run else Storage)(options.output)
    committed = _standing(storage)
    remembered = remembered_folders(committed)
    if ":" in options.choice.kind:  # a source of the user's own gives the keys itself
        folders: dict[str, str] = {}
        sources = open_sources(options.inputs, options.choice)
    else:
        inputs = Inputs(options.inputs, remembered)
        folders = inputs.folders
        sources = open_sources(inputs, options.choice)
    with named(options.weights):
        weights = read_header(fetch_weights(options.weights))
    layers = _stored_layers(weights, options.max_layers)
    check_sizes(options.sizes)
    workers = options.workers or cores()  # memory is divided before the amount of work is known
    settings = Settings(
        archive=storage.path("").rstrip("/") if storage.is_local else storage.root,
        weights_id=weights.id,
        layer_names=layers,
        sizes=options.sizes,
        effort=options.effort,
        on_conflict=options.on_conflict,
        labels=all_labels(sources),
        stated_labels=frozenset(label_name(name) for name, _ in options.choice.labels),
        memory=_memory_of_a_worker(options.memory, workers if runner == LOCAL else None),
        keep_source=options.keep_source,
        metadata=options.metadata,
        embedding=_embedding(options),
        picture_timeout_s=options.picture_timeout_s,
        fetchers=options.fetchers or (8 if _any_remote(options.inputs) else 1),
    )
    _check_fits(settings, committed)
    _check_labels(storage, committed, settings.labels)
    plan = make_job_plan(
        sources,
        storage,
        committed,
        retry_failed=options.retry_failed,
        span_bytes=options.unit_bytes,
        on_conflict=options.on_conflict,
    )
    settings = replace(settings, generation=plan.generation)
    if not plan.inputs:
        raise UsageError(f"no pictures in {', '.join(options.inputs)}")
    if not plan.shards:
        most = plan.units if options.workers else plan.units // UNITS_FOR_A_PROCESS
        workers = max(1, min(workers, most))
    described = _shown(options, settings, plan, workers, runner)
    facts = Facts(begin, options.max_failed, described, options.strict)
    job = Job(
        sources=sources,
        plan=plan,
        settings=settings,
        facts=facts,
        weights=options.weights,
        device=options.device,
        deduplicate=options.deduplicate,
    )
    accelerator = launch.accelerator if launch else None
    if options.dry_run:
        return _described(job, options, runner, workers, accelerator)
    commit_listing(options.inputs, folders, plan, settings, committed)
    if launch and launch.staged:
        _pipeline(job, options, runner, workers, accelerator).run()
        return dataflow.Submission("the job is staged; its plan lies in the archive's folder")
    over = launch is None  # a job on Dataflow continues when this process stops
    try:
        with ExitStack() as cleanup:
            if runner == LOCAL:
                job = replace(job, progress_store=cleanup.enter_context(progress_folder()))
            counts = _run(job, options, runner, workers, accelerator, storage, committed)
            over = True
    finally:
        manifest = publish(storage)
        _report_renamed(storage, manifest, committed)
        _report_renamed_labels(manifest, committed, sources)
        if over:
            remove_job_plan(storage, plan)
    counts += Counts(skipped=plan.skipped)
    result = result_of(storage, counts, facts)
    write_report(storage, result, facts, driver_peak_memory=peak_memory())
    return result


def _report_renamed(storage: Storage, manifest: Manifest, committed: Units) -> None:
    """Print the rows of this run that got another key because theirs belongs to another source."""
    known = committed.column("unit").combine_chunks()
    units = manifest.units.where(
        ["unit", "replaces"],
        lambda table: pc.and_(
            table.column("replaces").is_valid(),
            pc.invert(pc.is_in(table.column("unit"), value_set=known)),
        ),
    )
    for group in Archive(storage, Manifest.of(units)).row_groups(["key", "notes"]):
        for row in group.table.to_pylist():
            for note in row["notes"]:
                if note.startswith(RENAMED):
                    print(shown(f"{row['key']}: {note}"), file=sys.stderr)


def _report_renamed_labels(
    manifest: Manifest, committed: Units, sources: tuple[Source, ...]
) -> None:
    """Print the labels of this run whose columns have other names than in the inputs.

    They are those that the sources showed, and those that the archive did not have before.
    """
    found = all_labels(sources)
    tables = [each for each in sources if isinstance(each, ManifestSource)]
    unnamed = dict(column for table in tables for column in table.unnamed)
    before = {name for labels in committed.label_sets for name, _ in labels}
    names = [name for name in manifest.label_names if name in found.names or name not in before]
    for line in renamed_text(names, unnamed):
        print(shown(line), file=sys.stderr)


def _run(
    job: Job,
    options: EncodeOptions,
    runner: str,
    workers: int,
    accelerator: str | None,
    storage: Storage,
    committed: Units,
) -> Counts:
    if not job.plan.parts:
        return Counts()
    counts: Callable[[], Counts]
    if job.progress_store:
        counts = ProgressStore(job.progress_store).total
    else:
        counts = CommitWatch(storage, frozenset(committed.column("unit").to_pylist())).total
    logging.getLogger().setLevel(logging.INFO if options.verbose else logging.CRITICAL)
    if runner == LOCAL and workers > 1:
        compile_ahead()
    pipeline = _pipeline(job, options, runner, workers, accelerator)
    errors: tuple[type[Exception], ...] = (RuntimeError, OSError)
    if dataflow.is_dataflow(runner):
        errors += dataflow.errors()
    try:
        total = 0 if job.plan.shards else job.plan.records
        with ProgressLine(counts, job.plan.bytes, total), silent_threads(not options.verbose):
            running = pipeline.run()
            if dataflow.is_dataflow(runner):
                job_id = running.job_id()  # type: ignore[attr-defined]
                print(dataflow.whereabouts(job_id, options.beam_options), file=sys.stderr)
            running.wait_until_finish()
    except errors as error:
        line = last_line(error)
        if line.startswith(KeyboardInterrupt.__name__):  # Ctrl-C reached a worker first
            raise KeyboardInterrupt from None
        if options.verbose:
            raise
        if os.strerror(errno.ENOSPC) in line:
            raise UnderpaintError(
                f"{redacted(options.output)}: {os.strerror(errno.ENOSPC).lower()}; with more "
                "space, the same command continues"
            ) from error
        raise UnderpaintError(f"the job broke: {line} (--verbose tells more)") from error
    return counts()


def _launch(options: EncodeOptions) -> dataflow.Launch:
    dataflow.check_client()
    return dataflow.launch(
        options.beam_options,
        inputs=options.inputs,
        output=options.output,
        weights=options.weights,
        embedding=options.embedding,
        gpu=options.gpu or dataflow.DEFAULT_GPU,
        device=options.device,
        memory=options.memory,
    )


def _pipeline(
    job: Job, options: EncodeOptions, runner: str, workers: int, accelerator: str | None
) -> Pipeline:
    try:
        flags = pipeline_options(options.beam_options, runner, workers, verbose=options.verbose)
        pipeline = Pipeline(make_runner(runner, workers), flags)
    except ValueError as error:
        raise UsageError(str(error)) from error
    _ = pipeline | "Encode pictures" >> EncodePictures(job, accelerator)
    return pipeline


def _described(
    job: Job, options: EncodeOptions, runner: str, workers: int, accelerator: str | None
) -> dataflow.Submission:
    """Return the job as JSON."""
    plan = {key: value for key, value in asdict(job.plan).items() if key not in ("folder", "parts")}
    shown: dict[str, Any] = {"runner": runner, "archive": job.settings.archive, "plan": plan}
    if dataflow.is_dataflow(runner):
        options = replace(options, beam_options=(*options.beam_options, "--dry_run=True"))
        shown |= dataflow.job_request(_pipeline(job, options, runner, workers, accelerator))
    return dataflow.Submission(json.dumps(shown, indent=2))


def _check_device(device: str) -> None:
    """UsageError if this machine lacks the device; torch is only loaded to look for a GPU."""
    if device not in ("auto", "cpu"):
        from underpaint.codec.codec import available_device

        available_device(device)


def _standing(storage: Storage) -> Units:
    """Return the commits of an existing archive; UsageError if the folder holds something else."""
    committed = committed_units(storage).units
    if not len(committed):
        check_no_other_files(storage)
    return committed


def _embedding(options: EncodeOptions) -> Embedding | None:
    return Embedding.named(options.embedding, options.weights) if options.embedding else None


def _stored_layers(weights: WeightsHeader, most: int | None) -> tuple[str, ...]:
    layers = len(weights.layer_names)
    if most is not None and not 1 <= most <= layers:
        raise UsageError(f"--max-layers {most}: the codec has layers 1 to {layers}")
    return weights.layer_names[:most]


def _check_fits(settings: Settings, committed: Units) -> None:
    """UsageError if the archive was made with other settings: all its rows must have the same."""
    if not len(committed):
        return
    standing = committed.shared
    embedding = settings.embedding
    for what, have, want in (
        ("weights", standing.weights_id, settings.weights_id),
        ("layers", len(standing.layer_names), len(settings.layer_names)),
        ("sizes", standing.sizes, (*settings.sizes, FULL)),
        ("extractor", standing.extractor, embedding.identity if embedding else None),
        ("embeddings of", standing.embedding_size, embedding.size if embedding else None),
        ("kept sources", standing.keeps_source, settings.keep_source),
        ("--metadata", standing.metadata, settings.metadata),
    ):
        if have != want:
            raise UsageError(
                f"{settings.archive}: made with {what} {have}, now {want}; choose another folder"
            )


def _check_labels(storage: Storage, committed: Units, found: pa.Schema) -> None:
    """UsageError if a label is of another type in the archive, unless both are numbers or the
    archive has text, which holds values of every type.
    """
    if len(found) == 0 or set(committed.label_sets) <= {names_of(found)}:
        return
    standing = UnitedReader(storage, committed).labels
    for item in found:
        have = standing.field(item.name).type if item.name in standing.names else item.type
        if joined_type(have, item.type) != have and not widened(have, item.type):
            raise UsageError(
                f"{storage.root}: its label {item.name!r} is {have}, that of the inputs is "
                f"{item.type}; state --label {item.name}:{have}, or choose another folder"
            )


def _shown(
    options: EncodeOptions, settings: Settings, plan: JobPlan, workers: int, runner: str
) -> dict[str, Any]:
    """Return the report's description of a job."""
    return {
        "runner": runner,
        "workers": workers if runner == LOCAL else None,
        "weights": settings.weights_id,
        "layers": list(settings.layer_names),
        "labels": settings.labels.names,
        "extractor": settings.embedding.identity if settings.embedding else None,
        "options": {**asdict(options), "inputs": list(options.inputs)[:100]},
        "plan": {key: value for key, value in asdict(plan).items() if key != "parts"},
        "python": platform.python_version(),
        "machine": {"system": platform.system(), "cores": os.cpu_count()},
    }


def _memory_of_a_worker(given: int | None, local_workers: int | None) -> int:
    """Return the bytes that pictures may take in one process; UsageError for too few."""
    if given is not None and given < LEAST_MEMORY * (local_workers or 1):
        raise UsageError(
            f"--memory: {size_text(given)} for {plural(local_workers or 1, 'worker')}, where "
            f"each needs {size_text(LEAST_MEMORY)} or more; give more, or fewer --workers"
        )
    if local_workers is None:
        return given or REMOTE_MEMORY
    if given is None:
        try:
            given = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        except (AttributeError, ValueError, OSError):
            given = REMOTE_MEMORY
    return given // local_workers


def _any_remote(inputs: tuple[str, ...]) -> bool:
    return any("://" in text or text.endswith((".csv", ".jsonl")) for text in inputs)
