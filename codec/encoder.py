"""The encoder: symbols of pictures to streams of layers, and the choice among candidates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from underpaint.codec.analysis import Analysis, Proposal
from underpaint.codec.entropy.coder import EntropyCoder
from underpaint.codec.entropy.state import Symbols
from underpaint.codec.framing import Framing
from underpaint.codec.runtime.threads import batches, in_threads
from underpaint.codec.search import Search
from underpaint.codec.transform.sizes import DEFAULT_SIZES
from underpaint.codec.transform.subbands import geometry
from underpaint.codec.weights.model import Weights

SEARCHES = 3
"""The effort from which on other class maps are tried."""


class Encoder:
    """Encodes pictures with one set of weights on one torch device."""

    def __init__(self, weights: Weights, device: torch.device) -> None:
        self._weights = weights
        self._analysis = Analysis(weights, device)
        self._entropy = EntropyCoder(weights)
        self._search = Search(weights, device, self._pack)

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
        """Return the symbols of images of one padded size, the best that were tried for each.

        `finest` tells that the finest state will be coded: from effort 2 on, its indices are
        optimised.
        """
        inspected = self._analysis.inspect(images)
        choose = partial(self._analysis.symbols, inspected, optimise=effort > 1 and finest)
        plain = choose([Proposal(position.costs) for position in inspected.positions])
        if effort < SEARCHES:
            return plain
        return self._search.best(images, inspected, plain, choose)

    def _pack(
        self, symbols: Symbols, shape: tuple[int, ...], layers: int, sizes: Sequence[int] = ()
    ) -> tuple[bytes, ...]:
        """Code the coarsest layers of one picture of a shape (height, width): a chunk for each."""
        framing = Framing(shape[0], shape[1], self._weights.id, sizes)
        coded = self._entropy.encode(symbols, geometry(*shape), layers, framing.finest_levels)
        return tuple(map(framing.layer, coded))
