"""The column `embedding` of a run: which extractor makes it, and its vectors of some pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from underpaint.codec.errors import UsageError
from underpaint.codec.extractors import Extractor, Preprocessing, open_extractor
from underpaint.transforms.batching import halving
from underpaint.transforms.device import prepare_torch

BATCH_PIXELS, CUDA_BATCH_PIXELS = 1 << 19, 1 << 23
"""Most pixels that go through a network at once: 10 and 167 pictures of 224 x 224."""

STAGE = "embed"
"""Of dead letters of pictures that have no features."""


@dataclass(frozen=True)
class Embedding:
    """An extractor as a worker needs to know it."""

    name: str
    """Which opens it on any machine."""
    identity: str
    size: int
    preprocessing: Preprocessing
    weights: str | None = None
    """Of the codec, by path or URL, for its own features; None: those in the package."""

    @staticmethod
    def named(name: str, weights: str | None = None) -> Embedding:
        """The extractor of a name, which is opened once to see what it is; raises as
        `open_extractor`."""
        extractor = open_extractor(name, weights=weights)
        return Embedding(
            extractor.name, extractor.identity, extractor.size, extractor.preprocessing, weights
        )

    def batch(self, device: str) -> int:
        """Most pictures that go through the network at once."""
        pixels = CUDA_BATCH_PIXELS if device.startswith("cuda") else BATCH_PIXELS
        return max(1, pixels // self.preprocessing.side**2)

    def load(self, device: str = "auto") -> Embedder:
        """Open the extractor for one worker; UsageError where it is another one by now."""
        device = prepare_torch(device)
        extractor = open_extractor(self.name, device=device, weights=self.weights)
        if (extractor.identity, extractor.size) != (self.identity, self.size):
            raise UsageError(f"{self.name} is {extractor.identity} here, not {self.identity}")
        return Embedder(extractor, self.batch(device))


class Embedder:
    """The extractor of one worker process; its threads may share it."""

    def __init__(self, extractor: Extractor, batch: int) -> None:
        self._extractor, self._batch = extractor, batch

    def embed(self, images: Sequence[np.ndarray]) -> list[np.ndarray | Exception]:
        """For each uint8 [H, W, 3] its vector, float32 [size], or why it has none."""
        found: list[np.ndarray | Exception] = []
        fit = self._extractor.preprocessing.fit
        for first in range(0, len(images), self._batch):
            some = images[first : first + self._batch]
            found += halving(lambda part: self._vectors([*map(fit, part)]), some)
        return found

    def embed_fitted(self, fitted: Sequence[np.ndarray]) -> list[np.ndarray | Exception]:
        """The same for one batch of pictures that are made ready."""
        return halving(self._vectors, fitted)

    def _vectors(self, fitted: Sequence[np.ndarray]) -> list[np.ndarray]:
        return list(self._extractor.features(np.stack(fitted)))
