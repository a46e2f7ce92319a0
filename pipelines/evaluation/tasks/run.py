"""Runs every task on originals, on the states of the codec and on peers."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from underpaint.codec.errors import UsageError
from underpaint.codec.image_io.read import read_picture
from underpaint.codec.runtime.child_process import ProcessPool
from underpaint.pipelines.evaluation.curves import rate_at
from underpaint.pipelines.evaluation.measurement import CODEC, PeerCache, load_codec, single_thread
from underpaint.pipelines.evaluation.peers import peer_named, peers_named
from underpaint.pipelines.evaluation.photos import LeftOut, read_or_leave, spread, without_left_out
from underpaint.pipelines.evaluation.tasks.kinds import DataSet, Task, find_data_sets

ORIGINAL = "original"

RUNGS = 9
"""Number of a peer's settings that are tried, from the coarsest: up to about 1 bpp."""

KEPT = (0.95, 0.9, 0.8)
"""Shares of the score on originals at which bytes are compared."""


@dataclass(frozen=True)
class Look:
    """One photo at one setting of one codec: its bytes, and the output of each task."""

    size: int
    seen: dict[str, Any]
    """By the task's name."""


@dataclass(frozen=True)
class PhotoLooks:
    """One photo at every setting of every codec."""

    photo: str
    pixels: int
    looks: dict[str, list[Look]]
    """By codec; `ORIGINAL` has one."""


@dataclass(frozen=True)
class TaskCurve:
    """The score of one task at each setting of one codec, coarse to fine."""

    codec: str
    label: str
    settings: tuple[str, ...]
    bpp: tuple[float, ...]
    """Mean over photos."""
    size: tuple[float, ...]
    """Mean bytes of a photo."""
    score: tuple[float, ...]
    kept: tuple[float, ...]
    """Share of the score on originals."""

    def bpp_at(self, share: float) -> float:
        """Return the bits per pixel at which a share of the score is kept.

        Interpolated on the rising part of the curve; that of the coarsest point if it keeps more,
        nan if no point keeps it.
        """
        return self.bpp[0] if self.is_bound(share) else rate_at(self.bpp, self.kept, share)

    def is_bound(self, share: float) -> bool:
        """Return whether the coarsest point keeps more, so that `bpp_at` is an upper bound."""
        return self.kept[0] > share


@dataclass(frozen=True)
class TaskReport:
    """One task over all codecs."""

    task: Task
    photos: int
    of_originals: float
    curves: tuple[TaskCurve, ...]


def run_tasks(
    folder: Path,
    peers: Sequence[str],
    *,
    weights: str | None,
    texture: int | None,
    with_codec: bool,
    cache: Path | None,
    workers: int,
    limit: int | None,
) -> tuple[list[TaskReport], int]:
    """Run every task of a folder; return the reports and how many photos cannot be read.

    Those are left out and named on standard error. Raises UsageError and MeasurementFailed.

    `texture` is the seed of the texture that is added to coarse states: see `Codec.decode`.
    """
    reports: list[TaskReport] = []
    left_out = 0
    for data in find_data_sets(folder):
        photos = list(data.photos) if limit is None else spread(data.photos, limit)
        common = (data, tuple(peers), weights, texture, with_codec, cache)
        jobs = [(photo, *common) for photo in photos]
        looks, unread = without_left_out(
            tqdm(
                _in_processes(jobs, min(workers, len(jobs))),
                total=len(jobs),
                unit="photo",
                desc=data.name,
                file=sys.stderr,
            )
        )
        left_out += unread
        reports += [_report(task, looks, peers, weights) for task in data.tasks]
    return reports, left_out


Job = tuple[Path, DataSet, tuple[str, ...], "str | None", "int | None", bool, "Path | None"]


def _in_processes(jobs: Sequence[Job], workers: int) -> Iterator[PhotoLooks | LeftOut]:
    if workers == 1:
        yield from map(_look_at_photo, jobs)
        return
    with ProcessPool(workers, single_thread) as pool:
        yield from pool.map(_look_at_photo, jobs)


def _look_at_photo(job: Job) -> PhotoLooks | LeftOut:
    path, data, peer_names, weights, texture, with_codec, folder = job
    pixels = read_or_leave(path.name, lambda: read_picture(path.read_bytes()).pixels)
    if isinstance(pixels, LeftOut):
        return pixels
    tasks = [task for task in data.tasks if task.has_truth(path.name)]
    store = PeerCache(folder, pixels)

    def look(key: str, quality: float, encode: Any, decode: Any) -> Look:
        size, known = store.get(f"tasks; {key}", quality)
        missing = [task for task in tasks if task.key not in known]
        if missing:
            file = encode()
            size, decoded = len(file), decode(file)
            known |= {task.key: task.look(path.name, decoded) for task in missing}
            store.put(f"tasks; {key}", quality, size, known)
        return Look(size, {task.name: known[task.key] for task in tasks})

    looks = {ORIGINAL: [look(ORIGINAL, 0, path.read_bytes, lambda _: pixels)]}
    for peer in peers_named(peer_names):
        looks[peer.name] = [
            look(peer.key, q, lambda p=peer, q=q: p.encode(pixels, q), peer.decode)
            for q in peer.qualities[:RUNGS]
        ]
    store.save()
    if with_codec:
        codec = load_codec(weights)
        (layers,) = codec.encode([pixels])
        looks[CODEC] = []
        for count in range(1, len(layers) + 1):
            (decoded,) = codec.decode([layers[:count]], texture=texture)
            seen = {task.name: task.look(path.name, decoded) for task in tasks}
            looks[CODEC].append(Look(sum(map(len, layers[:count])), seen))
    return PhotoLooks(path.name, pixels.shape[0] * pixels.shape[1], looks)


def _report(
    task: Task, photos: Sequence[PhotoLooks], peers: Sequence[str], weights: str | None
) -> TaskReport:
    marked = [photo for photo in photos if task.name in photo.looks[ORIGINAL][0].seen]
    if not marked:
        raise UsageError(f"{task.name}: no photo that can be read has a ground truth")
    of_originals = _grade(task, marked, ORIGINAL, 0)
    curves = []
    for name in [CODEC, *dict.fromkeys(peers)]:
        if name not in marked[0].looks:
            continue
        if name == CODEC:
            label = "Underpaint"
            names = load_codec(weights).layer_names
            settings = [f"{number} {name}" for number, name in enumerate(names, 1)]
        else:
            label = peer_named(name).label
            settings = [f"{q:g}" for q in peer_named(name).qualities[:RUNGS]]
        columns = range(len(settings))
        scores = [_grade(task, marked, name, at) for at in columns]
        sizes = [[photo.looks[name][at].size for photo in marked] for at in columns]
        curves.append(
            TaskCurve(
                codec=name,
                label=label,
                settings=tuple(settings),
                bpp=tuple(
                    math.fsum(8 * s / p.pixels for s, p in zip(column, marked, strict=True))
                    / len(marked)
                    for column in sizes
                ),
                size=tuple(sum(column) / len(marked) for column in sizes),
                score=tuple(scores),
                kept=tuple(task.kept(score, of_originals) for score in scores),
            )
        )
    return TaskReport(task, len(marked), of_originals, tuple(curves))


def _grade(task: Task, photos: Sequence[PhotoLooks], codec: str, at: int) -> float:
    return task.grade({photo.photo: photo.looks[codec][at].seen[task.name] for photo in photos})
