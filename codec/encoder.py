"""The encoder: symbols of pictures to streams of layers, and the choice among candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from underpaint.codec.analysis import Analysis
from underpaint.codec.decoder import Decoder
from underpaint.codec.entropy.coder import EntropyCoder
from underpaint.codec.entropy.state import Symbols
from underpaint.codec.framing import Framing
from underpaint.codec.quantize.rate_distortion import JUDGED_LAYERS, merit
from underpaint.codec.reconstruct.dequantise import dequantise
from underpaint.codec.runtime.threads import batches, in_threads
from underpaint.codec.transform.prediction import Predictions
from underpaint.codec.transform.sizes import DEFAULT_SIZES
from underpaint.codec.transform.subbands import geometry
from underpaint.codec.weights.model import Weights


class Encoder:
    """Encodes pictures with one set of weights on one torch device."""

    def __init__(self, weights: Weights, device: torch.device) -> None:
        self._weights, self._device = weights, device
        self._analysis = Analysis(weights, device)
        self._entropy = EntropyCoder(weights)
        self._decoder = Decoder(weights)
        self._prediction = weights.prediction_on(device)

    def encode(
        self,
        images: Sequence[np.ndarray],
        layers: int,
        effort: int,
        sizes: Sequence[int] = DEFAULT_SIZES,
    ) -> list[tuple[bytes, ...]]:
        """Return the coarsest `layers` of uint8 [H, W, 3] images of any mix of shapes.

        Layers are cut into parts for `sizes`. The bytes of an image do not depend on the others.
        """
        finest = layers == len(self._weights.config.layers)
        streams: dict[int, tuple[bytes, ...]] = {}
        for batch in batches([image.shape[:2] for image in images]):
            symbols = self.symbols([images[i] for i in batch], effort, finest)
            packed = in_threads(
                lambda job: self._pack(job[1], images[job[0]].shape[:2], layers, sizes),
                list(zip(batch, symbols, strict=True)),
            )
            streams.update(zip(batch, packed, strict=True))
        return [streams[i] for i in range(len(images))]

    @torch.inference_mode()
    def symbols(self, images: Sequence[np.ndarray], effort: int, finest: bool) -> list[Symbols]:
        """Return the symbols of images of one padded size, the best candidate of each.

        `finest` tells that the finest state will be coded: see `Analysis.candidates`.
        """
        candidates, bands = self._analysis.candidates(images, effort, finest)
        if len(candidates[0]) == 1:
            return [symbols for (symbols,) in candidates]
        shapes = [image.shape[:2] for image in images]
        return [
            min(choices, key=lambda choice: self._merit(choice, [b[i] for b in bands], shapes[i]))
            for i, choices in enumerate(candidates)
        ]

    def _merit(self, symbols: Symbols, bands: list[torch.Tensor], shape: tuple[int, ...]) -> float:
        """Judge a candidate by the bytes and the error of one state before the network."""
        layers = self._pack(symbols, shape, JUDGED_LAYERS, ())
        state = self._decoder.state(layers)
        decoded = dequantise(self._weights, [state], self._device)
        predictions = Predictions(self._prediction, [symbols.rotation], state.cell_step)
        errors = [
            (coefficients - band).square().sum()
            for coefficients, band in zip(
                predictions.complete(decoded.coefficients()), bands, strict=True
            )
        ]
        return merit(sum(map(len, layers)), torch.stack(errors).sum().item())

    def _pack(
        self, symbols: Symbols, shape: tuple[int, ...], layers: int, sizes: Sequence[int]
    ) -> tuple[bytes, ...]:
        """Code the coarsest layers of one picture of a shape (height, width): a chunk for each."""
        framing = Framing(shape[0], shape[1], self._weights.id, sizes)
        coded = self._entropy.encode(symbols, geometry(*shape), layers, framing.finest_levels)
        return tuple(map(framing.layer, coded))
