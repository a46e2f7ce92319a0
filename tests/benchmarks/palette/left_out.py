"""Bounds the bytes that an encoder could save by leaving out details that networks do not need.

An upper bound: the encoder is given the ground truth (boxes of objects, or the points of a face)
and sets coefficients elsewhere, or of some levels, to zero. A real encoder would have to predict
where objects are. The streams follow the format.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from underpaint.codec.codec import Codec
from underpaint.codec.entropy.coder import EntropyCoder
from underpaint.codec.entropy.state import Symbols
from underpaint.codec.framing import Framing
from underpaint.codec.image_io.read import read_picture
from underpaint.codec.transform.subbands import (
    BLOCK,
    COMPONENTS,
    DYADIC_LEVELS,
    ORIENTATIONS,
    Geometry,
    band_index,
    geometry,
    view,
)
from underpaint.codec.weights.model import Weights
from underpaint.pipelines.cli.console import table
from underpaint.pipelines.evaluation.curves import rate_at
from underpaint.pipelines.evaluation.photos import spread
from underpaint.pipelines.evaluation.tasks import detection, landmarks
from underpaint.pipelines.evaluation.tasks.kinds import DataSet, Task, find_data_sets

FIELDS = ("left out", "task", "layers", "bpp", "score", "kept")
KEPT = (0.95, 0.9, 0.85, 0.8)


@dataclass(frozen=True)
class LeftOut:
    """Coefficients that are set to zero: of whole levels, outside of objects, or of chroma."""

    name: str
    levels: tuple[int, ...] = ()
    outside: tuple[int, ...] = ()
    chroma: tuple[int, ...] = ()


CHOICES = (
    LeftOut("nothing"),
    LeftOut("chroma of levels 1 to 4", chroma=(1, 2, 3, 4)),
    LeftOut("level 1", levels=(1,)),
    LeftOut("level 1; 2 and 3 outside", levels=(1,), outside=(2, 3)),
    LeftOut("1 to 4 outside", outside=(1, 2, 3, 4)),
)


def leave_out(q: np.ndarray, layout: Geometry, what: LeftOut, objects: np.ndarray) -> None:
    """Set finest indices q, int16 [size], to zero in place; `objects` bool [h, w], positions."""
    for level in range(1, DYADIC_LEVELS + 1):
        side = 1 << (DYADIC_LEVELS - level)
        inside = objects.repeat(side, 0).repeat(side, 1)
        for component in range(COMPONENTS):
            for orientation in range(ORIENTATIONS):
                band = view(q, layout, band_index(level, component, orientation))
                if level in what.levels or (component and level in what.chroma):
                    band[:] = 0
                elif level in what.outside:
                    band[~inside] = 0


def positions_of_objects(data: DataSet, photo: str, layout: Geometry) -> np.ndarray:
    """Return the positions within one position of an object, bool [h, w], from the ground truth."""
    rows, columns = layout.positions
    folder, stem = data.photos[0].parents[1], Path(photo).stem
    unit = np.array([layout.width, layout.height]) / BLOCK
    boxes = detection.read_truth(folder / "boxes" / f"{stem}.txt").corners * np.tile(unit, 2)
    if (folder / "landmarks.csv").exists():
        points = landmarks.read_truth(folder / "landmarks.csv").get(stem, np.zeros((0, 2))) / BLOCK
        if len(points):
            boxes = np.concatenate([boxes, [[*points.min(0), *points.max(0)]]])
    found = np.zeros((rows, columns), bool)
    for left, top, right, bottom in boxes:
        first = max(0, int(top) - 1), max(0, int(left) - 1)
        found[first[0] : int(np.ceil(bottom)) + 1, first[1] : int(np.ceil(right)) + 1] = True
    return found


def run_left_out(
    weights: Weights, tasks: Path, output: Path, *, layers: int, limit: int | None
) -> None:
    """Measure each choice for 2 to `layers` layers; print tables and write the first as CSV."""
    codec, rows, rates = Codec(weights), [], []
    for data in find_data_sets(tasks):
        photos = list(data.photos) if limit is None else spread(data.photos, limit)
        looks = [
            _look(path, data, codec, weights, layers)
            for path in tqdm(photos, desc=data.name, unit="photo", file=sys.stderr)
        ]
        for task in data.tasks:
            of_originals = _grade(task, looks, "original", 0)
            for choice in CHOICES:
                bpp, kept = [], []
                for count in range(2, layers + 1):
                    score = _grade(task, looks, choice.name, count)
                    marked = (look for look in looks if task.name in look.seen["original", 0])
                    bpp.append(float(np.mean([look.bpp[choice.name, count] for look in marked])))
                    kept.append(task.kept(score, of_originals))
                    rows.append([
                        choice.name, task.name, str(count), f"{bpp[-1]:.4f}", f"{score:.4f}",
                        f"{100 * kept[-1]:.1f} %",
                    ])  # fmt: skip
                at = [rate_at(bpp, kept, share) for share in KEPT]
                rates.append([choice.name, task.name, *(f"{rate:.4f}" for rate in at)])
    with output.open("w", newline="") as file:
        csv.writer(file).writerows([FIELDS, *rows])
    print(table([list(FIELDS), *rows], left=2))
    print()
    heading = ["left out", "task", *(f"bpp, {share:.0%}" for share in KEPT)]
    print(table([heading, *rates], left=2))


@dataclass(frozen=True)
class _Looks:
    """One photo: bits per pixel and the output of each task, by choice and number of layers."""

    photo: str
    bpp: dict[tuple[str, int], float]
    seen: dict[tuple[str, int], dict[str, Any]]


def _look(path: Path, data: DataSet, codec: Codec, weights: Weights, layers: int) -> _Looks:
    pixels = read_picture(path.read_bytes()).pixels
    tasks = [task for task in data.tasks if task.has_truth(path.name)]
    looks = _Looks(path.name, {}, {("original", 0): _seen(tasks, path.name, pixels)})
    (symbols,) = codec.quantised([pixels])
    layout = geometry(*pixels.shape[:2])
    objects = positions_of_objects(data, path.name, layout)
    for choice in CHOICES:
        q = symbols.q.copy()
        leave_out(q, layout, choice, objects)
        stream = list(_packed(weights, replace(symbols, q=q), layout, layers))
        for count in range(2, layers + 1):
            (decoded,) = codec.decode([stream[:count]])
            size = sum(map(len, stream[:count]))
            looks.bpp[choice.name, count] = 8 * size / (layout.height * layout.width)
            looks.seen[choice.name, count] = _seen(tasks, path.name, decoded)
    return looks


def _packed(weights: Weights, symbols: Symbols, layout: Geometry, layers: int) -> Iterator[bytes]:
    framing = Framing(layout.height, layout.width, weights.id, ())
    return map(framing.layer, EntropyCoder(weights).encode(symbols, layout, layers))


def _seen(tasks: Sequence[Task], photo: str, pixels: np.ndarray) -> dict[str, Any]:
    return {task.name: task.look(photo, pixels) for task in tasks}


def _grade(task: Task, looks: Sequence[_Looks], choice: str, layers: int) -> float:
    answers = {look.photo: look.seen[choice, layers] for look in looks}
    return task.grade({p: seen[task.name] for p, seen in answers.items() if task.name in seen})
