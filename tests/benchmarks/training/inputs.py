"""The inputs that are compared: each reads the same photos in the same order, in its own form."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from tests.benchmarks.training.stores import JPEG_QUALITIES, LAYERS, SIZES, SMALL, files_of
from underpaint.codec.archive import Archive, LayerDataset
from underpaint.codec.archive.torch.augmentation import mirrored_coefficients

COEFFICIENTS = 48
"""Channels of latents that are coefficients; the others are the embedding."""

GRID = 36
"""Rows and columns of latents; those of a photo of 400 x 533 pixels are 34 x 25."""

SIDE = 4 * GRID
"""Side of the pictures that networks are trained from, after two convolutions of stride 2."""

LATENT_LAYERS = (1, 2, 3)
FULL_SIDE = 1 << 20
"""Reads full pictures: no photo has short sides that are larger."""

ORIGINAL = "original"


class Input(Protocol):
    """One form of the photos."""

    @property
    def name(self) -> str:
        """Name on the command line and in results."""
        ...

    @property
    def title(self) -> str:
        """Name in the table."""
        ...

    @property
    def group(self) -> str:
        """Inputs of one group form a line of the plot."""
        ...

    def samples(self, work: Path, side: int) -> Iterator[torch.Tensor]:
        """Read and decode: uint8 [3, side, side], or float32 [C, GRID, GRID] for latents."""
        ...

    def image_bytes(self, work: Path) -> float:
        """Return the bytes of an image that are read."""
        ...


@dataclass(frozen=True)
class Files:
    """Files in a tar file, decoded by Pillow; the bytes of the tar format do not count.

    `draft` lets libjpeg decode at the smallest of 1/1, 1/2, 1/4 and 1/8 that reaches the side.
    """

    name: str
    title: str
    group: str
    tar: str
    draft: bool = False

    def samples(self, work: Path, side: int) -> Iterator[torch.Tensor]:
        """See `Input`."""
        for file in files_of(work / self.tar):
            picture: Image.Image = Image.open(io.BytesIO(file))
            if self.draft:
                picture.draft("RGB", (side, side))
            scaled = picture.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
            yield torch.from_numpy(np.array(scaled)).permute(2, 0, 1).contiguous()

    def image_bytes(self, work: Path) -> float:
        """See `Input`."""
        return float(np.mean([len(file) for file in files_of(work / self.tar)]))


@dataclass(frozen=True)
class Layers:
    """Layers of the archive, decoded to pictures, or to latents if the size is None."""

    name: str
    title: str
    group: str
    layers: int
    size: int | None

    def samples(self, work: Path, side: int) -> Iterator[torch.Tensor]:
        """See `Input`."""
        for sample in self._dataset(work, side):
            if self.size is None:
                yield on_grid(torch.cat([sample["coefficients"], sample["embedding"]]))
            else:
                yield sample["image"]

    def image_bytes(self, work: Path) -> float:
        """Return what the reader fetches in an epoch, with footers and pages, for each image."""
        dataset = self._dataset(work, SIDE, output="bytes")
        images = sum(1 for _ in dataset)
        return dataset.traffic.fetched / images

    def _dataset(self, work: Path, side: int, output: str = "") -> LayerDataset:
        options: dict[str, Any] = {"output": output or "latent", "size": SIZES[0]}
        if self.size is not None:
            options = {"output": output or "image", "size": self.size}
            if not output:
                options |= {"exact": (side, side), "fit": "stretch"}
        return LayerDataset(
            Archive.open(work / "archive"), layers=self.layers, seed=None, labels=False, **options
        )


def on_grid(latents: torch.Tensor) -> torch.Tensor:
    """Centre latents [C, h, w] in [C, GRID, GRID]: pad with zeros, crop by whole positions."""
    height, width = latents.shape[1:]
    above, left = max(0, (height - GRID) // 2), max(0, (width - GRID) // 2)
    rows, columns = min(height, GRID), min(width, GRID)
    top, side = (GRID - rows) // 2, (GRID - columns) // 2
    within = latents[:, above : above + rows, left : left + columns]
    return functional.pad(within, (side, GRID - columns - side, top, GRID - rows - top))


def mirrored_latents(latents: torch.Tensor) -> torch.Tensor:
    """Return the latents [N, C, h, w] of the mirrored photos: coefficients, then embeddings."""
    parts = latents[:, :COEFFICIENTS], latents[:, COEFFICIENTS:]
    return torch.cat([mirrored_coefficients(parts[0]), parts[1].flip(-1)], 1)


def all_inputs() -> list[Input]:
    """Return every input, those of the most bytes first in each group."""
    inputs: list[Input] = [Files(ORIGINAL, "JPEG, original", "JPEG", "original.tar")]
    for quality in JPEG_QUALITIES:
        title = f"JPEG at 1/2 of the sides, quality {quality}"
        inputs.append(Files(f"jpeg-{quality}", title, "JPEG at 1/2", f"jpeg-{quality}.tar"))
    for layers in reversed(LAYERS):
        title = f"AVIF in the bytes of {layers} layers at 1/2"
        inputs.append(Files(f"avif-{layers}", title, "AVIF at 1/2", f"avif-{layers}.tar"))
    for part, size in (("1/1", FULL_SIDE), ("1/2", SMALL)):
        for layers in reversed(LAYERS):
            name = f"{'full' if part == '1/1' else 'half'}-{layers}"
            title = f"{layers} layers, pictures at {part}"
            inputs.append(Layers(name, title, f"layers, pictures at {part}", layers, size))
    for layers in reversed(LATENT_LAYERS):
        title = f"{layers} layer{'s' * (layers > 1)}, latents"
        inputs.append(Layers(f"latents-{layers}", title, "layers, latents", layers, None))
    return inputs


def rate_inputs() -> list[Input]:
    """Return the inputs whose rates are measured: all, and originals decoded at 1/2 by libjpeg."""
    draft = Files("draft", "JPEG, original, drafted by libjpeg", "JPEG", "original.tar", True)
    return [draft, *all_inputs()]


def seconds_an_image(given: Input, work: Path, most: int) -> float:
    """Return seconds of CPU time to read and decode one of the first `most` images.

    CPU time of the process and all of its threads, so that other load does not count.
    """
    begin, images = time.process_time(), 0
    for _ in given.samples(work, SIDE):
        images += 1
        if images == most:
            break
    return (time.process_time() - begin) / images
