"""The backend on torch tensors: batches of pictures of one padded size, on any device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch.nn import functional

from underpaint.codec.decoder import States
from underpaint.codec.entropy.state import CodedState
from underpaint.codec.reconstruct.backend import Latents
from underpaint.codec.reconstruct.dequantise import dequantise
from underpaint.codec.reconstruct.last_layer import last_class_maps, last_layer
from underpaint.codec.reconstruct.network import BackwardNetwork
from underpaint.codec.reconstruct.network_shape import FINEST_REFINED
from underpaint.codec.reconstruct.texture import add_texture
from underpaint.codec.runtime.threads import BATCH_PIXELS
from underpaint.codec.transform.colour_rotation import rotate_colours
from underpaint.codec.transform.pictures import bands_picture, small_pictures
from underpaint.codec.transform.prediction import Predictions
from underpaint.codec.transform.subbands import DYADIC_LEVELS, ORIENTATIONS
from underpaint.codec.transform.wavelet import synthesise
from underpaint.codec.weights.model import Weights


class TorchBackend:
    """See `Backend`."""

    def __init__(self, weights: Weights, network: BackwardNetwork, device: torch.device) -> None:
        """Take weights, and their network on the device and in the dtype to compute in."""
        self._weights, self._network, self._device = weights, network, device
        self._prediction = weights.prediction_on(device)

    def pictures(
        self, states: States, *, refine: bool = True, texture: int | None = None
    ) -> list[torch.Tensor]:
        """See `Backend`."""
        return states.map_batches(partial(self.batch_pictures, refine=refine, texture=texture))

    def latents(self, states: States, *, levels: int, normalize: bool = False) -> list[Latents]:
        """See `Backend`."""
        most_pixels = BATCH_PIXELS * 4 ** (DYADIC_LEVELS - levels)
        batch_latents = partial(self._batch_latents, levels=levels, normalize=normalize)
        return states.map_batches(batch_latents, most_pixels)

    @torch.inference_mode()
    def batch_pictures(
        self, states: Sequence[CodedState], *, refine: bool, texture: int | None
    ) -> list[torch.Tensor]:
        """Return the pictures of states of one padded shape, size and number of layers."""
        finest = states[0].finest
        decoded = dequantise(self._weights, states, self._device, finest)
        class_maps = last_class_maps(states)
        layer = last_layer(self._weights.config, states[0].cell_step)
        predictions = self._predictions(states)
        if refine and finest <= FINEST_REFINED:
            bands = self._network(
                decoded,
                torch.from_numpy(class_maps).to(self._device),
                torch.full((len(states),), layer, device=self._device),
                predictions,
            )
        else:
            bands = decoded.coefficients()
        bands = predictions.complete(bands, finest)
        if texture is not None and layer + 1 < len(self._weights.config.layers):
            expected = self._weights.classes.expected_magnitude[class_maps]
            add_texture(bands, decoded, expected, texture)
        rotations = [state.rotation for state in states]
        shapes = [(state.layout.height, state.layout.width) for state in states]
        shear = self._weights.config.shear
        pixels = (
            small_pictures(bands, rotations, finest, shapes, shear)
            if finest > 1
            else bands_picture(bands, rotations, shear)
        )
        return [
            picture[:, :height, :width].clamp_(0, 255).round_().to(torch.uint8)
            for picture, (height, width) in zip(pixels, shapes, strict=True)
        ]

    def _predictions(self, states: Sequence[CodedState]) -> Predictions:
        rotations = [state.rotation for state in states]
        return Predictions(self._prediction, rotations, states[0].cell_step)

    @torch.inference_mode()
    def _batch_latents(
        self, states: Sequence[CodedState], *, levels: int, normalize: bool
    ) -> list[Latents]:
        """Return the latents of states of one padded shape, size and number of layers."""
        finest = states[0].finest
        channels = 3 << 2 * levels
        levels = DYADIC_LEVELS + 1 - finest
        scaled = dequantise(self._weights, states, self._device, finest).coefficients()
        scaled = self._predictions(states).complete(scaled, finest)
        detail, low = scaled[: ORIENTATIONS * levels], synthesise(scaled[ORIENTATIONS * levels :])
        rotations = [state.rotation for state in states]
        scaled = rotate_colours([*detail, low], rotations, finest, inverse=True)
        parts = [scaled[-1]]
        for level in range(DYADIC_LEVELS, finest - 1, -1):
            first = ORIENTATIONS * (level - finest)
            bands = torch.cat(scaled[first : first + ORIENTATIONS], 1)
            side = 1 << (DYADIC_LEVELS - level)
            parts.append(functional.pixel_unshuffle(bands, side))
        missing = channels - (3 << 2 * levels)
        packed = functional.pad(torch.cat(parts, 1), (0, 0, 0, 0, 0, missing)).cpu().numpy()
        if normalize:
            layers = 1 + last_layer(self._weights.config, states[0].cell_step)
            for coefficients in packed:
                self._weights.latents.normalize(coefficients, layers)
        class_maps = last_class_maps(states)
        embedded = self._weights.classes.embedding[class_maps].transpose(0, 3, 1, 2)
        return [
            Latents(*fields)
            for fields in zip(class_maps, np.ascontiguousarray(embedded), packed, strict=True)
        ]
