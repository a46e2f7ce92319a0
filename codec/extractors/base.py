"""The interface of extractors, and the preprocessing of pictures for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from PIL import Image

from underpaint.codec.errors import FeaturesInvalid, UsageError
from underpaint.codec.limits import MAX_FEATURES

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Mean and deviation of ImageNet, used by most networks: red, green, blue in 0..255."""


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing that a network expects.

    side       side of its square input in pixels
    crop       share of the shorter side that is kept, at the centre; None: the whole picture is
               resized to the square
    mean, std  subtracted from, and divided into, red, green and blue in 0..255
    order      order of the channels
    layout     "nchw" or "nhwc"
    """

    side: int = 224
    crop: float | None = 0.875
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    order: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"

    def fit(self, image: np.ndarray) -> np.ndarray:
        """Scale and crop uint8 [H, W, 3] to uint8 [side, side, 3].

        Raises UsageError for other arrays.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UsageError(f"pictures are uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
        height, width = image.shape[:2]
        box = (0.0, 0.0, float(width), float(height))
        if self.crop is not None:
            kept = min(height, width) * self.crop
            left, top = (width - kept) / 2, (height - kept) / 2
            box = (left, top, left + kept, top + kept)
        fitted = Image.fromarray(image).resize(
            (self.side, self.side), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0
        )
        return np.array(fitted)

    def probe(self) -> np.ndarray:
        """Return a batch of one grey picture, uint8 [1, side, side, 3], to find output shapes."""
        return np.full((1, self.side, self.side, 3), 128, np.uint8)

    def array(self, fitted: np.ndarray) -> np.ndarray:
        """Return the input of the network, float32, of uint8 [N, side, side, 3]."""
        array = (fitted - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        if self.order == "bgr":
            array = array[..., ::-1]
        if self.layout == "nchw":
            array = array.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(array)


class Extractor(Protocol):
    """Maps pictures to vectors of one length, independently of other pictures in the batch."""

    @property
    def name(self) -> str:
        """Name that opens the same extractor on another machine, with the digest of its file."""
        ...

    @property
    def identity(self) -> str:
        """Name without the location of the file; an archive records it.

        Vectors of extractors with equal identities can be compared.
        """
        ...

    @property
    def size(self) -> int:
        """Length of a vector."""
        ...

    @property
    def preprocessing(self) -> Preprocessing:
        """Preprocessing of pictures."""
        ...

    def features(self, fitted: np.ndarray) -> np.ndarray:
        """Return vectors, float32 [N, size] of length 1, of pictures uint8 [N, side, side, 3].

        Raises FeaturesInvalid if a vector is not finite or all zeros.
        """
        ...


def pooled(output: np.ndarray, layout: str = "nchw") -> np.ndarray:
    """Return one vector for each picture: the mean of a network's output over positions or tokens.

    [N, D] is unchanged, [N, tokens, D] is averaged over tokens, [N, D, h, w] (or [N, h, w, D] if
    `layout` is "nhwc") over positions. Raises UsageError for any other shape.
    """
    output = np.asarray(output, np.float32)
    if output.ndim == 2:
        return output
    if output.ndim == 3:
        return output.mean(1)
    if output.ndim == 4:
        return output.mean((1, 2) if layout == "nhwc" else (2, 3))
    raise UsageError(f"a network's features are arrays of 2, 3 or 4 dimensions, not {output.ndim}")


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """Divide each row of [N, D] by its length; raises FeaturesInvalid if it is 0 or not finite."""
    vectors = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not (lengths > 0).all():
        raise FeaturesInvalid("the features are not finite, or all zeros")
    unit: np.ndarray = (vectors / lengths).astype(np.float32)
    return unit


def checked_size(probe: np.ndarray, what: str) -> int:
    """Return the size of vectors from those of one probe, [1, D]; raises UsageError over limits."""
    size = probe.shape[-1]
    if probe.shape != (1, size) or not 1 <= size <= MAX_FEATURES:
        shape: Sequence[int] = probe.shape
        raise UsageError(
            f"{what}: features of shape {list(shape)}; 1 to {MAX_FEATURES} values are supported"
        )
    return size
