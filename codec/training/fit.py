"""Fits all parts of the weights but the network: classes, contexts, tables, centroids and
the statistics of latents.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from underpaint.codec.analysis import closed_loop
from underpaint.codec.codec import Codec
from underpaint.codec.entropy.activity import FEATURES, LARGEST_ACTIVITY, activity_reach
from underpaint.codec.entropy.estimates import Estimates
from underpaint.codec.entropy.significance import FLAG_FEATURES
from underpaint.codec.entropy.signs import SIGN_FEATURES
from underpaint.codec.entropy.state import Symbols
from underpaint.codec.entropy.tables import frequencies_from_counts
from underpaint.codec.errors import UsageError
from underpaint.codec.palette.classes import MAGNITUDE_UNIT, TEXTURE_INDEX, TextureClasses
from underpaint.codec.palette.semantic_head import SemanticHead
from underpaint.codec.quantize.cell_tables import CENTROID_KINDS
from underpaint.codec.quantize.cells import MOST_CHILDREN, Cells
from underpaint.codec.quantize.quantizer import step_bands
from underpaint.codec.reconstruct.latent_statistics import LatentStatistics
from underpaint.codec.reconstruct.network import BackwardNetwork
from underpaint.codec.reconstruct.network_shape import NetworkShape
from underpaint.codec.training.fit_classes import (
    fit_masks,
    fit_scales,
    sensitivity_of_classes,
    unfitted_classes,
)
from underpaint.codec.training.fit_contexts import class_of, fit_step
from underpaint.codec.training.fit_estimates import counted, with_estimates
from underpaint.codec.training.fit_head import fit_head, sample_positions
from underpaint.codec.training.latent_statistics import with_latent_statistics
from underpaint.codec.training.recipe import codec_config, finest_steps
from underpaint.codec.training.settings import Recipe
from underpaint.codec.transform.pictures import pad_to_blocks, picture_bands
from underpaint.codec.transform.prediction import Predictions
from underpaint.codec.transform.subbands import (
    BANDS,
    BLOCK,
    FLAG_GROUPS,
    LEVEL,
    LEVELS,
    geometry,
    view,
)
from underpaint.codec.weights.header import content_id
from underpaint.codec.weights.loading import pack_weights
from underpaint.codec.weights.model import Weights

log = logging.getLogger(__name__)

_POSITIONS_PER_PHOTO = 200
_CENTROID_PHOTOS = 150


def fit_weights(
    photos: Sequence[np.ndarray], recipe: Recipe, kept: Weights | None = None
) -> Weights:
    """Fit every part of the weights but the network, which is left as initialised, the identity.

    `photos` uint8 [H, W, 3] in random order: a prefix serves as a sample. If `kept` is given, its
    classes, its semantic head and its learned lifting step are reused; classes and head are
    restated in the steps of the recipe.
    """
    rng = np.random.default_rng(recipe.seed)
    torch.manual_seed(recipe.seed)
    head, classes = _restated(kept, recipe) if kept else _learned(photos, recipe, rng)
    weights = _uncounted(recipe, head, classes)
    if kept is not None:  # centroids: of the low bands that details are predicted from
        weights = replace(
            weights,
            centroids=kept.centroids,
            prediction_shape=kept.prediction_shape,
            prediction_parameters=kept.prediction_parameters,
        )
    codec = Codec(weights)
    symbols = [codec.quantised([photo])[0] for photo in photos]
    log.info("quantised %d photos", len(photos))
    shapes = [photo.shape[:2] for photo in photos]
    weights = replace(weights, classes=_with_expected_magnitudes(weights.classes, shapes, symbols))
    weights = _with_contexts(weights, shapes, symbols, recipe, rng)
    weights = _with_tables(weights, shapes, symbols)
    weights = _with_centroids(weights, photos[:_CENTROID_PHOTOS], symbols)
    weights = with_latent_statistics(weights, photos[: recipe.latent_photos])
    return replace(weights, id=content_id(pack_weights(weights)))


def check_classes(photos: Sequence[np.ndarray], recipe: Recipe) -> None:
    """Raise UsageError if fewer positions are sampled of photos than a recipe has classes."""
    sides = [[-(-side // BLOCK) for side in photo.shape[:2]] for photo in photos]
    counts = [rows * columns for rows, columns in sides[: recipe.class_photos]]
    count = sum(min(_POSITIONS_PER_PHOTO, positions) for positions in counts)
    if count < recipe.classes:
        raise UsageError(
            f"--classes {recipe.classes}: more than the {count} positions that are sampled of the "
            "photos; give fewer classes, more photos or more --class-photos"
        )


def _learned(
    photos: Sequence[np.ndarray], recipe: Recipe, rng: np.random.Generator
) -> tuple[SemanticHead, TextureClasses]:
    steps = finest_steps(recipe)
    chosen = photos[: recipe.class_photos]
    positions = sample_positions(chosen, steps, recipe, _POSITIONS_PER_PHOTO, rng)
    log.info("sampled %d positions of %d photos", len(positions.photo), len(chosen))
    head = fit_head(positions, recipe)
    embedded = head.embed_inputs(positions.inputs)
    scale, embedding = fit_scales(
        positions.energies, embedded, recipe.evidence, recipe.classes, recipe.class_rounds, rng
    )
    classes = unfitted_classes(scale, fit_masks(scale, recipe.masking, None, 0), embedding)
    if recipe.salience and positions.changes.size:
        labels = classes.costs(positions.energies, embedded, recipe.evidence).argmin(1)
        sensitivity = sensitivity_of_classes(positions.changes, labels, len(scale))
        masks = fit_masks(scale, recipe.masking, sensitivity, recipe.salience)
        classes = unfitted_classes(scale, masks, embedding)
    log.info("fitted %d texture classes", len(scale))
    return head, classes


def _restated(kept: Weights, recipe: Recipe) -> tuple[SemanticHead, TextureClasses]:
    """Return the head and the classes of earlier weights in the steps of a recipe.

    Energies are in finest steps: where steps changed, the same picture has the same class again.
    """
    ratio = (finest_steps(recipe) / kept.steps)[TEXTURE_INDEX]
    return kept.head.in_steps(ratio), kept.classes.in_steps(ratio)


def _uncounted(recipe: Recipe, head: SemanticHead, classes: TextureClasses) -> Weights:
    config = codec_config(recipe)
    count = len(config.widths)
    network = BackwardNetwork(NetworkShape(classes=classes.count, layers=len(config.layers)))
    return Weights(
        config=config,
        steps=finest_steps(recipe),
        classes=classes,
        head=head,
        activity=np.zeros((count, BANDS, FEATURES), np.int32),
        flag_activity=np.zeros((count, FLAG_GROUPS, FLAG_FEATURES), np.int32),
        sign_weights=np.zeros((count, BANDS, SIGN_FEATURES), np.int16),
        frequencies=np.zeros((config.table_layout.count, MOST_CHILDREN), np.uint16),
        estimates=Estimates.neutral(count, config.mixes_splits),
        centroids=np.full((count, LEVELS + 1, 2, CENTROID_KINDS), 0.5, np.float32),
        latents=LatentStatistics.neutral(len(config.layers)),
        network_shape=network.shape,
        parameters=network.parameter_arrays(),
    )


def _with_expected_magnitudes(
    classes: TextureClasses, shapes: Sequence[tuple[int, ...]], symbols: Sequence[Symbols]
) -> TextureClasses:
    """Set the expected magnitude of each class and band to the mean over its positions."""
    sums = np.zeros((classes.count, BANDS))
    sizes = np.ones((classes.count, BANDS))
    for shape, image in zip(shapes, symbols, strict=True):
        layout = geometry(*shape)
        labels = image.palettes[-1].class_map.ravel()
        for band in range(BANDS):
            values = np.abs(view(image.q, layout, band).astype(np.int32))
            y, x = np.mgrid[: values.shape[0], : values.shape[1]]
            which = labels[class_of(layout, int(layout.bands[band, LEVEL]), y, x)].ravel()
            sums[:, band] += np.bincount(which, values.ravel(), classes.count)
            sizes[:, band] += np.bincount(which, minlength=classes.count)
    magnitude = np.round(MAGNITUDE_UNIT * sums / sizes).astype(np.int32)
    return replace(classes, expected_magnitude=magnitude)


def _with_contexts(
    weights: Weights,
    shapes: Sequence[tuple[int, ...]],
    symbols: Sequence[Symbols],
    recipe: Recipe,
    rng: np.random.Generator,
) -> Weights:
    chain, plans = weights.config.chain, weights.config.layers
    palette_at = np.concatenate(
        [np.full(plan.cell_steps, sum(p.palette_steps for p in plans[: i + 1]) - 1)
         for i, plan in enumerate(plans)]
    )  # fmt: skip
    expected = weights.classes.expected_magnitude.astype(np.float32) / MAGNITUDE_UNIT
    activity, flags, signs = [], [], []
    for step in range(len(weights.config.widths)):
        images = (
            (
                geometry(*shape),
                image.q,
                expected[image.palettes[palette_at[step]].class_map.ravel()],
            )
            for shape, image in zip(shapes[: recipe.context_photos], symbols, strict=False)
        )
        fitted = fit_step(images, chain[step], chain[step + 1], step == 0, rng)
        activity.append(fitted[0])
        flags.append(fitted[1])
        signs.append(fitted[2])
        log.info("fitted the contexts of step %d", step)
    stacked = np.stack(activity)
    reach = activity_reach(stacked, weights.classes.expected_magnitude, chain[0].zero)
    share = np.minimum(1, LARGEST_ACTIVITY / np.maximum(reach, 1))
    stacked = np.fix(stacked * share[..., None]).astype(np.int32)
    return replace(
        weights, activity=stacked, flag_activity=np.stack(flags), sign_weights=np.stack(signs)
    )


def _with_tables(
    weights: Weights, shapes: Sequence[tuple[int, ...]], symbols: Sequence[Symbols]
) -> Weights:
    tally = counted(weights, shapes, symbols)
    log.info("counted %d symbols", tally.tables.sum())
    chain = list(weights.config.chain)
    frequencies = frequencies_from_counts(tally.tables, weights.config.table_layout, chain)
    weights = with_estimates(replace(weights, frequencies=frequencies), tally, shapes, symbols)
    log.info("fitted the estimates and how they are mixed")
    return weights


def _with_centroids(
    weights: Weights, photos: Sequence[np.ndarray], symbols: Sequence[Symbols]
) -> Weights:
    """Set the centroids to the mean position of coefficients within their cells.

    By step, level, lightness or chroma, and index of the cell.
    """
    config = weights.config
    shape = (len(config.widths), LEVELS + 1, 2, CENTROID_KINDS)
    sums, sizes = np.full(shape, 4.0), np.full(shape, 8.0)
    prediction = weights.prediction_on(torch.device("cpu"))
    for photo, image in zip(photos, symbols, strict=False):
        masks = torch.from_numpy(weights.classes.mask[image.palettes[0].class_map])[None, None]
        pixels = pad_to_blocks([photo], torch.device("cpu"))
        bands = picture_bands(pixels, [image.rotation], config.shear)
        steps = step_bands(weights.steps, masks)
        predictions = Predictions(prediction, [image.rotation], len(config.widths))
        bands = closed_loop(weights).quantise(bands, steps, predictions).residuals
        for place, (band, step) in enumerate(zip(bands, steps, strict=True)):
            level = place // 3 + 1 if place < 3 * LEVELS else 0
            values = config.compander.compress(band / step)[0].abs().numpy()
            for state, cells in enumerate(config.chain[1:]):
                _add_centroids(values, cells, sums[state, level], sizes[state, level])
    return replace(weights, centroids=(sums / sizes).astype(np.float32))


def _add_centroids(values: np.ndarray, cells: Cells, sums: np.ndarray, sizes: np.ndarray) -> None:
    for component in range(3):
        magnitude = values[component]
        index = cells.index(np.round(magnitude).astype(np.int32))
        inside = (magnitude - cells.zero - 0.5) / cells.width - (index - 1)
        kind = np.minimum(index, CENTROID_KINDS - 1).ravel()
        target = min(component, 1)
        sums[target] += np.bincount(kind, inside.ravel(), CENTROID_KINDS)
        sizes[target] += np.bincount(kind, minlength=CENTROID_KINDS)
