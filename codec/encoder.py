"""What an encoder makes of pixels: the palette chain of a picture and its finest indices.

pixels -> bands, turned -> texture energies -> costs of classes -> class map -> palette chain
            |                                                         | masks
            +---------------------------------------------------------+-> finest indices
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from underpaint.codec.entropy.state import Symbols
from underpaint.codec.palette.classes import smooth_assignment, texture_energies
from underpaint.codec.palette.merging import PaletteState, diffuse, merge_descriptors
from underpaint.codec.palette.semantic_head import low_colours, own_inputs
from underpaint.codec.quantize.quantizer import (
    bands_and_low,
    flatten,
    pad_to_blocks,
    quantise,
    step_bands,
)
from underpaint.codec.quantize.rate_distortion import SMOOTHINGS, spare_dear_ones
from underpaint.codec.transform.colour_rotation import find_turns, turned
from underpaint.codec.transform.subbands import geometry
from underpaint.codec.weights.model import Weights


class Analysis:
    """Turns pixels into symbols with one set of weights on one torch device."""

    def __init__(self, weights: Weights, device: torch.device) -> None:
        self._weights = weights
        self._device = device
        self._divergence = weights.classes.divergence()

    @torch.inference_mode()
    def candidates(
        self, images: Sequence[np.ndarray], effort: int, finest: bool
    ) -> tuple[list[list[Symbols]], list[torch.Tensor]]:
        """Return symbols of images of one padded size for each class map worth a try, and bands.

        Symbols by image, then by class map; bands float32 [N, 3, ...], in turned colours.
        `finest` says whether the finest state will be written, and is worth a search.
        """
        bands, low = bands_and_low(pad_to_blocks(images, self._device))
        colours = low_colours(low).permute(0, 2, 3, 1).cpu().numpy()
        turns = find_turns(bands, self._weights.config.profile)
        bands = turned(bands, turns)
        energies = texture_energies(bands, self._weights.steps).permute(0, 2, 3, 1).cpu().numpy()
        looked = [self._looked_at(*fields) for fields in zip(energies, colours, strict=True)]
        layouts = [geometry(*image.shape[:2]) for image in images]
        found: list[list[Symbols]] = [[] for _ in images]
        for factor in SMOOTHINGS[effort]:
            palettes = [self._palette(*fields, factor) for fields in looked]
            q = self._indices(bands, palettes, effort > 1 and finest)
            for i, palette in enumerate(palettes):
                found[i].append(Symbols(palette, flatten(q, i, layouts[i]), turns[i]))
        return found, bands

    def _indices(
        self, bands: list[torch.Tensor], palettes: Sequence[list[PaletteState]], search: bool
    ) -> list[torch.Tensor]:
        """Return the finest indices of bands under the masks of their palettes, int16."""
        config = self._weights.config
        masks = position_masks(self._weights, [p[0].class_map for p in palettes], self._device)
        steps = step_bands(self._weights.steps, masks)
        limit = config.chain[0].zero
        if not search:
            return quantise(bands, steps, config.compander, limit)
        values = [config.compander.compress(b / s) for b, s in zip(bands, steps, strict=True)]
        return [v.clamp_(-limit, limit).to(torch.int16) for v in spare_dear_ones(values)]

    def _looked_at(
        self, energies: np.ndarray, colours: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return inputs, embeddings and costs of all classes of each position, [h, w, ...]."""
        own = own_inputs(energies, colours)
        embedded = self._weights.head.embed(own)
        positions = own.shape[0] * own.shape[1]
        costs = self._weights.classes.costs(
            energies.reshape(positions, -1),
            embedded.reshape(positions, -1),
            self._weights.config.evidence,
        )
        return own, embedded, costs.reshape(*own.shape[:2], -1)

    def _palette(
        self, own: np.ndarray, embedded: np.ndarray, costs: np.ndarray, factor: float
    ) -> list[PaletteState]:
        """Return the palette chain of one image from what `_looked_at` gives.

        `factor` multiplies the price of a class border.
        """
        config = self._weights.config
        labels = smooth_assignment(costs, factor * config.smoothing)
        descriptors = merge_descriptors(config.merge, own, embedded)
        distance = np.float32(config.merge.latent) * self._divergence
        return diffuse(labels, distance, config.palette_budgets, descriptors)


def position_masks(
    weights: Weights, class_maps: Sequence[np.ndarray], device: torch.device
) -> torch.Tensor:
    """Return the masking factor of each position, float32 [N, 1, h, w]."""
    masks = weights.classes.mask[np.stack(class_maps)]
    return torch.from_numpy(masks[:, None]).to(device)
