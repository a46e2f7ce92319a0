"""Analysis of pictures: from pixels to the symbols that the encoder codes.

    pixels -> subbands, rotated colours -> texture energies -> costs of classes -> class map
                |                                                                    |
                |                                                             palette chain
                |                                                                    | masks
                +-------------------------------------------------------------> finest indices

The encoder, training and extractors share the steps of this module. A step runs inside a context
manager with its name, so that a measurement can time the steps as the encoder runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from underpaint.codec.entropy.state import Symbols
from underpaint.codec.palette.classes import smooth_assignment, texture_energies
from underpaint.codec.palette.merging import PaletteState, diffuse, merge_descriptors
from underpaint.codec.palette.semantic_head import low_colours, own_inputs
from underpaint.codec.quantize.closed_loop import ClosedLoop
from underpaint.codec.quantize.quantizer import position_masks, step_bands
from underpaint.codec.transform.band_lists import flatten
from underpaint.codec.transform.colour_rotation import (
    ColourRotation,
    find_rotations,
    rotate_colours,
)
from underpaint.codec.transform.colours import NO_SHEAR, Shear
from underpaint.codec.transform.pictures import bands_and_low, pad_to_blocks
from underpaint.codec.transform.prediction import Predictions
from underpaint.codec.transform.subbands import Geometry, geometry
from underpaint.codec.weights.model import Weights

TRANSFORM = "transform"
ENERGIES = "texture energies"
SEMANTIC_HEAD = "semantic head"
CLASSES = "choice of classes"
PALETTES = "palette chain"
QUANTISATION = "quantisation"

Step = Callable[[str], AbstractContextManager[None]]
"""Takes the name of a step; returns the context in which the step runs."""


def unobserved(name: str) -> AbstractContextManager[None]:
    """Run a step without observing it."""
    return nullcontext()


@dataclass(frozen=True)
class Spectrum:
    """Subbands of N pictures of one padded size, and their texture and colour at each position.

    bands      float32 [N, 3, ...], finest level first, in rotated colours
    rotations  of the colours of each picture
    energies   float32 [N, 36, h, w], see `texture_energies`
    colours    float32 [N, 3, h, w], mean opponent colour, not rotated
    """

    bands: list[torch.Tensor]
    rotations: list[ColourRotation]
    energies: torch.Tensor
    colours: torch.Tensor

    @cached_property
    def energies_by_position(self) -> np.ndarray:
        """Texture energies as an array, float32 [N, h, w, 36]."""
        return self.energies.permute(0, 2, 3, 1).cpu().numpy()

    def head_inputs(self) -> list[np.ndarray]:
        """Return the inputs of the semantic head from each position itself, float32 [h, w, 39]."""
        colours = self.colours.permute(0, 2, 3, 1).cpu().numpy()
        return [
            own_inputs(*fields) for fields in zip(self.energies_by_position, colours, strict=True)
        ]


def transform(
    pixels: torch.Tensor,
    steps: np.ndarray,
    profile: str | None,
    shear: Shear = NO_SHEAR,
    step: Step = unobserved,
) -> Spectrum:
    """Transform RGB in 0..255, float32 [N, 3, H, W], sides multiples of 16.

    `steps` float32 [BANDS], finest quantisation steps, the unit of texture energies. `profile` of
    the weights decides whether colours are rotated; with None they are not. `shear` is that of
    their colours.
    """
    with step(TRANSFORM):
        bands, low = bands_and_low(pixels, shear)
        rotations = find_rotations(bands, profile)
        bands = rotate_colours(bands, rotations)
    with step(ENERGIES):
        return Spectrum(bands, rotations, texture_energies(bands, steps), low_colours(low))


def closed_loop(weights: Weights, *, optimise: bool = False) -> ClosedLoop:
    """Return the closed loop in which bands are quantised with a set of weights."""
    config = weights.config
    return ClosedLoop(
        config.chain[-1], config.chain[0].zero, config.compander, weights.centroids[-1], optimise
    )


@dataclass(frozen=True)
class Positions:
    """Fields over the positions of one picture, float32 [h, w, ...].

    own       inputs of the semantic head
    embedded  embeddings
    costs     of each class, in bits
    """

    own: np.ndarray
    embedded: np.ndarray
    costs: np.ndarray


@dataclass(frozen=True)
class Inspected:
    """What N pictures of one padded size show before their classes are chosen."""

    spectrum: Spectrum
    positions: list[Positions]
    layouts: list[Geometry]


@dataclass(frozen=True)
class Proposal:
    """How a class map is to be chosen: costs float32 [h, w, K], and a factor on borders."""

    costs: np.ndarray
    borders: float = 1.0


class Analysis:
    """Finds the symbols of pictures with one set of weights on one torch device."""

    def __init__(self, weights: Weights, device: torch.device, step: Step = unobserved) -> None:
        """Take weights and a device; `step` observes the named steps."""
        self._weights, self._device, self._step = weights, device, step
        self._divergence = weights.classes.divergence()
        self._prediction = weights.prediction_on(device)

    @torch.inference_mode()
    def inspect(self, images: Sequence[np.ndarray]) -> Inspected:
        """Return what images of one padded size show before their classes are chosen."""
        pixels = pad_to_blocks(images, self._device)
        config = self._weights.config
        spectrum = transform(pixels, self._weights.steps, config.profile, config.shear, self._step)
        layouts = [geometry(*image.shape[:2]) for image in images]
        return Inspected(spectrum, self._positions(spectrum), layouts)

    @torch.inference_mode()
    def symbols(
        self, inspected: Inspected, proposals: Sequence[Proposal], *, optimise: bool
    ) -> list[Symbols]:
        """Return the symbols of inspected images, with a class map by the proposal of each.

        `optimise` tells to optimise the indices of the finest state.
        """
        spectrum = inspected.spectrum
        palettes = [
            self._palette_chain(*pair) for pair in zip(inspected.positions, proposals, strict=True)
        ]
        with self._step(QUANTISATION):
            q = self._indices(spectrum, palettes, optimise)
            return [
                Symbols(palette, flatten(q, i, layout), rotation)
                for i, (palette, layout, rotation) in enumerate(
                    zip(palettes, inspected.layouts, spectrum.rotations, strict=True)
                )
            ]

    def _positions(self, spectrum: Spectrum) -> list[Positions]:
        """Return the costs of all classes at the positions of each picture."""
        with self._step(SEMANTIC_HEAD):
            own = spectrum.head_inputs()
            embedded = [self._weights.head.embed(inputs) for inputs in own]
        with self._step(CLASSES):
            costs = [
                self._weights.classes.costs(
                    _flat(energies), _flat(vectors), self._weights.config.evidence
                ).reshape(*energies.shape[:2], -1)
                for energies, vectors in zip(spectrum.energies_by_position, embedded, strict=True)
            ]
        return [Positions(*fields) for fields in zip(own, embedded, costs, strict=True)]

    def _palette_chain(self, position: Positions, proposal: Proposal) -> list[PaletteState]:
        """Return the palette chain of an image."""
        config = self._weights.config
        with self._step(CLASSES):
            labels = smooth_assignment(proposal.costs, proposal.borders * config.smoothing)
        with self._step(PALETTES):
            descriptors = merge_descriptors(config.merge, position.own, position.embedded)
            distance = np.float32(config.merge.latent) * self._divergence
            return diffuse(labels, distance, config.palette_budgets, descriptors)

    def _indices(
        self, spectrum: Spectrum, palettes: Sequence[list[PaletteState]], optimise: bool
    ) -> list[torch.Tensor]:
        """Return the finest indices of bands under the masks of their palettes, int16."""
        class_maps = [chain[0].class_map for chain in palettes]
        masks = position_masks(self._weights.classes.mask, class_maps, self._device)
        steps = step_bands(self._weights.steps, masks)
        loop = closed_loop(self._weights, optimise=optimise)
        return loop.quantise(spectrum.bands, steps, self._predictions(spectrum.rotations)).indices

    def _predictions(self, rotations: Sequence[ColourRotation]) -> Predictions:
        """Return the learned lifting step in the finest state."""
        return Predictions(self._prediction, rotations, len(self._weights.config.widths))


def _flat(field: np.ndarray) -> np.ndarray:
    """Return a field [h, w, ...] as one row a position."""
    return field.reshape(-1, field.shape[-1])
