"""The decoding job: from rows of an archive to picture files or files of latents."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from underpaint.codec.archive import Archive, Damage, Row
from underpaint.codec.archive.selection import EVERYTHING, Selection
from underpaint.codec.archive.tools.output_names import OutputNames, unusable
from underpaint.codec.archive.tools.targets import leads_out, prepare
from underpaint.codec.codec import COARSE_LEVELS
from underpaint.codec.errors import LayerDamaged, UnderpaintError, UsageError
from underpaint.codec.image_io.read import WRITE_SUFFIX, write_picture
from underpaint.codec.reconstruct.backend import Latents
from underpaint.codec.storage.files import Storage
from underpaint.pipelines.cli.console import ProgressLine, shown
from underpaint.pipelines.jobs.worker_pool import (
    batches,
    find_weights,
    wanted_workers,
    work,
    worker_codec,
)
from underpaint.transforms.progress import Counts

LATENTS = "latents"
"""The output format that is no picture: a state as tensors, without synthesis."""

SUFFIXES = {**WRITE_SUFFIX, LATENTS: ".npz"}


@dataclass(frozen=True)
class DecodeOptions:
    """Options of a decoding job."""

    archive: str
    output: str
    layers: int | None = None
    """Number of layers to read; None: all."""
    size: int | None = None
    """Short side in pixels of the pictures to read (see `codec.decode`); None: full pictures."""
    format: str = "png"
    workers: int | None = None
    weights: str | None = None
    device: str = "auto"
    texture: int | None = None
    """Seed of the synthetic fine texture (see `codec.reconstruct.texture`); None: no texture."""
    refine: bool = True
    """Whether the backward network refines the picture."""
    levels: int = COARSE_LEVELS
    """Number of wavelet levels in latents besides the low band, 0 to 4."""
    selection: Selection = EVERYTHING
    """The rows to decode."""
    overwrite: bool = False
    """Whether the output folder may hold files, which are replaced where names are equal."""

    @property
    def tensors(self) -> bool:
        """Whether the network or textures are computed."""
        return self.format != LATENTS and (self.refine or self.texture is not None)


@dataclass(frozen=True)
class DecodeResult:
    """The outcome of a decoding job."""

    images: int
    pixels: int
    bytes_out: int
    damaged: int
    """Number of images decoded from fewer layers than requested."""
    lost: int
    """Number of rows that gave no picture at all, as they are damaged or memory was short."""
    left_out: int
    """Number of sound rows that were not written, as there is no place in the folder for them."""
    nameless: int
    """Number of those left out whose key is no path, or one in the way of another."""
    seconds: float


@dataclass(frozen=True)
class _Task:
    output: str
    format: str
    names: tuple[str, ...]
    keys: tuple[str, ...]
    pixels: tuple[int, ...]
    streams: tuple[tuple[bytes, ...], ...]
    texture: int | None
    refine: bool
    levels: int
    size: int | None


@dataclass(frozen=True)
class _Answer:
    counts: Counts
    warnings: tuple[str, ...]
    damaged: int
    lost: int
    left_out: int
    nameless: int


class _LeftOut(UnderpaintError):
    """A sound picture has no place in the folder."""

    def __init__(self, reason: str, *, nameless: bool) -> None:
        super().__init__(f"{reason}: left out")
        self.nameless = nameless


class _Warnings:
    """Prints warnings to standard error and counts them by image."""

    def __init__(self) -> None:
        self.damaged: set[str] = set()
        self.lost = self.left_out = self.nameless = 0

    def damage(self, damage: Damage) -> None:
        """Report what the archive could not read."""
        self.say(str(damage))
        if damage.layer is None:
            self.lost += damage.rows
        elif damage.key is not None:
            self.damaged.add(damage.key)

    def say(self, text: str) -> None:
        """Print a line."""
        print(f"warning: {shown(text)}", file=sys.stderr)


def decode(options: DecodeOptions) -> DecodeResult:
    """Run the job; UsageError for a mistake in the options. Damage is counted, not raised."""
    if options.format not in SUFFIXES:
        raise UsageError(f"no format {options.format!r}: choose from {', '.join(SUFFIXES)}")
    if options.format == LATENTS and options.texture is not None:
        raise UsageError("texture is drawn into pictures: latents have none")
    archive = Archive.open(options.archive)
    archive.layer_columns(options.layers, options.size)
    statistics = archive.statistics()
    if not statistics.images:
        raise UsageError(f"{options.archive}: no images in this archive")
    warnings = _Warnings()
    rows = options.selection.rows(
        archive, options.layers, size=options.size, labels=False, on_damage=warnings.damage
    )
    storage = Storage(options.output)
    prepare(archive.storage, storage, overwrite=options.overwrite)
    weights = find_weights(
        options.weights, options.device, archive.weights_id, tensors=options.tensors
    )
    if storage.is_local:
        Path(storage.path("")).mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    counts = Counts()
    damaged = 0
    answers = work(
        _decode_task,
        _tasks(rows, archive, options, warnings),
        workers=wanted_workers(options.workers, statistics.pixels),
        weights=weights,
        device=options.device,
        tensors=options.tensors,
    )
    with ProgressLine(lambda: counts, 0, options.selection.most(statistics.images)):
        for answer in answers:
            counts += answer.counts
            damaged += answer.damaged
            warnings.lost += answer.lost
            warnings.left_out += answer.left_out
            warnings.nameless += answer.nameless
            for text in answer.warnings:
                warnings.say(text)
    return DecodeResult(
        images=counts.images,
        pixels=counts.pixels,
        bytes_out=counts.bytes_out,
        damaged=len(warnings.damaged) + damaged,
        lost=warnings.lost,
        left_out=warnings.left_out,
        nameless=warnings.nameless,
        seconds=time.monotonic() - begin,
    )


def _tasks(
    rows: Iterable[Row], archive: Archive, options: DecodeOptions, warnings: _Warnings
) -> Iterator[_Task]:
    names = OutputNames(SUFFIXES[options.format])
    for group in batches(rows):
        kept: list[tuple[str, Row]] = []
        for row in group:
            name = names.name(row.key)
            if name is None:
                warnings.say(f"{row.key!r}: {unusable(row.key)}: left out")
                warnings.left_out += 1
                warnings.nameless += 1
            else:
                kept.append((name, row))
        if kept:
            yield _Task(
                output=options.output,
                format=options.format,
                names=tuple(name for name, _ in kept),
                keys=tuple(row.key for _, row in kept),
                pixels=tuple(row.width * row.height for _, row in kept),
                streams=tuple(row.layers for _, row in kept),
                texture=options.texture,
                refine=options.refine,
                levels=options.levels,
                size=archive.decoded_size(options.size),
            )


def _decode_task(task: _Task) -> _Answer:
    """Decode and write the pictures or latents of one task, in a worker."""
    warnings: list[str] = []
    damaged = lost = left_out = nameless = images = pixels = bytes_in = bytes_out = 0
    try:
        found: Sequence[Any] = _brought_back(task, task.streams)
        whole = True
    except (UnderpaintError, RuntimeError, MemoryError):
        found, whole = task.streams, False  # one of the batch is damaged: decode one by one
    storage = Storage(task.output)
    for name, key, size, stream, image in zip(
        task.names, task.keys, task.pixels, task.streams, found, strict=True
    ):
        try:
            if not whole:
                image, note = _from_good_layers(task, stream)
                if note:
                    damaged += 1
                    warnings.append(f"{key}: {note}")
            data = (
                pack_latents(image)
                if isinstance(image, Latents)
                else write_picture(image, task.format)
            )
            _put(storage, name, data)
        except _LeftOut as error:
            left_out += 1
            nameless += error.nameless
            warnings.append(f"{key}: {error}")
            continue
        except (UnderpaintError, RuntimeError, MemoryError) as error:
            lost += 1
            warnings.append(f"{key}: {error}")
            continue
        images += 1
        pixels += size if isinstance(image, Latents) else image.shape[0] * image.shape[1]
        bytes_in += sum(map(len, stream))
        bytes_out += len(data)
    counts = Counts(
        images=images, failed=lost, pixels=pixels, bytes_in=bytes_in, bytes_out=bytes_out
    )
    return _Answer(counts, tuple(warnings), damaged, lost, left_out, nameless)


def _brought_back(task: _Task, streams: Sequence[Sequence[bytes]]) -> Sequence[Any]:
    """Return pictures, or latents if the task asks for them."""
    codec = worker_codec()
    if task.format == LATENTS:
        return codec.latents(streams, levels=task.levels, size=task.size)
    return codec.decode(streams, size=task.size, texture=task.texture, refine=task.refine)


def _from_good_layers(task: _Task, stream: Sequence[bytes]) -> tuple[Any, str]:
    """Decode from the intact layers; return the result and a message about the others, or "".

    StreamError if not even layer 1 is intact.
    """
    note = ""
    while True:
        try:
            return _brought_back(task, [stream])[0], note
        except LayerDamaged as error:
            if not 0 < error.layer < len(stream):
                raise
            note = note or f"{error}; decoded from the {error.layer} layers before it"
            stream = stream[: error.layer]


def pack_latents(latents: Latents) -> bytes:
    """Return a NumPy file (.npz) with the arrays of `Latents` under their names."""
    file = io.BytesIO()
    np.savez(
        file,
        class_map=latents.class_map,
        embedding=latents.embedding,
        coefficients=latents.coefficients,
    )
    return file.getvalue()


def _put(storage: Storage, name: str, data: bytes) -> None:
    """Write a file completely or not at all; a local file is not flushed to disk at once."""
    if not storage.is_local:
        storage.put(name, data)
        return
    if leads_out(storage, name):
        raise _LeftOut(f"{name!r} leads out of the output folder by a link", nameless=False)
    try:
        with storage.scratch(name) as temporary:
            Path(temporary).write_bytes(data)
            os.replace(temporary, storage.path(name))
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise _LeftOut(f"{name!r} is in the way of another picture", nameless=True) from None
