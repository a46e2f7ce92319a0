"""One image of an archive at every state, as a page that a browser shows by itself.

The page holds no script and loads nothing: pictures are data URLs, what came with the image is
escaped, and a content policy forbids the rest.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.rows import Row
from underpaint.codec.codec import Codec
from underpaint.codec.image_io.read import write_picture
from underpaint.codec.transform.subbands import BLOCK

LONGEST_SIDE = 1600
"""Pictures of the page are reduced to this many pixels; their figures are of the stored image."""

SWATCHES = 256
"""Most palette entries that a state shows."""


@dataclass(frozen=True)
class PaletteEntry:
    """One texture class that a state of an image uses."""

    index: int
    """Of the class in the weights' codebook."""
    share: float
    """Of the image's positions."""
    colour: tuple[int, int, int]
    """Mean sRGB of the decoded pixels at its positions."""


@dataclass(frozen=True)
class StateView:
    """One state of one image."""

    name: str
    layer_bytes: int
    """Of the layer that leads to this state."""
    total_bytes: int
    """Of all layers up to this state."""
    pixels: np.ndarray
    """uint8 [H, W, 3], decoded."""
    class_map: np.ndarray
    """int64 [h, w], h = ceil(H / 16)."""
    palette: tuple[PaletteEntry, ...]
    """The most used first."""

    @property
    def bpp(self) -> float:
        """Bits a pixel of all layers up to this state."""
        return self.total_bytes * 8 / (self.pixels.shape[0] * self.pixels.shape[1])

    def coloured_map(self) -> np.ndarray:
        """Return the class map in the mean colours of its classes, uint8 [h, w, 3]."""
        mapped = np.zeros((*self.class_map.shape, 3), np.uint8)
        for entry in self.palette:
            mapped[self.class_map == entry.index] = entry.colour
        return mapped


def states_of(
    codec: Codec,
    row: Row,
    names: Sequence[str],
    *,
    size: int | None = None,
    refine: bool = True,
) -> list[StateView]:
    """Return every state of an image; `names` are those of the archive's layers.

    `size` and `refine` are as in `Codec.decode`, which raises the same.
    """
    prefixes = [row.layers[: count + 1] for count in range(len(row.layers))]
    return [
        state_of(codec, replace(row, layers=prefix), names, size=size, refine=refine)
        for prefix in prefixes
    ]


def state_of(
    codec: Codec,
    row: Row,
    names: Sequence[str],
    *,
    size: int | None = None,
    refine: bool = True,
) -> StateView:
    """Return an image at all layers that the row holds; arguments as in `states_of`."""
    (pixels,) = codec.decode([row.layers], size=size, refine=refine)
    (latents,) = codec.latents([row.layers], size=size)
    return StateView(
        names[len(row.layers) - 1],
        len(row.layers[-1]),
        sum(map(len, row.layers)),
        pixels,
        latents.class_map,
        _palette(pixels, latents.class_map, (row.height, row.width)),
    )


def view_of(
    archive: Archive,
    key: str,
    *,
    size: int | None = None,
    weights: str | None = None,
    device: str = "cpu",
    refine: bool = True,
) -> tuple[Row, list[StateView]]:
    """Return the row of one image, and every state of it.

    Without `refine`, pictures skip the network; all figures stay the same, and it is faster.
    Raises NoSuchKey, WeightsMismatch, LayerDamaged and what reading an archive raises.
    """
    row = archive.get(key, size=size)
    codec = Codec.load_for(archive.weights_id, weights, device=device)
    shown = archive.decoded_size(size)
    return row, states_of(codec, row, archive.layer_names, size=shown, refine=refine)


def render(row: Row, states: Sequence[StateView]) -> str:
    """Return the HTML page of a row and its states."""
    from underpaint.codec.runtime.pages import page_environment

    environment = page_environment("underpaint.codec.archive.tools")
    environment.filters["data_url"] = _data_url
    facts = [
        ("Size", f"{row.width} × {row.height}"),
        ("Source", row.source_uri or "unknown"),
        ("Source bytes", f"{row.source_bytes:,}"),
        *[(name, str(value)) for name, value in row.labels.items() if value is not None],
        *[("Note", note) for note in row.notes],
    ]
    return environment.get_template("view.html").render(
        row=row, states=states, facts=facts, swatches=SWATCHES
    )


def _palette(
    pixels: np.ndarray, class_map: np.ndarray, sides: tuple[int, int]
) -> tuple[PaletteEntry, ...]:
    """Return the palette of a picture; `sides` are height and width at full size."""
    rows, columns = (
        ((np.arange(count) + 0.5) * side / count).astype(int) // BLOCK
        for count, side in zip(pixels.shape[:2], sides, strict=True)
    )
    per_pixel = class_map[rows[:, None], columns]
    classes, places, counts = np.unique(class_map, return_inverse=True, return_counts=True)
    index = np.searchsorted(classes, per_pixel.ravel())
    area = np.bincount(index, minlength=len(classes))
    sums = [np.bincount(index, pixels[..., c].ravel(), len(classes)) for c in range(3)]
    means = np.rint(np.stack(sums, 1) / np.maximum(area, 1)[:, None]).astype(int)
    entries = [
        PaletteEntry(int(one), int(n) / places.size, (int(m[0]), int(m[1]), int(m[2])))
        for one, n, m in zip(classes, counts, means, strict=True)
    ]
    return tuple(sorted(entries, key=lambda entry: (-entry.share, entry.index)))


def _data_url(pixels: np.ndarray) -> str:
    longest = max(pixels.shape[:2])
    if longest > LONGEST_SIDE:
        height, width = (max(1, side * LONGEST_SIDE // longest) for side in pixels.shape[:2])
        reduced = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
        pixels = np.asarray(reduced)
    data = write_picture(np.ascontiguousarray(pixels), "png")
    return "data:image/png;base64," + base64.b64encode(data).decode()
