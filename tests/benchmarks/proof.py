"""Trains the same networks from originals, from shrunken files, and from layers of an archive.

python -m tests.benchmarks.proof FOLDER --networks TASKS --work WORK [--only scratch|probe|rate]

FOLDER holds one folder of photos for each class. WORK receives the photos in every form, and
`results.jsonl`: a stopped run continues when the same command is given again. Prints a table and
draws `proof.png` there. Every seed tests another fifth of the photos, the same for all inputs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from tests.benchmarks.training.inputs import (
    ORIGINAL,
    SIDE,
    Input,
    Layers,
    all_inputs,
    rate_inputs,
    seconds_an_image,
)
from tests.benchmarks.training.networks import features, open_network, probe, train
from tests.benchmarks.training.results import Results, plot, table_rows
from tests.benchmarks.training.stores import labelled_photos, write_stores
from underpaint.codec.errors import UnderpaintError, UsageError
from underpaint.pipelines.cli.console import table

KINDS = ("rate", "probe", "scratch")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is not in WORK yet; print a table; 0, or 2 after a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.proof",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", help="folder of photos in class folders")
    parser.add_argument("--networks", type=Path, required=True, help="folder of squeezenet*.onnx")
    parser.add_argument("--work", type=Path, required=True, help="folder for stores and results")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8, help="of training from scratch")
    parser.add_argument("--rounds", type=int, default=3, help="of measuring rates, in turns")
    parser.add_argument("--images", type=int, default=500, help="that a round reads of an input")
    parser.add_argument("--only", choices=KINDS, help="measure this only (default: all)")
    parser.add_argument("--inputs", help="names with commas between them (default: all)")
    try:
        _run(parser.parse_args(arguments))
    except UnderpaintError as error:
        print(f"proof: {error}", file=sys.stderr)
        return 2
    return 0


def _run(chosen: argparse.Namespace) -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    photos, classes = labelled_photos(chosen.folder)
    print(f"{len(photos)} photos of {len(classes)} classes", flush=True)
    write_stores(photos, chosen.work)
    labels = np.array([photo.label for photo in photos])
    results = Results(chosen.work / "results.jsonl", chosen.epochs)
    inputs = _chosen(all_inputs(), chosen.inputs)
    for one in inputs:
        if not results.has("bytes", one.name, 0):
            results.add("bytes", one.name, 0, value=one.image_bytes(chosen.work))
    for kind in (chosen.only,) if chosen.only else KINDS:
        if kind == "rate":
            _rate(chosen, results)
        elif kind == "probe":
            _probe(chosen, results, inputs, labels)
        else:
            _scratch(chosen, results, inputs, labels)
    print(table(table_rows(results, rate_inputs())))
    plot(results, all_inputs(), chosen.work / "proof.png")


def _chosen(inputs: list[Input], names: str | None) -> list[Input]:
    if names is None:
        return inputs
    known = {one.name: one for one in inputs}
    unknown = [name for name in names.split(",") if name not in known]
    if unknown:
        raise UsageError(f"--inputs: no {unknown[0]!r}; choose from {', '.join(known)}")
    return [known[name] for name in dict.fromkeys([ORIGINAL, *names.split(",")])]


def _rate(chosen: argparse.Namespace, results: Results) -> None:
    """Time all inputs in turns, in one process; a round that was stopped is measured again."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for one in rate_inputs():  # compiles
        if not all(results.has("rate", one.name, seed) for seed in range(chosen.rounds)):
            seconds_an_image(one, chosen.work, 16)
    for number in range(chosen.rounds):
        if not all(results.has("rate", one.name, number) for one in rate_inputs()):
            spent = {
                one.name: seconds_an_image(one, chosen.work, chosen.images) for one in rate_inputs()
            }
            for name, seconds in spent.items():
                results.add("rate", name, number, value=seconds)
            print(f"rate: round {number + 1} of {chosen.rounds}", flush=True)
    torch.set_num_threads(threads)


def _probe(
    chosen: argparse.Namespace, results: Results, inputs: Sequence[Input], labels: np.ndarray
) -> None:
    extractor = open_network(chosen.networks)
    for one in inputs:
        seeds = [s for s in range(chosen.seeds) if not results.has("probe", one.name, s)]
        if not seeds or _is_latents(one):
            continue
        side = extractor.preprocessing.side
        vectors = features(extractor, one.samples(chosen.work, side))
        for seed in seeds:
            trained = probe(vectors, labels, seed)
            results.add("probe", one.name, seed, trained.accuracy, trained.epoch_seconds)
        print(f"probe: {one.name}", flush=True)


def _scratch(
    chosen: argparse.Namespace, results: Results, inputs: Sequence[Input], labels: np.ndarray
) -> None:
    """Train seed after seed, so that a stopped run compares all inputs."""
    for seed in range(chosen.seeds):
        for one in inputs:
            if not results.has("scratch", one.name, seed):
                trained = train(_cached(one, chosen.work), labels, seed, chosen.epochs)
                results.add("scratch", one.name, seed, trained.accuracy, trained.epoch_seconds)
                print(f"scratch: {one.name}, seed {seed}: {trained}", flush=True)


def _cached(one: Input, work: Path) -> torch.Tensor:
    """Return all samples, decoded once: uint8 [N, 3, S, S], or float16 latents."""
    cache = work / "cache" / f"{one.name}.npy"
    if not cache.exists():
        cache.parent.mkdir(exist_ok=True)
        dtype = torch.float16 if _is_latents(one) else torch.uint8
        samples = torch.stack([sample.to(dtype) for sample in one.samples(work, SIDE)])
        part = cache.with_suffix(".part.npy")
        np.save(part, samples.numpy())
        part.rename(cache)
    return torch.from_numpy(np.load(cache))


def _is_latents(one: Input) -> bool:
    return isinstance(one, Layers) and one.size is None


if __name__ == "__main__":
    sys.exit(main())
