"""Samples to train the network on: random crops in random states of the chain."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from underpaint.codec.analysis import closed_loop
from underpaint.codec.entropy.state import Symbols
from underpaint.codec.errors import UsageError
from underpaint.codec.palette.merging import PaletteState
from underpaint.codec.quantize.cells import Cells
from underpaint.codec.quantize.quantizer import step_bands
from underpaint.codec.quantize.reconstruction_points import Dequantised
from underpaint.codec.reconstruct.network import BackwardNetwork
from underpaint.codec.reconstruct.network_shape import NetworkShape
from underpaint.codec.training.settings import TrainingPlan
from underpaint.codec.transform.colour_rotation import ColourRotation
from underpaint.codec.transform.colours import Shear
from underpaint.codec.transform.pictures import bands_picture, picture_bands
from underpaint.codec.transform.prediction import Predictions
from underpaint.codec.transform.subbands import BLOCK
from underpaint.codec.weights.model import Weights


class CropSource:
    """Draws crops aligned to blocks, with the class maps of the whole picture.

    A share of all crops is taken from `drawn` pictures, the rest from photos. `quantise` returns
    the symbols of a picture; it is called for all of them at the first draw, so that a training
    without steps does without. Several threads may draw at once.
    """

    def __init__(
        self,
        photos: Sequence[np.ndarray],
        quantise: Callable[[np.ndarray], Symbols],
        crop: int,
        drawn: Sequence[np.ndarray] = (),
        share: float = 0.0,
    ) -> None:
        self._crop, self._quantise = crop, quantise
        self._pictures: list[np.ndarray] = []
        chances = []
        for pictures, part in ((photos, 1 - share), (drawn, share)):
            found = [picture for picture in pictures if min(picture.shape[:2]) >= crop]
            areas = np.array([picture.shape[0] * picture.shape[1] for picture in found], float)
            chances.append(part * areas / areas.sum())
            self._pictures += found
        self._photos, chance = len(chances[0]), np.concatenate(chances)
        self._chance = chance / chance.sum()
        self._lock = threading.Lock()
        self._maps: list[tuple[Sequence[PaletteState], ColourRotation]] = []

    def _quantised(self) -> list[tuple[Sequence[PaletteState], ColourRotation]]:
        """Return palette states and rotation of each picture; UsageError without photos."""
        if not self._photos:
            raise UsageError(f"no photo has sides of {self._crop} pixels or more to cut crops from")
        with self._lock:
            if not self._maps:
                images = map(self._quantise, self._pictures)
                self._maps = [(image.palettes, image.rotation) for image in images]
            return self._maps

    def draw(
        self, count: int, palette: int, rng: np.random.Generator
    ) -> tuple[torch.Tensor, list[ColourRotation], np.ndarray, np.ndarray, torch.Tensor]:
        """Return crops and what belongs to them.

        Pixels float32 [N, 3, crop, crop], the rotations of their colours, the class map of palette
        state 0 (masks) and that of state `palette` (the network's input), int16
        [N, crop / 16, crop / 16], and which crops are of drawn pictures, bool [N].
        """
        side = self._crop // BLOCK
        pixels = np.empty((count, self._crop, self._crop, 3), np.uint8)
        maps = np.empty((2, count, side, side), np.int16)
        rotations: list[ColourRotation] = []
        known = self._quantised()
        chosen = rng.choice(len(known), count, p=self._chance)
        for place, index in enumerate(chosen):
            photo, (palettes, rotation) = self._pictures[index], known[index]
            rotations.append(rotation)
            row, column = (
                rng.integers(0, length // BLOCK - side + 1) for length in photo.shape[:2]
            )
            pieces = [
                photo[row * BLOCK :, column * BLOCK :][: self._crop, : self._crop],
                *(
                    palettes[i].class_map[row : row + side, column : column + side]
                    for i in (0, palette)
                ),
            ]
            if rng.random() < 0.5:
                pieces = [piece[:, ::-1] for piece in pieces]
            if rng.random() < 0.5:
                pieces = [piece.swapaxes(0, 1) for piece in pieces]
            pixels[place], maps[0, place], maps[1, place] = pieces
        stack = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
        return stack, rotations, maps[0], maps[1], torch.from_numpy(chosen >= self._photos)


@dataclass(frozen=True)
class Stage:
    """A state at the end of a layer: the layer, the number of cell steps and the palette state."""

    layer: int
    step: int
    palette: int


def _stages(weights: Weights) -> list[Stage]:
    stages, step, palette = [], 0, 0
    for layer, plan in enumerate(weights.config.layers):
        step, palette = step + plan.cell_steps, palette + plan.palette_steps
        stages.append(Stage(layer, step, palette - 1))
    return stages


@dataclass(frozen=True)
class Draw:
    """The inputs of one training step: see `CropSource.draw`."""

    stage: Stage
    corner: tuple[int, int]
    """First row and column of the pictures for perceptual losses: metrics and extractors sample
    pictures on their own grids, which should not coincide with that of the blocks."""
    pixels: torch.Tensor
    rotations: list[ColourRotation]
    mask_map: np.ndarray
    class_map: np.ndarray
    drawn: torch.Tensor


def cell_index(q: torch.Tensor, state: Cells) -> torch.Tensor:
    """Return `Cells.index` on the device of the tensor, int32."""
    magnitude = q.int().abs()
    index = torch.div(magnitude - state.zero - 1, state.width, rounding_mode="floor") + 1
    return torch.where(magnitude <= state.zero, 0, index * q.sign())


@dataclass(frozen=True)
class Batch:
    """A draw, and what the network sees of it.

    pixels      float32 [N, 3, crop, crop]
    bands       the wavelet coefficients of the pixels
    decoded     what the state knows of them
    predictions of details, by the learned lifting step in this state
    class_maps  int64 [N, crop / 16, crop / 16]
    last_layer  int64 [N]
    shear       of the colours of the bands
    """

    draw: Draw
    pixels: torch.Tensor
    bands: list[torch.Tensor]
    decoded: Dequantised
    predictions: Predictions
    class_maps: torch.Tensor
    last_layer: torch.Tensor
    shear: Shear

    def estimate(self, network: BackwardNetwork) -> list[torch.Tensor]:
        """Return the bands that a network estimates: levels 1 and 2, and the low band at 1/4."""
        estimate = network(self.decoded, self.class_maps, self.last_layer, self.predictions)
        return self.predictions.complete(estimate)

    def plain(self) -> list[torch.Tensor]:
        """Return the bands as a decoder without the network has them."""
        return self.predictions.complete(self.decoded.coefficients())

    def picture(self, bands: list[torch.Tensor]) -> torch.Tensor:
        """Return the pictures of bands as a decoder shows them, clipped to 0..255; as `pixels`."""
        return bands_picture(bands, self.draw.rotations, self.shear).clamp(0, 255)


class Samples:
    """The training samples of a plan: step n has the same batch in each run."""

    def __init__(
        self, weights: Weights, source: CropSource, plan: TrainingPlan, device: torch.device
    ) -> None:
        self._weights, self._source, self.plan = weights, source, plan
        self._device, self._stages = device, _stages(weights)
        self._prediction = weights.prediction_on(device)

    @property
    def network_shape(self) -> NetworkShape:
        """The shape of the plan's network for these weights."""
        return self.plan.network_shape(
            self._weights.classes.count, len(self._weights.config.layers)
        )

    def typical_inputs(self) -> Iterator[Batch]:
        """Yield batches of all states."""
        for layer in range(len(self._stages)):
            rng = np.random.default_rng((self.plan.seed, layer))
            yield self.batch(self._draw(self._stages[layer], (0, 0), rng))

    def draw(self, step: int) -> Draw:
        """Draw the state and the crops of a step; depends on seed and step only."""
        rng = np.random.default_rng((self.plan.seed, step))
        stage = self._stages[rng.integers(len(self._stages))]
        row, column = rng.integers(0, BLOCK, 2).tolist()
        return self._draw(stage, (row, column), rng)

    def _draw(self, stage: Stage, corner: tuple[int, int], rng: np.random.Generator) -> Draw:
        return Draw(stage, corner, *self._source.draw(self.plan.batch, stage.palette, rng))

    @torch.no_grad()
    def batch(self, draw: Draw) -> Batch:
        """Quantise the crops of a draw to its state."""
        weights, config, stage = self._weights, self._weights.config, draw.stage
        pixels = draw.pixels.to(self._device)
        state = config.chain[stage.step]
        bands = picture_bands(pixels, draw.rotations, config.shear)
        masks = torch.from_numpy(weights.classes.mask[draw.mask_map][:, None])
        steps = step_bands(weights.steps, masks.to(self._device))
        finest = Predictions(self._prediction, draw.rotations, len(config.widths))
        q = closed_loop(weights).quantise(bands, steps, finest).indices
        cells = [cell_index(band, state) for band in q]
        centroids = weights.centroids[stage.step - 1]
        return Batch(
            draw,
            pixels,
            bands,
            Dequantised.of(cells, steps, state, config.compander, centroids),
            replace(finest, step=stage.step),
            torch.from_numpy(draw.class_map).long().to(self._device),
            torch.full((len(pixels),), stage.layer, device=self._device),
            config.shear,
        )
