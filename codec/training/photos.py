"""Training photos, which are found and decoded once and held in memory as uint8."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from underpaint.codec.errors import PictureError, UsageError
from underpaint.codec.image_io.read import PICTURE_SUFFIXES, read_picture

log = logging.getLogger(__name__)

SMALLEST_SIDE = 96
"""Least side in pixels; smaller photos hold little texture and are left out."""


def find_photos(paths: Sequence[str]) -> list[Path]:
    """Return the picture files in folders, recursively, and among files, sorted.

    Raises UsageError if a path does not exist or there are none.
    """
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
    """Yield uint8 [H, W, 3] of each photo that can be read and is large enough.

    The others are counted in the log, and those that cannot be read are named.
    """
    unreadable = small = 0
    for path in paths:
        try:
            pixels = read_picture(path.read_bytes()).pixels
        except (PictureError, OSError) as error:
            unreadable += 1
            log.warning("left out: %s: %s", path, error)
            continue
        if min(pixels.shape[:2]) >= SMALLEST_SIDE:
            yield pixels
        else:
            small += 1
    if unreadable or small:
        log.warning(
            "left out %d of %d photos: %d cannot be read, %d have a side below %d pixels",
            unreadable + small, len(paths), unreadable, small, SMALLEST_SIDE,
        )  # fmt: skip
