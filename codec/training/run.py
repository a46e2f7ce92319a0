"""Trains weights from a folder of photos; every stage can be resumed.

photos -> fit (head, classes, contexts, tables, centroids, latents) -> fitted.safetensors
       -> train (learned lifting step), if asked for  -> lifting/state.safetensors, log.csv
       -> fit again to the residuals                  -> refitted.safetensors
       -> train (backward network)                    -> network/state.safetensors, log.csv
       -> export                                      -> OUTPUT, OUTPUT's log and report
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch

from underpaint.codec.codec import Codec
from underpaint.codec.errors import UsageError
from underpaint.codec.metrics import ms_ssim_of_pictures, psnr
from underpaint.codec.reconstruct.network import BackwardNetwork
from underpaint.codec.storage.locks import alone
from underpaint.codec.training.drawn import drawn_pictures
from underpaint.codec.training.fit import check_classes, fit_weights
from underpaint.codec.training.latent_statistics import with_latent_statistics
from underpaint.codec.training.perceptual import FeatureDistance
from underpaint.codec.training.photos import find_photos, load_photos
from underpaint.codec.training.run_record import RECORD, run_record
from underpaint.codec.training.samples import CropSource, Samples
from underpaint.codec.training.semantic_layers import SemanticLayers
from underpaint.codec.training.settings import Kept, LiftingPlan, Recipe, TrainingPlan
from underpaint.codec.training.start import (
    check_start,
    check_teacher,
    plan_shape,
    start_network,
    weights_of,
)
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
    start_from: str | None = None,
    keep: Kept = "network",
    teacher: str | None = None,
    lifting: LiftingPlan = NO_LIFTING,
    network_from: str | None = None,
) -> Weights:
    """Train weights from photos and write them to `output`; resumes what the folder `run` holds.

    `start_from` names weights of which the run keeps the parts `keep`. The training goes on from
    their network, or from that of the weights `network_from`, which is pruned to the sizes of the
    plan. `teacher` names weights whose network is imitated, see `TrainingPlan.teacher_weight`. Each
    is a path, a URL or the name of a profile. A new learned lifting step is trained if `lifting`
    has steps.

    Raises UsageError, before anything is fitted or written, if photos, weights or the extractor are
    missing or do not fit the settings, or if `run` was started with other settings or another
    process trains in it.
    """
    paths = find_photos(photos)
    earlier = weights_of("--start-from", start_from)
    further = weights_of("--network-from", network_from)
    taught_by = weights_of("--teacher", teacher)
    shape = plan_shape(plan, recipe, earlier, keep)
    check_start("--network-from", further, shape)
    check_start("--start-from", None if further else earlier, shape)
    check_teacher("--teacher", taught_by, shape)
    learns = earlier is None or keep == "network"
    features = _features(recipe, plan, device, learns)
    if (run / RECORD).exists():  # found wrong before photos are read
        with _alone_in(run):
            run_record(run, recipe, plan, lifting)
    start = further or earlier
    crops = [("--lifting-crop", lifting.lifting_crop)] if lifting.lifting_steps else []
    if plan.steps or (start and start.network_shape != shape):
        crops.append(("--crop", plan.crop))
    pictures, held_out = _photos(paths, recipe.seed, crops)
    if learns:
        check_classes(pictures, recipe)
    run.mkdir(parents=True, exist_ok=True)
    with _alone_in(run):
        (run / RECORD).write_text(run_record(run, recipe, plan, lifting), "utf-8")
        if plan.feature_weight and not recipe.extractor:
            log.info("no extractor: the loss has no share of features")
        weights = _fitted(run / "fitted.safetensors", pictures, recipe, earlier, keep)
        if lifting.lifting_steps:
            weights = _with_lifting(run, weights, pictures, held_out, recipe, lifting, device)
        codec = Codec(weights)

        def measure(step: int, network: BackwardNetwork) -> None:
            _measure(run / "held_out.csv", step, weights.with_network(network), held_out)

        drawn = _drawn(pictures, plan) if plan.drawn and plan.steps else []
        source = CropSource(
            pictures, lambda picture: codec.quantised([picture])[0], plan.crop, drawn, plan.drawn
        )
        samples = Samples(weights, source, plan, device)
        network = start_network(start, samples)
        trainer = NetworkTrainer(
            network, samples, run / "network", device, measure, features,
            taught_by.network if taught_by else None,
        )  # fmt: skip
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
        shutil.copy(run / RECORD, output.with_name(f"{output.stem}-settings.json"))
        log.info("wrote %s, weights %s", output, content_id(data))
        return unpack_weights(data)


def _alone_in(run: Path) -> AbstractContextManager[None]:
    """Keep other processes out of a run folder; UsageError if one works in it."""
    return alone(run / "lock", str(run))


def _drawn(photos: Sequence[np.ndarray], plan: TrainingPlan) -> list[np.ndarray]:
    rng = np.random.default_rng(plan.seed)
    return drawn_pictures(photos, DRAWN_PICTURES, 2 * plan.crop, rng)


def _features(
    recipe: Recipe, plan: TrainingPlan, device: torch.device, fits_head: bool
) -> FeatureDistance | None:
    """Open the extractor, and return the distance in its features if the plan asks for it."""
    if not recipe.extractor:
        return None
    if fits_head:
        SemanticLayers(recipe.extractor, recipe.extractor_input)
    if not plan.feature_weight or not plan.steps:
        return None
    return FeatureDistance(recipe.extractor, recipe.extractor_input, device)


def _photos(
    paths: Sequence[Path], seed: int, crops: Sequence[tuple[str, int]]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Load the photos to train on and those held out; UsageError if they are too few or small.

    `crops` are sides of crops, with the options that set them.
    """
    order = np.random.default_rng(seed).permutation(len(paths))
    aside = [paths[i] for i in order[::HELD_OUT_EVERY]][:MOST_HELD_OUT]
    others = [paths[i] for place, i in enumerate(order) if place % HELD_OUT_EVERY]
    held_out, kept = list(load_photos(aside)), list(load_photos(others))
    if not held_out and kept:
        held_out.append(kept.pop())
    if len(kept) < 2:
        count = len(kept) + len(held_out)
        raise UsageError(f"too few photos to train on: {count}; want 3 or more")
    for option, crop in crops:
        for group, pictures in (("photo", kept), ("held-out photo", held_out)):
            if max(min(picture.shape[:2]) for picture in pictures) < crop:
                raise UsageError(f"{option} {crop}: no {group} has sides of so many pixels")
    log.info("%d photos to train on, %d held out", len(kept), len(held_out))
    return kept, held_out


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
