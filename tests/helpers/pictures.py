"""Small photos for tests of the commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from underpaint.pipelines.cli.main import main


def make_photos(folder: Path, count: int = 6, first: int = 0) -> list[Path]:
    """Crops of photos of unlike sizes, JPEG and PNG by turns, in two folders."""
    sources = [data.astronaut(), data.chelsea(), data.coffee()]
    made = []
    for number in range(first, first + count):
        corner = 17 * number % 200
        pixels = sources[number % 3][corner : corner + 72, corner : corner + 88 + number]
        suffix = ".png" if number % 4 == 3 else ".jpg"
        path = folder / ("left" if number % 2 else "right") / f"{number:03d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        options = {} if suffix == ".png" else {"quality": 92}
        Image.fromarray(np.ascontiguousarray(pixels)).save(path, **options)
        made.append(path)
    return made


def underpaint(*arguments: object) -> int:
    """Exit status of a command line, run in this process."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as error:
        return int(error.code or 0)


def encode(*arguments: object) -> int:
    """`underpaint encode` in one process."""
    return underpaint("encode", *arguments, "--workers", 1)
