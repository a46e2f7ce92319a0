"""Photos of several years under equal names, and what an archive of them holds."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from skimage import data

from tests.helpers.pictures import underpaint
from underpaint.codec.archive import Archive


def save(path: Path, number: int, side: int = 32) -> None:
    """Write a photo of `side` x 48 pixels; another number gives other pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data.astronaut()[number : number + side, :48]).save(path)


def save_two_years(folder: Path, count: int) -> Path:
    """Write `count` photos of each year, with the same names; return the folder of both."""
    for year, first in ((2019, 0), (2020, 100)):
        for number in range(count):
            save(folder / str(year) / f"IMG_{number}.png", first + number)
    return folder


def encode(archive: Path, *arguments: object) -> int:
    """Run `underpaint encode` with this output; return its exit status."""
    return underpaint("encode", *arguments, "--output", archive)


def sources(archive: Path) -> dict[str, str]:
    """Return the source of each row by its key."""
    return {row.key: row.source_uri for row in Archive.open(archive).rows(layers=1)}
