"""The column `embedding`: the extractor of a run, and its vectors for batches of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from underpaint.codec.errors import UsageError
from underpaint.codec.extractors import Extractor, Preprocessing, open_extractor
from underpaint.transforms.batching import halving
from underpaint.transforms.device import prepare_torch

BATCH_PIXELS, CUDA_BATCH_PIXELS = 1 << 19, 1 << 23
"""Most pixels in one call of the network: 10 and 167 pictures of 224 x 224."""

STAGE = "embed"
"""Stage in the dead letters of pictures whose extraction failed."""


@dataclass(frozen=True)
class Embedding:
    """Description of an extractor that travels to the workers."""

    name: str
    """Name that opens it on any machine."""
    identity: str
    size: int
    preprocessing: Preprocessing
    weights: str | None = None
    """Weights of the codec, by path or URL, for the codec's own features; None: the default
    profile.
    """

    @staticmethod
    def named(name: str, weights: str | None = None) -> Embedding:
        """Open the extractor of a name to learn its properties; raises as `open_extractor` does."""
        extractor = open_extractor(name, weights=weights)
        return Embedding(
            extractor.name, extractor.identity, extractor.size, extractor.preprocessing, weights
        )

    def batch(self, device: str) -> int:
        """Return the most pictures in one call of the network."""
        pixels = CUDA_BATCH_PIXELS if device.startswith("cuda") else BATCH_PIXELS
        return max(1, pixels // self.preprocessing.side**2)

    def load(self, device: str = "auto") -> Embedder:
        """Open the extractor in a worker; UsageError if it is not the same extractor any more."""
        device = prepare_torch(device)
        extractor = open_extractor(self.name, device=device, weights=self.weights)
        if (extractor.identity, extractor.size) != (self.identity, self.size):
            raise UsageError(f"{self.name} is {extractor.identity} here, not {self.identity}")
        return Embedder(extractor, self.batch(device))


class Embedder:
    """The extractor of one worker process; the threads of the process may share it."""

    def __init__(self, extractor: Extractor, batch: int) -> None:
        self._extractor, self._batch = extractor, batch

    def embed(self, images: Sequence[np.ndarray]) -> list[np.ndarray | Exception]:
        """Return for each uint8 [H, W, 3] its vector, float32 [size], or the exception."""
        found: list[np.ndarray | Exception] = []
        fit = self._extractor.preprocessing.fit
        for first in range(0, len(images), self._batch):
            some = images[first : first + self._batch]
            found += halving(lambda part: self._vectors([*map(fit, part)]), some)
        return found

    def embed_fitted(self, fitted: Sequence[np.ndarray]) -> list[np.ndarray | Exception]:
        """Return the same for one batch of pictures that already have the network's input size."""
        return halving(self._vectors, fitted)

    def _vectors(self, fitted: Sequence[np.ndarray]) -> list[np.ndarray]:
        return list(self._extractor.features(np.stack(fitted)))
