"""Measures this machine: from files to an archive and back, and the codec alone."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from underpaint.codec.errors import MeasurementFailed
from underpaint.codec.runtime.child_process import child, python_command
from underpaint.pipelines.evaluation.measurement import CODEC, load_codec
from underpaint.pipelines.evaluation.photos import (
    Photo,
    find_photos,
    read_or_leave,
    spread,
    without_left_out,
)
from underpaint.pipelines.evaluation.speed import Setting, throughputs
from underpaint.pipelines.evaluation.usage import measured_run

AVIF_QUALITY = 44
"""About 0.5 bits per pixel on photos. This is less work for AVIF than all layers are for the codec,
so that the ratios favour AVIF."""

COARSE_LAYERS = 2
"""Number of layers that a typical training job reads."""


@dataclass(frozen=True)
class Figure:
    """One result of a benchmark."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True)
class Settings:
    """Options of a benchmark."""

    inputs: tuple[str, ...]
    weights: str | None
    workers: int
    limit: int | None
    codec_photos: int
    """Number of photos for measuring the codec alone; 0: it is not measured."""
    commands: bool
    """Whether to measure the commands."""
    folder: Path | None
    """Folder for the archive and decoded pictures; None: the temporary folder of the system."""


def benchmark(settings: Settings) -> Iterator[Figure]:
    """Yield each figure as soon as it is measured.

    Photos that cannot be read are named on standard error, and left out. Raises UsageError and
    MeasurementFailed.
    """
    photos = find_photos(settings.inputs, settings.limit)
    if settings.commands:
        yield from command_figures(photos, settings)
    if settings.codec_photos:
        yield from codec_figures(spread(photos, settings.codec_photos), settings)


def command_figures(photos: list[Photo], settings: Settings) -> Iterator[Figure]:
    """Measure throughput and peak memory of the commands `encode` and `decode`."""
    with tempfile.TemporaryDirectory(dir=settings.folder, prefix="underpaint-") as folder:
        archive, pictures = Path(folder, "archive"), Path(folder, "pictures")
        inputs = settings.inputs if settings.limit is None else [photo.uri for photo in photos]
        options = ["--output", str(archive), "--workers", str(settings.workers)]
        options += ["--max-failed", "100%"]  # they are named, and not counted below
        if settings.weights is not None:
            options += ["--weights", settings.weights]
        encode = measured_run(["encode", *inputs, *options])
        stored = _inspect(archive)
        pixels = stored["pixels"] / 1e6
        yield Figure("photos", stored["images"], "")
        yield Figure("pixels", pixels, "Mpx")
        yield Figure("encode, files to archive", pixels / encode.seconds, "Mpx/s")
        yield Figure("encode, peak memory of all processes", encode.peak_bytes / 2**20, "MiB")
        options = ["--output", str(pictures), "--workers", str(settings.workers)]
        if settings.weights is not None:
            options += ["--weights", settings.weights]
        decode = measured_run(["decode", str(archive), *options])
        yield Figure("decode, archive to PNG files", pixels / decode.seconds, "Mpx/s")
        yield Figure("decode, peak memory of all processes", decode.peak_bytes / 2**20, "MiB")


def codec_figures(photos: list[Photo], settings: Settings) -> Iterator[Figure]:
    """Measure the codec in memory, one process for each core, beside AVIF in the same run."""
    pixels, _ = without_left_out(read_or_leave(photo.name, photo.read) for photo in photos)
    layers = load_codec(settings.weights).layers
    avif = ("avif", AVIF_QUALITY)
    full, coarse = (CODEC, layers), (CODEC, COARSE_LAYERS)
    found = throughputs(
        pixels, [full, coarse, avif], weights=settings.weights, workers=settings.workers
    )

    def speed(setting: Setting, what: str) -> float:
        name, quality = setting
        return found[name, quality, what][0]

    def rate(setting: Setting) -> float:
        name, quality = setting
        return found[name, quality, "encode"][1]

    encode, decode = speed(full, "encode"), speed(full, "decode")
    yield Figure("AVIF speed 6, encode", speed(avif, "encode"), "Mpx/s")
    yield Figure("AVIF speed 6, encoded rate", rate(avif), "bpp")
    yield Figure("AVIF speed 6, decode", speed(avif, "decode"), "Mpx/s")
    yield Figure("codec, encode", encode, "Mpx/s")
    yield Figure("codec, encoded rate of all layers", rate(full), "bpp")
    yield Figure("codec, encode against AVIF", encode / speed(avif, "encode"), "times")
    yield Figure("codec, decode of all layers", decode, "Mpx/s")
    yield Figure("codec, decode against AVIF", decode / speed(avif, "decode"), "times")
    yield Figure("codec, all layers to latents", speed(full, "latents"), "Mpx/s")
    yield Figure("codec, entropy decoding alone", speed(full, "check"), "Mpx/s")
    share = decode / speed(full, "check")
    yield Figure("codec, share of entropy coding in decode", 100 * share, "%")
    yield Figure("codec, layers 1 and 2 encoded rate", rate(coarse), "bpp")
    yield Figure("codec, layers 1 and 2, encode", speed(coarse, "encode"), "Mpx/s")
    yield Figure("codec, layers 1 and 2, decode", speed(coarse, "decode"), "Mpx/s")
    yield Figure("codec, layers 1 and 2 to latents", speed(coarse, "latents"), "Mpx/s")


def _inspect(archive: Path) -> dict[str, float]:
    """Return the output of `underpaint inspect --json`."""
    command = python_command("underpaint", "inspect", str(archive), "--json")
    with child(command, stdout=subprocess.PIPE) as running:
        told, _ = running.communicate()
    if running.returncode:
        raise MeasurementFailed(f"underpaint inspect ended with status {running.returncode}")
    parsed: dict[str, float] = json.loads(told)
    return parsed
