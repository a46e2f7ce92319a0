"""The same labelled photos in each form that training reads: files in tar files, and an archive."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import AvifImagePlugin, Image

from underpaint.codec.archive import Archive, ArchiveWriter, Row, publish
from underpaint.codec.archive.layer_columns import FULL
from underpaint.codec.codec import Codec
from underpaint.codec.errors import UsageError
from underpaint.codec.image_io.read import read_picture
from underpaint.codec.transform.sizes import shrink_level, shrunk_sides
from underpaint.pipelines.evaluation.photos import find_photos
from underpaint.transforms.sources.base import read_bytes

SIZES = (96, 192)
"""Named sizes of the archive. Photos with short sides of 400 are read at 1/4 and 1/2 of them."""

SMALL = 192
"""Files are scaled to the sides that the archive gives for this size."""

JPEG_QUALITIES = (90, 50)
LAYERS = (2, 3, 4, 5)
"""Numbers of layers that pictures are read from; AVIF files get the bytes of each."""

AVIF_QUALITIES = (0, 4, 8, 12, 16, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90)
SMALLEST_SIDE = 16


@dataclass(frozen=True)
class Labelled:
    """A photo in a folder named after its class."""

    name: str
    uri: str
    label: int

    def pixels(self) -> np.ndarray:
        """Return uint8 [H, W, 3]."""
        return read_picture(read_bytes(self.uri)).pixels


def labelled_photos(folder: str) -> tuple[list[Labelled], list[str]]:
    """Return the photos of class folders in a fixed random order, and the names of the classes.

    Raises UsageError if there are fewer than two classes, or photos outside of class folders.
    """
    found = find_photos([folder])
    outside = [photo.name for photo in found if "/" not in photo.name]
    if outside:
        raise UsageError(f"{folder}: {outside[0]} is in no class folder; want CLASS/PHOTO")
    classes = sorted({photo.name.split("/")[0] for photo in found})
    if len(classes) < 2:
        raise UsageError(f"{folder}: {len(classes)} class folder; want two or more")
    order = np.random.default_rng(0).permutation(len(found))
    photos = [found[index] for index in order]
    labels = [classes.index(photo.name.split("/")[0]) for photo in photos]
    return [
        Labelled(photo.name, photo.uri, label) for photo, label in zip(photos, labels, strict=True)
    ], classes


def write_stores(photos: Sequence[Labelled], work: Path) -> None:
    """Write the archive and the tar files of `work` that are not there yet."""
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "archive.done").exists():
        _write_archive(photos, work / "archive")
        (work / "archive.done").touch()
    if not (work / "original.tar").exists():
        _write_tar(work / "original.tar", ((photo, read_bytes(photo.uri)) for photo in photos))
    for quality in JPEG_QUALITIES:
        if not (work / f"jpeg-{quality}.tar").exists():
            _write_tar(
                work / f"jpeg-{quality}.tar",
                ((photo, _encoded(shrunken(photo), "JPEG", quality)) for photo in photos),
            )
    missing = [layers for layers in LAYERS if not (work / f"avif-{layers}.tar").exists()]
    if missing:
        _write_avif(photos, work, missing)


def shrunken(photo: Labelled) -> Image.Image:
    """Return the photo, scaled to the sides that the archive gives for `SMALL`."""
    pixels = photo.pixels()
    height, width = pixels.shape[:2]
    height, width = shrunk_sides(height, width, shrink_level(height, width, SMALL))
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)


def files_of(tar: Path) -> Iterator[bytes]:
    """Yield the files of a tar file in order."""
    with tarfile.open(tar) as opened:
        for entry in opened:
            file = opened.extractfile(entry)
            if file is not None:
                yield file.read()


def _write_archive(photos: Sequence[Labelled], folder: Path) -> None:
    codec = Codec.load()
    with ArchiveWriter(
        folder,
        "photos",
        layers=codec.layer_names,
        weights_id=codec.weights_id,
        label_schema=pa.schema([("class", pa.int64())]),
        sizes=(*SIZES, FULL),
    ) as writer:
        for photo in photos:
            pixels = photo.pixels()
            (stream,) = codec.encode([pixels], sizes=SIZES)
            height, width = pixels.shape[:2]
            writer.add(Row(photo.name, stream, width, height, labels={"class": photo.label}))
    publish(str(folder))


def _write_tar(tar: Path, files: Iterator[tuple[Labelled, bytes]]) -> None:
    part = tar.with_suffix(".part")
    with tarfile.open(part, "w") as opened:
        for number, (photo, file) in enumerate(files):
            _add(opened, number, photo, file)
    part.rename(tar)


def _add(tar: tarfile.TarFile, number: int, photo: Labelled, file: bytes) -> None:
    entry = tarfile.TarInfo(f"{number:06}{Path(photo.uri).suffix}")
    entry.size = len(file)
    tar.addfile(entry, io.BytesIO(file))


def _encoded(picture: Image.Image, kind: str, quality: int) -> bytes:
    out = io.BytesIO()
    options = {"speed": 6, "max_threads": 1} if kind == "AVIF" else {"optimize": True}
    picture.save(out, kind, quality=quality, **options)
    return out.getvalue()


def _write_avif(photos: Sequence[Labelled], work: Path, numbers: Sequence[int]) -> None:
    """Write AVIF files with at most the bytes of small pictures of each number of layers."""
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    budgets = [small_bytes(work / "archive", layers) for layers in numbers]
    parts = [work / f"avif-{layers}.part" for layers in numbers]
    tars = [tarfile.open(part, "w") for part in parts]  # noqa: SIM115
    for number, (photo, *most) in enumerate(zip(photos, *budgets, strict=True)):
        for tar, file in zip(tars, avif_within(shrunken(photo), most), strict=True):
            _add(tar, number, photo, file)
    for tar, part in zip(tars, parts, strict=True):
        tar.close()
        part.rename(part.with_suffix(".tar"))


def small_bytes(archive: Path, layers: int) -> list[int]:
    """Return the bytes of the parts that each small picture of a number of layers needs."""
    rows = Archive.open(archive).rows(layers=layers, size=SMALL)
    return [sum(map(len, row.layers)) for row in rows]


def avif_within(picture: Image.Image, budgets: Sequence[int]) -> list[bytes]:
    """Return the AVIF file of the highest quality within each number of bytes.

    Where the lowest quality is larger, the picture is scaled by 3/4 until it fits, but not below
    16 pixels a side: a file that is still larger is kept.
    """
    files: dict[tuple[int, int], bytes] = {}

    def file(step: int, quality: int) -> bytes:
        if (step, quality) not in files:
            sides = [max(1, round(side * 0.75**step)) for side in picture.size]
            scaled = picture.resize((sides[0], sides[1]), Image.Resampling.LANCZOS)
            files[step, quality] = _encoded(scaled if step else picture, "AVIF", quality)
        return files[step, quality]

    found = []
    for budget in budgets:
        step = 0
        while len(file(step, AVIF_QUALITIES[0])) > budget:
            if min(picture.size) * 0.75 ** (step + 1) < SMALLEST_SIDE:
                break
            step += 1
        low, high = 0, len(AVIF_QUALITIES) - 1
        while low < high:  # the highest quality within the budget
            middle = (low + high + 1) // 2
            if len(file(step, AVIF_QUALITIES[middle])) <= budget:
                low = middle
            else:
                high = middle - 1
        found.append(file(step, AVIF_QUALITIES[low]))
    return found
