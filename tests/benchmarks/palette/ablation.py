"""Measures the value of each term of the merge cost, and of contrastive learning.

Merging is a choice of the encoder, so all variants write streams for the same weights: tables,
expected magnitudes and network stay, and only the merge weights of the encoder change.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from underpaint.codec.codec import Codec
from underpaint.codec.image_io.read import read_picture
from underpaint.codec.palette.merging import MergeWeights
from underpaint.codec.training.fit_classes import mean_embeddings
from underpaint.codec.training.fit_head import fit_head, sample_positions
from underpaint.codec.training.photos import find_photos, load_photos
from underpaint.codec.training.settings import Recipe
from underpaint.codec.weights.model import Weights
from underpaint.pipelines.cli.console import table
from underpaint.pipelines.evaluation.photos import spread
from underpaint.pipelines.evaluation.tasks.kinds import DataSet, Task, find_data_sets

POSITIONS_PER_PHOTO = 200
FIELDS = ("merged by", "head", "task", "layers", "entries", "bpp", "bytes", "score", "kept")


@dataclass(frozen=True)
class Setting:
    """Options of the ablation; `photos` are for fitting the head without contrastive learning."""

    tasks: Path
    photos: tuple[str, ...]
    fit_photos: int
    extractor: str
    extractor_input: str
    layers: int
    limit: int | None


@dataclass(frozen=True)
class Variant:
    """One way to choose classes and to merge palettes."""

    merge: str
    head: str
    codec: Codec


@dataclass(frozen=True)
class _Look:
    """One photo at one state: bytes, pixels, palette entries and the output of each task."""

    size: int
    pixels: int
    entries: int
    seen: dict[str, Any]


def merges(own: MergeWeights) -> dict[str, MergeWeights]:
    """Return the merge costs to compare, by name; `own` is that of the weights."""
    return {
        "colour": MergeWeights(latent=0, texture=0, semantic=0, colour=1),
        "texture": MergeWeights(latent=0, texture=1, semantic=0, colour=0),
        "latent": MergeWeights(latent=1, texture=0, semantic=0, colour=0),
        "meaning": MergeWeights(latent=0, texture=0, semantic=1, colour=0),
        "all": own,
    }


def variants(weights: Weights, setting: Setting) -> Iterator[Variant]:
    """Yield each merge cost with the trained head; those with meaning also with a plain one."""
    plain = without_learning(weights, setting)
    for name, merge in merges(weights.config.merge).items():
        for head, base in (("learned", weights), ("principal axes", plain)):
            if head == "learned" or merge.semantic:
                config = replace(base.config, merge=merge)
                yield Variant(name, head, Codec(replace(base, config=config)))


def without_learning(weights: Weights, setting: Setting) -> Weights:
    """Return weights with a head of the same size, made of principal axes without any labels."""
    rng = np.random.default_rng(1)
    paths = find_photos(setting.photos)
    chosen = spread([paths[i] for i in rng.permutation(len(paths))], setting.fit_photos)
    recipe = Recipe(
        extractor=setting.extractor,
        extractor_input=setting.extractor_input,
        contrastive_steps=0,
        embedding=weights.head.size,
        head_width=len(weights.head.widen),
    )
    positions = sample_positions(
        list(load_photos(chosen)), weights.steps, recipe, POSITIONS_PER_PHOTO, rng
    )
    head, classes = fit_head(positions, recipe), weights.classes
    labels = classes.code_lengths(positions.energies).argmin(1)
    embedding = mean_embeddings(head.embed_inputs(positions.inputs), labels, classes.count)
    return replace(weights, head=head, classes=replace(classes, embedding=embedding))


def run_ablation(weights: Weights, setting: Setting, output: Path) -> None:
    """Measure every variant on every task; print a table and write it as CSV."""
    reader = Codec(weights)
    rows: list[list[str]] = []
    data_sets = find_data_sets(setting.tasks)
    originals = {data.name: _originals(data, setting) for data in data_sets}
    for variant in variants(weights, setting):
        for data in data_sets:
            rows += _measured(variant, reader, data, setting, originals[data.name])
    with output.open("w", newline="") as file:
        csv.writer(file).writerows([FIELDS, *rows])
    print(table([list(FIELDS), *rows], left=4))


def _photos(data: DataSet, setting: Setting) -> list[Path]:
    return list(data.photos) if setting.limit is None else spread(data.photos, setting.limit)


def _originals(data: DataSet, setting: Setting) -> dict[str, float]:
    """Return the score of each task on the originals."""
    seen: dict[str, dict[str, Any]] = {task.name: {} for task in data.tasks}
    for path in _photos(data, setting):
        pixels = read_picture(path.read_bytes()).pixels
        for task in data.tasks:
            if task.has_truth(path.name):
                seen[task.name][path.name] = task.look(path.name, pixels)
    return {task.name: task.grade(seen[task.name]) for task in data.tasks}


def _measured(
    variant: Variant, reader: Codec, data: DataSet, setting: Setting, originals: dict[str, float]
) -> list[list[str]]:
    looks: dict[str, list[_Look]] = {}
    name = f"{data.name}, {variant.merge}, {variant.head}"
    for path in tqdm(_photos(data, setting), desc=name, unit="photo", file=sys.stderr):
        looks[path.name] = list(_looked(path, data, variant, reader, setting.layers))
    return [
        _row(variant, task, state, looks, originals[task.name])
        for task in data.tasks
        for state in range(setting.layers)
    ]


def _looked(
    path: Path, data: DataSet, variant: Variant, reader: Codec, layers: int
) -> Iterator[_Look]:
    pixels = read_picture(path.read_bytes()).pixels
    (stream,) = variant.codec.encode([pixels], layers=layers)
    for count in range(1, layers + 1):
        (decoded,) = reader.decode([stream[:count]])
        _, *maps, _ = reader.symbols(stream[:count])
        seen = {
            task.name: task.look(path.name, decoded)
            for task in data.tasks
            if task.has_truth(path.name)
        }
        size = sum(map(len, stream[:count]))
        yield _Look(size, pixels.shape[0] * pixels.shape[1], len(np.unique(maps[-1])), seen)


def _row(
    variant: Variant, task: Task, state: int, looks: dict[str, list[_Look]], of_originals: float
) -> list[str]:
    marked = {photo: at[state] for photo, at in looks.items() if task.name in at[state].seen}
    score = task.grade({photo: look.seen[task.name] for photo, look in marked.items()})
    mean = {
        "entries": np.mean([look.entries for look in marked.values()]),
        "bpp": np.mean([8 * look.size / look.pixels for look in marked.values()]),
        "bytes": np.mean([look.size for look in marked.values()]),
    }
    return [
        variant.merge, variant.head, task.name, str(state + 1), f"{mean['entries']:.1f}",
        f"{mean['bpp']:.4f}", f"{mean['bytes']:.0f}", f"{score:.4f}",
        f"{100 * task.kept(score, of_originals):.1f} %",
    ]  # fmt: skip
