"""The photos of an evaluation, found and read as `underpaint encode` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from underpaint.codec.errors import UsageError
from underpaint.codec.image_io.read import read_picture
from underpaint.pipelines.evaluation.scores import SMALLEST_SIDE
from underpaint.transforms.sources.base import read_bytes
from underpaint.transforms.sources.files import Inputs
from underpaint.transforms.sources.kinds import has_picture_suffix


@dataclass(frozen=True)
class Photo:
    """A source photo that is read on demand."""

    name: str
    """Path below the input folder."""
    uri: str

    def read(self) -> np.ndarray:
        """Return the input of every codec: uint8 [H, W, 3] sRGB, upright, opaque.

        Raises PictureError, or UsageError for a photo too small for the metrics.
        """
        pixels = read_picture(read_bytes(self.uri)).pixels
        height, width = pixels.shape[:2]
        if min(height, width) < SMALLEST_SIDE:
            raise UsageError(
                f"{self.uri}: {width}x{height} pixels; metrics need {SMALLEST_SIDE} a side"
            )
        return pixels


def find_photos(inputs: Sequence[str], limit: int | None = None) -> list[Photo]:
    """Every photo of the inputs, at most `limit`, evenly spread over all.

    Raises UsageError where an input does not exist or none holds a picture.
    """
    photos = [
        Photo(found.key, found.uri)
        for found in Inputs(inputs).find()
        if found.named or has_picture_suffix(found.uri)
    ]
    if not photos:
        raise UsageError(f"no pictures in {', '.join(inputs)}")
    return photos if limit is None else spread(photos, limit)


Kind = TypeVar("Kind")


def spread(photos: Sequence[Kind], count: int) -> list[Kind]:
    """Return at most `count` photos, evenly spread, in order."""
    if len(photos) <= count:
        return list(photos)
    return [photos[(2 * i + 1) * len(photos) // (2 * count)] for i in range(count)]
