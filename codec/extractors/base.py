"""What an extractor is, and how pictures are made ready for one."""

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
"""Of the photos most networks are trained on: red, green, blue in 0..255."""


@dataclass(frozen=True)
class Preprocessing:
    """How a network wants its pictures.

    side    of the square it sees, in pixels
    crop    share of the shorter side that is kept, at the centre; None: the whole picture is
            squeezed into the square
    mean, std  what is subtracted, and divided by: red, green, blue in 0..255
    order   of the channels
    layout  "nchw" or "nhwc"
    """

    side: int = 224
    crop: float | None = 0.875
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    order: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"

    def fit(self, image: np.ndarray) -> np.ndarray:
        """Scale and crop uint8 [H, W, 3] to uint8 [side, side, 3]; UsageError for other arrays."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UsageError(f"want uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
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
        """A batch of one grey picture, uint8 [1, side, side, 3], to see what a network gives."""
        return np.full((1, self.side, self.side, 3), 128, np.uint8)

    def array(self, fitted: np.ndarray) -> np.ndarray:
        """What the network is given, float32, of uint8 [N, side, side, 3]."""
        array = (fitted - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        if self.order == "bgr":
            array = array[..., ::-1]
        if self.layout == "nchw":
            array = array.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(array)


class Extractor(Protocol):
    """Turns pictures into vectors of one length, each by itself whatever else is in the batch."""

    @property
    def name(self) -> str:
        """What opens the same extractor on another machine, with the digest of its file."""
        ...

    @property
    def identity(self) -> str:
        """What made the vectors, wherever its file lay: equal identities give vectors that can be
        compared. An archive records it."""
        ...

    @property
    def size(self) -> int:
        """Length of a vector."""
        ...

    @property
    def preprocessing(self) -> Preprocessing:
        """How pictures are made ready."""
        ...

    def features(self, fitted: np.ndarray) -> np.ndarray:
        """Vectors of pictures made ready, uint8 [N, side, side, 3]: float32 [N, size] of length 1.

        Raises FeaturesInvalid where a vector is none (not finite, or all zeros).
        """
        ...


def pooled(output: np.ndarray, layout: str = "nchw") -> np.ndarray:
    """One vector a picture from what a network gives: the mean over its positions or tokens.

    [N, D] stays, [N, tokens, D] is averaged over tokens, [N, D, h, w] (or [N, h, w, D] where
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
    """Divide each row of [N, D] by its length; FeaturesInvalid where there is none."""
    vectors = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not (lengths > 0).all():
        raise FeaturesInvalid("the network gives no features: not finite, or all zeros")
    unit: np.ndarray = (vectors / lengths).astype(np.float32)
    return unit


def checked_size(probe: np.ndarray, what: str) -> int:
    """The length of a vector, of the vectors of one probe, [1, D]; UsageError outside of limits."""
    size = probe.shape[-1]
    if probe.shape != (1, size) or not 1 <= size <= MAX_FEATURES:
        shape: Sequence[int] = probe.shape
        raise UsageError(f"{what}: features of shape {list(shape)}; 1 to {MAX_FEATURES} wanted")
    return size
