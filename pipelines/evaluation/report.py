"""Runs an evaluation: measures photos, compares codecs, prints tables and writes files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from underpaint.codec.counts import plural
from underpaint.codec.errors import UsageError
from underpaint.codec.storage.extras import install_hint
from underpaint.pipelines.evaluation import tables
from underpaint.pipelines.evaluation.corpus import (
    FIRST_LAYERS,
    CorpusCurve,
    Difference,
    corpus_curve,
    difference,
)
from underpaint.pipelines.evaluation.crops import crop_rows
from underpaint.pipelines.evaluation.measurement import (
    CODEC,
    PhotoMeasures,
    load_codec,
    measure_photos,
)
from underpaint.pipelines.evaluation.page import PhotoCrops, Plot, Section, evaluation_page
from underpaint.pipelines.evaluation.peers import Peer, peers_named
from underpaint.pipelines.evaluation.photos import (
    LeftOut,
    Photo,
    find_photos,
    spread,
    without_left_out,
)
from underpaint.pipelines.evaluation.plot import rate_distortion_png
from underpaint.pipelines.evaluation.scores import Score, scores_named
from underpaint.pipelines.evaluation.speed import Speed, speeds

SPEED_BPP = 0.5
"""Every codec is timed at its point closest to this rate, in bits per pixel: fair quality."""

PAGE_STATES = 4
"""Most states shown for each photo on the page."""


@dataclass(frozen=True)
class Settings:
    """Inputs, options and outputs of an evaluation."""

    inputs: tuple[str, ...]
    """Photos to measure; may be empty."""
    tasks: Path | None
    """Folder of tasks to run."""
    output: Path
    peers: tuple[str, ...]
    metrics: tuple[str, ...]
    weights: str | None
    effort: int
    """Effort of the encoder when rates are measured; speeds are measured at effort 1."""
    texture: int | None
    """Seed of the texture that is added to coarse states for tasks; None: no texture."""
    with_codec: bool
    workers: int
    limit: int | None
    cache: Path | None
    speed_photos: int
    page_photos: int
    """Number of photos on the page; 0: no page."""


def evaluate(settings: Settings) -> int:
    """Measure, print tables to standard output and write all files; return how many are left out.

    Progress goes to standard error, which also names the photos that cannot be read: these are left
    out. Raises UsageError for wrong settings, and MeasurementFailed where no photo is left.
    """
    scores = scores_named(settings.metrics)
    peers = peers_named(settings.peers)
    if not scores or not (peers or settings.with_codec):
        raise UsageError("nothing to measure: no metric, or neither codec nor peers")
    found = find_photos(settings.inputs, settings.limit) if settings.inputs else []
    make_folder(settings.output)
    sections: list[Section] = []
    plots: list[Plot] = []
    left_out = 0
    if found:
        count = len(found)
        found, new_sections, plot = _rate_and_distortion(found, settings, peers, scores)
        left_out += count - len(found)
        sections += new_sections
        plots.append(plot)
    if settings.tasks is not None:
        unread, new_sections, plot = _tasks(settings.tasks, settings)
        left_out += unread
        sections += new_sections
        plots.append(plot)
    if settings.page_photos:
        page = evaluation_page(
            "Underpaint and other codecs",
            "Rates count every byte of the layers, headers and checksums included.",
            sections,
            plots,
            _crops(found, settings, peers),
        )
        (settings.output / "evaluation.html").write_text(page, encoding="utf-8")
    print(f"written to {settings.output}")
    return left_out


def _rate_and_distortion(
    found: Sequence[Photo],
    settings: Settings,
    peers: Sequence[Peer],
    scores: Sequence[Score],
) -> tuple[list[Photo], list[Section], Plot]:
    """Measure photos, print and write; return those measured, sections and plot for the page."""
    results = list(
        tqdm(
            measure_photos(
                found,
                settings.peers,
                settings.metrics,
                weights=settings.weights,
                effort=settings.effort,
                with_codec=settings.with_codec,
                cache=settings.cache,
                workers=min(settings.workers, len(found)),
            ),
            total=len(found),
            unit="photo",
            file=sys.stderr,
        )
    )
    measured, left_out = without_left_out(results)
    found = [
        photo
        for photo, result in zip(found, results, strict=True)
        if not isinstance(result, LeftOut)
    ]
    ours = _our_curve(measured, settings, scores) if settings.with_codec else None
    theirs = [
        corpus_curve(measured, peer.name, peer.label, [f"{q:g}" for q in peer.qualities], scores)
        for peer in peers
    ]
    differences = [
        difference(measured, ours, curve, score) for curve in theirs for score in scores if ours
    ]
    timed = _speeds(found, settings, peers, ours, theirs)
    curves = [*([ours] if ours else []), *theirs]
    sections = _sections(measured, left_out, ours, theirs, curves, differences, timed, scores)
    _print(sections)
    tables.write_csvs(settings.output, measured, curves, differences, timed, scores)
    megapixels = sum(_pixels(each) for each in measured) / 1e6
    title = f"Rate and distortion over {len(measured)} photos, {megapixels:.1f} megapixels"
    plot = rate_distortion_png(curves, scores, title)
    (settings.output / "rate_distortion.png").write_bytes(plot)
    return found, sections, Plot(title, plot)


def _tasks(folder: Path, settings: Settings) -> tuple[int, list[Section], Plot]:
    """Run tasks, print and write; return how many photos are left out, sections and a plot."""
    try:
        from underpaint.pipelines.evaluation.tasks import report as task_report
        from underpaint.pipelines.evaluation.tasks.run import run_tasks
    except ImportError as error:
        raise UsageError(f"--tasks needs {install_hint('tasks')} ({error})") from error
    reports, left_out = run_tasks(
        folder,
        settings.peers,
        weights=settings.weights,
        texture=settings.texture,
        with_codec=settings.with_codec,
        cache=settings.cache,
        workers=settings.workers,
        limit=settings.limit,
    )
    sections = task_report.task_sections(reports)
    _print(sections)
    task_report.write_task_csvs(settings.output, reports)
    plot = task_report.tasks_png(reports)
    (settings.output / "tasks.png").write_bytes(plot)
    return left_out, sections, Plot("Tasks on decoded pictures", plot)


def _print(sections: Sequence[Section]) -> None:
    for section in sections:
        print(f"{section.heading}\n{section.note}\n\n{section.table}\n", flush=True)


def make_folder(folder: Path) -> None:
    """Create an output folder; raises UsageError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from error


