"""Training photos: found once, decoded once, kept in memory as uint8, cropped at random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from codec.errors import PictureError, UsageError
from codec.picture import PICTURE_SUFFIXES, read_picture

SMALLEST_SIDE = 96
"""Photos with a shorter side teach nothing about texture and are left out."""


def find_photos(paths: Sequence[str]) -> list[Path]:
    """List the picture files in folders (recursive) and among files, sorted; UsageError if none."""
    found: set[Path] = set()
    for path in map(Path, paths):
        if path.is_dir():
            found.update(p for p in path.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)
        elif path.is_file():
            found.add(path)
        else:
            raise UsageError(f"no such photo or folder: {path}")
    if not found:
        raise UsageError(f"no photos in {', '.join(map(str, paths))}")
    return sorted(found)


def load_photos(paths: Sequence[Path]) -> Iterator[np.ndarray]:
    """Yield uint8 [H, W, 3] for each photo that can be read and is large enough."""
    for path in paths:
        try:
            pixels = read_picture(path.read_bytes()).pixels
        except PictureError:
            continue
        if min(pixels.shape[:2]) >= SMALLEST_SIDE:
            yield pixels


def random_crops(
    photos: Sequence[np.ndarray], count: int, side: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw `count` crops, uint8 [count, side, side, 3], by area, flipped and turned at random.

    A photo smaller than the crop is mirrored beyond its edge.
    """
    areas = np.array([photo.shape[0] * photo.shape[1] for photo in photos], float)
    crops = np.empty((count, side, side, 3), np.uint8)
    for crop, index in zip(
        crops, rng.choice(len(photos), count, p=areas / areas.sum()), strict=True
    ):
        photo = photos[index]
        missing = [max(0, side - length) for length in photo.shape[:2]]
        if any(missing):
            photo = np.pad(photo, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")
        top, left = (rng.integers(0, length - side + 1) for length in photo.shape[:2])
        piece = photo[top : top + side, left : left + side]
        if rng.random() < 0.5:
            piece = piece[:, ::-1]
        if rng.random() < 0.25:
            piece = piece.transpose(1, 0, 2)
        crop[:] = piece
    return crops
