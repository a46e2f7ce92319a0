"""Trains weights from a folder of photos; every stage can be resumed.

photos -> fit (head, classes, contexts, tables, centroids, latents) -> fitted.safetensors
       -> train (learned lifting step), if asked for  -> lifting/state.safetensors, log.csv
       -> fit again to the residuals                  -> refitted.safetensors
       -> train (backward network)                    -> network/state.safetensors, log.csv
       -> export                                      -> OUTPUT, OUTPUT's log and report
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from underpaint.codec.codec import Codec
from underpaint.codec.errors import UsageError
from underpaint.codec.metrics import ms_ssim_of_pictures, psnr
from underpaint.codec.reconstruct.network import BackwardNetwork
from underpaint.codec.training.drawn import drawn_pictures
from underpaint.codec.training.fit import fit_weights
from underpaint.codec.training.latent_statistics import with_latent_statistics
from underpaint.codec.training.perceptual import FeatureDistance
from underpaint.codec.training.photos import find_photos, load_photos
from underpaint.codec.training.prune import pruned
from underpaint.codec.training.samples import CropSource, Samples
from underpaint.codec.training.semantic_layers import extractor_label
from underpaint.codec.training.settings import Kept, LiftingPlan, Recipe, TrainingPlan
from underpaint.codec.training.step_log import append_rows
from underpaint.codec.training.train_lifting import LiftingTrainer
from underpaint.codec.training.train_network import NetworkTrainer
from underpaint.codec.weights.header import content_id
from underpaint.codec.weights.loading import pack_weights, unpack_weights
from underpaint.codec.weights.model import Weights

log = logging.getLogger(__name__)

HELD_OUT_EVERY = 64
"""One photo in so many is held out from training, for measurements."""

MOST_HELD_OUT = 16

DRAWN_PICTURES = 400
"""Number of drawn pictures, each with sides of two crops."""

NO_LIFTING = LiftingPlan()
"""Train no learned lifting step."""


def train(
    photos: Sequence[str],
    output: Path,
    run: Path,
    recipe: Recipe,
    plan: TrainingPlan,
    device: torch.device,
    start_from: Path | None = None,
    keep: Kept = "network",
    teacher: Path | None = None,
    lifting: LiftingPlan = NO_LIFTING,
    network_from: Path | None = None,
) -> Weights:
    """Train weights from photos and write them to `output`; resumes what the folder `run` holds.

    `start_from` is a weights file of which the run keeps the parts `keep`. The training goes on
    from its network, or from that of the weights file `network_from`, which is pruned to the sizes
    of the plan. `teacher` is a weights file whose
    network is imitated, see `TrainingPlan.teacher_weight`. A new learned lifting step is trained if
    `lifting` has steps. Raises UsageError if there are too few photos, if `run` was started with
    other settings, or if the network is smaller than the plan's.
    """
    run.mkdir(parents=True, exist_ok=True)
    _same_settings(run / "settings.json", recipe, plan, lifting)
    paths = find_photos(photos)
    order = np.random.default_rng(recipe.seed).permutation(len(paths))
    held_out = list(load_photos([paths[i] for i in order[::HELD_OUT_EVERY]][:MOST_HELD_OUT]))
    kept = [paths[i] for place, i in enumerate(order) if place % HELD_OUT_EVERY]
    pictures = list(load_photos(kept))
    if len(pictures) < 2 or not held_out:
        raise UsageError(f"too few photos to train on: {len(pictures)}")
    log.info("%d photos to train on, %d held out", len(pictures), len(held_out))
    earlier = unpack_weights(start_from.read_bytes()) if start_from else None
    weights = _fitted(run / "fitted.safetensors", pictures, recipe, earlier, keep)
    if lifting.lifting_steps:
        weights = _with_lifting(run, weights, pictures, held_out, recipe, lifting, device)
    codec = Codec(weights)

    def measure(step: int, network: BackwardNetwork) -> None:
        _measure(run / "held_out.csv", step, weights.with_network(network), held_out)

    features = None
    if plan.feature_weight and not recipe.extractor:
        log.info("no extractor: the loss has no share of features")
    elif plan.feature_weight:
        features = FeatureDistance(recipe.extractor, recipe.extractor_input, device)
    drawn = _drawn(pictures, plan) if plan.drawn and plan.steps else []
    source = CropSource(
        pictures, lambda picture: codec.quantised([picture])[0], plan.crop, drawn, plan.drawn
    )
    samples = Samples(weights, source, plan, device)
    further = unpack_weights(network_from.read_bytes()) if network_from else earlier
    network = _start(further.network if further else None, samples)
    taught_by = unpack_weights(teacher.read_bytes()).network if teacher else None
    trainer = NetworkTrainer(
        network, samples, run / "network", device, measure, features, taught_by
    )
    trained = weights.with_network(trainer.run())
    data = pack_weights(trained)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(data)
    for name, place in (
        ("training", run / "network" / "log.csv"),
        ("held-out", run / "held_out.csv"),
        ("lifting", run / "lifting" / "held_out.csv"),
    ):
        if place.exists():
            shutil.copy(place, output.with_name(f"{output.stem}-{name}.csv"))
    shutil.copy(run / "settings.json", output.with_name(f"{output.stem}-settings.json"))
    log.info("wrote %s, weights %s", output, content_id(data))
    return unpack_weights(data)


def _drawn(photos: Sequence[np.ndarray], plan: TrainingPlan) -> list[np.ndarray]:
    rng = np.random.default_rng(plan.seed)
    return drawn_pictures(photos, DRAWN_PICTURES, 2 * plan.crop, rng)


def _start(earlier: BackwardNetwork | None, samples: Samples) -> BackwardNetwork:
    """Return the network to start with, in the sizes of the plan; see `train` for errors."""
    shape = samples.network_shape
    if earlier is None:
        torch.manual_seed(samples.plan.seed)
        return BackwardNetwork(shape)
    if earlier.shape == shape:
        return earlier
    try:
        return pruned(earlier, shape, samples.typical_inputs())
    except ValueError as error:
        raise UsageError(f"--start-from: {error}") from None


def _with_lifting(
    run: Path,
    weights: Weights,
    pictures: Sequence[np.ndarray],
    held_out: Sequence[np.ndarray],
    recipe: Recipe,
    plan: LiftingPlan,
    device: torch.device,
) -> Weights:
    """Train a learned lifting step for fitted weights, and fit them to what it leaves to code."""
    path = run / "refitted.safetensors"
    if path.exists():
        return unpack_weights(path.read_bytes())
    plain = weights.with_prediction(None)
    codec = Codec(plain)

    def source(photos: Sequence[np.ndarray], crop: int) -> CropSource:
        return CropSource(photos, lambda photo: codec.quantised([photo])[0], crop)

    trainer = LiftingTrainer(
        plain,
        source(pictures, plan.lifting_crop),
        source(held_out, plan.lifting_crop),
        plan,
        run / "lifting",
        device,
    )
    return _fitted(path, pictures, recipe, plain.with_prediction(trainer.run()), "classes")


def _same_settings(path: Path, recipe: Recipe, plan: TrainingPlan, lifting: LiftingPlan) -> None:
    """Write the settings of a run; raises UsageError if it was started with others.

    The number of steps may change; the record lists all numbers.
    """
    settings: dict[str, Any] = {"recipe": asdict(recipe), "plan": asdict(plan)}
    if lifting.lifting_steps:
        settings["lifting"] = asdict(lifting)
    settings["recipe"]["extractor"] = extractor_label(recipe.extractor)
    settings = json.loads(json.dumps(settings))
    lengths = [plan.steps]
    if path.exists():
        known = json.loads(path.read_text())
        before = known.pop("steps_asked_for", [known["plan"]["steps"]])
        lengths = before if before[-1] == plan.steps else [*before, plan.steps]
        known["plan"]["steps"] = plan.steps
        if known != settings:
            raise UsageError(f"{path.parent} was started with other settings: see {path}")
    settings["steps_asked_for"] = lengths
    path.write_text(json.dumps(settings, indent=2) + "\n")


def _fitted(
    path: Path,
    pictures: Sequence[np.ndarray],
    recipe: Recipe,
    earlier: Weights | None,
    keep: Kept,
) -> Weights:
    if path.exists():
        log.info("reusing the fitted parts in %s", path)
    elif earlier is not None and keep == "all":
        measured = with_latent_statistics(earlier, pictures[: recipe.latent_photos])
        path.write_bytes(pack_weights(measured))
    else:
        kept = earlier if keep == "classes" else None
        path.write_bytes(pack_weights(fit_weights(pictures, recipe, kept)))
    return unpack_weights(path.read_bytes())


def _measure(path: Path, step: int, weights: Weights, pictures: Sequence[np.ndarray]) -> None:
    """Append mean rate, PSNR and MS-SSIM over held-out photos, for each number of layers."""
    codec = Codec(weights)
    streams = [codec.encode([picture])[0] for picture in pictures]
    rows = []
    for layers in range(1, codec.layers + 1):
        figures = []
        for picture, stream in zip(pictures, streams, strict=True):
            decoded = codec.decode([stream[:layers]])[0]
            bits = 8 * sum(map(len, stream[:layers])) / (picture.shape[0] * picture.shape[1])
            figures.append((bits, psnr(picture, decoded), ms_ssim_of_pictures(picture, decoded)))
        means = np.mean(figures, 0)
        rows.append([step, layers, *(f"{value:.5f}" for value in means)])
        log.info("held out, %d layers: %.4f bpp, %.2f dB, MS-SSIM %.4f", layers, *means)
    append_rows(path, ["step", "layers", "bpp", "psnr_db", "ms_ssim"], rows)