def _our_curve(
    measured: Sequence[PhotoMeasures], settings: Settings, scores: Sequence[Score]
) -> CorpusCurve:
    codec = load_codec(settings.weights)
    names = [f"{number} {name}" for number, name in enumerate(codec.layer_names, 1)]
    effort = f", effort {settings.effort}" if settings.effort > 1 else ""
    label = f"Underpaint ({codec.weights_id}{effort})"
    return corpus_curve(measured, CODEC, label, names, scores)


def _speeds(
    found: Sequence[Photo],
    settings: Settings,
    peers: Sequence[Peer],
    ours: CorpusCurve | None,
    curves: Sequence[CorpusCurve],
) -> list[Speed]:
    """Measure the codec with all layers, and the codec and its peers close to one rate."""
    if not settings.speed_photos:
        return []
    print("timing …", file=sys.stderr)
    chosen: list[tuple[str, float, str]] = []
    if ours:
        layers = len(ours.bpp)
        near = _nearest(ours) + 1
        chosen.append((CODEC, layers, f"Underpaint, all {layers} layers"))
        if near < layers:
            chosen.append((CODEC, near, f"Underpaint, {near} layers"))
    for peer, curve in zip(peers, curves, strict=True):
        chosen.append((peer.name, peer.qualities[_nearest(curve)], peer.label))
    pixels = [photo.read() for photo in spread(found, settings.speed_photos)]
    return speeds(pixels, chosen, weights=settings.weights, workers=settings.workers)


def _nearest(curve: CorpusCurve) -> int:
    """Return the index of the point closest to `SPEED_BPP`."""
    return min(range(len(curve.bpp)), key=lambda i: abs(curve.bpp[i] - SPEED_BPP))


def _sections(
    measured: Sequence[PhotoMeasures],
    left_out: int,
    ours: CorpusCurve | None,
    theirs: Sequence[CorpusCurve],
    curves: Sequence[CorpusCurve],
    differences: Sequence[Difference],
    timed: Sequence[Speed],
    scores: Sequence[Score],
) -> list[Section]:
    sections = [
        Section(
            "Rate points",
            f"Means over {plural(len(measured), 'photo')} of bits per pixel and scores"
            + (f" ({left_out} left out, which cannot be read or are too small)" if left_out else "")
            + ". A setting of Underpaint is the last layer that is read.",
            tables.curves_table(curves, scores),
        )
    ]
    if timed:
        sections.append(
            Section(
                "Speed",
                "One process for each core, one thread for each process, all codecs on the same "
                f"cores in the same run; each at its point closest to {SPEED_BPP:g} bpp.",
                tables.speeds_table(timed),
            )
        )
    if ours and theirs:
        sections.append(
            Section(
                "Bytes at equal score, by number of layers",
                "Difference in bytes of the first layers to each codec at the same score; "
                "a dash where that codec does not reach the score.",
                tables.states_table(ours, theirs, scores),
            )
        )
        sections.append(
            Section(
                "BD-rate",
                f"Difference in rate to each codec at equal score, for {FIRST_LAYERS} layers or "
                "more; negative: fewer bits. Piecewise cubic in the logarithm of the rate over the "
                "range that both mean curves cover; in brackets the mean of the BD-rates of "
                "single photos, and its standard error.",
                tables.differences_table(differences, scores),
            )
        )
    return sections


def _crops(found: Sequence[Photo], settings: Settings, peers: Sequence[Peer]) -> list[PhotoCrops]:
    """Return rows of crops for some of the photos; none if the codec is not measured."""
    if not (found and settings.with_codec):
        return []
    layers = load_codec(settings.weights).layers
    states = sorted({1 + round(i * (layers - 2) / (PAGE_STATES - 1)) for i in range(PAGE_STATES)})
    photos = spread(found, settings.page_photos)
    return [
        PhotoCrops(photo.name, crop_rows(photo.read(), peers, settings.weights, states))
        for photo in tqdm(photos, unit="page photo", file=sys.stderr)
    ]


def _pixels(measures: PhotoMeasures) -> int:
    return next(iter(measures.ladders.values()))[0].pixels
