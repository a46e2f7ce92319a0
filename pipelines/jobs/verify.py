"""The verification job: reads every page, layer, dead letter and key of an archive."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from underpaint.codec.archive import Archive, orphans
from underpaint.codec.bitstream import picture_header
from underpaint.codec.errors import ArchiveDamaged, UnderpaintError
from underpaint.codec.storage.web import WEB
from underpaint.pipelines.cli.console import ProgressLine
from underpaint.pipelines.jobs.worker_pool import (
    batches,
    find_weights,
    wanted_workers,
    work,
    worker_codec,
)
from underpaint.transforms.progress import Counts


@dataclass(frozen=True)
class VerifyOptions:
    """Options of a verification job."""

    archive: str
    workers: int | None = None
    weights: str | None = None
    device: str = "auto"


@dataclass(frozen=True)
class VerifyResult:
    """The outcome of a verification job."""

    images: int
    layers: int
    """Number of layers decoded without an error."""
    damages: tuple[str, ...]
    leftovers: Mapping[str, int]
    """Files that are not part of the archive, with their sizes; unknown on a web server."""


@dataclass(frozen=True)
class _Task:
    keys: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    streams: tuple[tuple[bytes, ...], ...]
    largest: int | None
    """Size of the largest pictures of the archive; None: full pictures."""


def verify(options: VerifyOptions, report: Callable[[str], None]) -> VerifyResult:
    """Read everything with its checksums and decode every layer; pass each damage to `report`."""
    archive = Archive.open(options.archive)
    statistics = archive.statistics()
    weights = find_weights(options.weights, options.device, archive.weights_id, tensors=False)
    found: dict[str, None] = {}  # in order, each once: every row group of a lost file is reported

    def damage(what: object) -> None:
        text = str(what)
        if text not in found:
            found[text] = None
            report(text)

    def tasks() -> Iterator[_Task]:
        for group in batches(archive.rows(labels=True, on_damage=damage)):
            yield _Task(
                tuple(row.key for row in group),
                tuple((row.height, row.width) for row in group),
                tuple(row.layers for row in group),
                archive.decoded_size(None),
            )

    counts = Counts()
    layers = 0
    answers = work(
        _verify_task,
        tasks(),
        workers=wanted_workers(options.workers, statistics.pixels),
        weights=weights,
        device=options.device,
        tensors=False,
    )
    with ProgressLine(lambda: counts, 0, statistics.images):
        for done, good, faults in answers:
            counts += done
            layers += good
            for fault in faults:
                damage(fault)
    try:
        letters = sum(1 for _ in archive.dead_letters())
        if letters != statistics.failed:
            damage(f"{letters} dead letters, {statistics.failed} in the manifest")
        for key in archive.duplicate_keys():
            damage(f"key {key!r} is there more than once")
    except ArchiveDamaged as error:
        path = str(error).partition(": ")[0]
        if not any(text.startswith(f"{path}: ") for text in found):
            damage(error)
    for changed in archive.check_files():  # bytes that no reader uses, such as the page index
        if not any(text.startswith(changed.path) for text in found):
            damage(changed)
    if counts.images != statistics.images and not found:
        damage(f"{counts.images} images, {statistics.images} in the manifest")
    sys.stderr.flush()
    listable = not archive.storage.root.startswith(WEB)
    leftovers = orphans(archive.storage) if listable else {}
    return VerifyResult(counts.images, layers, tuple(found), leftovers)


def _verify_task(task: _Task) -> tuple[Counts, int, tuple[str, ...]]:
    """Decode every layer of some images to symbols, in a worker."""
    codec = worker_codec()
    faults = []
    good = pixels = bytes_in = 0
    for key, size, stream in zip(task.keys, task.sizes, task.streams, strict=True):
        try:
            codec.check(stream, size=task.largest)
            header = picture_header(stream)
            if (header.height, header.width) != size:
                faults.append(f"{key}: the row says {size[1]} x {size[0]}, its stream does not")
            good += len(stream)
        except UnderpaintError as error:
            faults.append(f"{key}: {error}")
        pixels += size[0] * size[1]
        bytes_in += sum(map(len, stream))
    counts = Counts(
        images=len(task.keys), failed=len(faults), pixels=pixels, bytes_in=bytes_in, bytes_out=0
    )
    return counts, good, tuple(faults)
