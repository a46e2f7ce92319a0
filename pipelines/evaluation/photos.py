"""The photos of an evaluation, found and read as `underpaint encode` does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from underpaint.codec.counts import plural
from underpaint.codec.errors import MeasurementFailed, PictureError, UsageError
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

        Raises PictureError, also for a photo too small for the metrics, and OSError.
        """
        pixels = read_picture(read_bytes(self.uri)).pixels
        height, width = pixels.shape[:2]
        if min(height, width) < SMALLEST_SIDE:
            raise PictureError(f"{width}x{height} pixels; metrics need {SMALLEST_SIDE} a side")
        return pixels


@dataclass(frozen=True)
class LeftOut:
    """A photo that cannot be measured, and why."""

    name: str
    reason: str


Kind = TypeVar("Kind")


def read_or_leave(name: str, read: Callable[[], np.ndarray]) -> np.ndarray | LeftOut:
    """Return the pixels of a photo, or why they cannot be read."""
    try:
        return read()
    except (PictureError, OSError) as error:
        return LeftOut(name, str(error))


def without_left_out(found: Iterable[Kind | LeftOut]) -> tuple[list[Kind], int]:
    """Return what was found of photos and how many are left out, which standard error names.

    Raises MeasurementFailed if all are left out.
    """
    good: list[Kind] = []
    left_out: list[LeftOut] = []
    for one in found:
        if isinstance(one, LeftOut):
            left_out.append(one)
        else:
            good.append(one)
    for one in left_out:
        print(f"left out: {one.name}: {one.reason}", file=sys.stderr)
    if left_out:
        count = plural(len(left_out) + len(good), "photo")
        print(f"left out {len(left_out)} of {count}", file=sys.stderr)
    if not good:
        raise MeasurementFailed("nothing to measure: all photos are left out")
    return good, len(left_out)


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


def spread(photos: Sequence[Kind], count: int) -> list[Kind]:
    """Return at most `count` photos, evenly spread, in order."""
    if len(photos) <= count:
        return list(photos)
    return [photos[(2 * i + 1) * len(photos) // (2 * count)] for i in range(count)]
