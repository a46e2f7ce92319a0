"""Crops of a photo as decoded by each codec at about the same number of bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from underpaint.pipelines.evaluation.measurement import load_codec
from underpaint.pipelines.evaluation.peers import Peer, short_labels

CROP = 176
"""Side of a crop in pixels."""

BISECTIONS = 9


@dataclass(frozen=True)
class Crop:
    """One picture of a row of the page; `ours` marks the codec's own."""

    caption: str
    png: bytes
    ours: bool = False


@dataclass(frozen=True)
class CropRow:
    """The original, one state of the codec, and each peer at the closest number of bytes."""

    title: str
    crops: tuple[Crop, ...]


def crop_rows(
    pixels: np.ndarray, peers: Sequence[Peer], weights: str | None, states: Sequence[int]
) -> list[CropRow]:
    """Return a row for each number of layers in `states` that the codec has."""
    codec = load_codec(weights)
    (layers,) = codec.encode([pixels])
    window = busiest_window(pixels)
    area = pixels.shape[0] * pixels.shape[1]
    rows = []
    for state in states:
        if state > len(layers):
            continue
        size = sum(map(len, layers[:state]))
        (decoded,) = codec.decode([layers[:state]])
        crops = [
            Crop("original", _png(pixels[window])),
            Crop(_caption("Underpaint", size, area), _png(decoded[window]), ours=True),
        ]
        for peer, name in zip(peers, short_labels([peer.label for peer in peers]), strict=True):
            data = nearest_file(peer, pixels, size)
            caption = _caption(name, len(data), area)
            caption += f" · {len(data) / size:.2f}x"
            crops.append(Crop(caption, _png(peer.decode(data)[window])))
        rows.append(CropRow(f"layers 1 to {state}" if state > 1 else "layer 1", tuple(crops)))
    return rows


def nearest_file(peer: Peer, pixels: np.ndarray, size: int) -> bytes:
    """Return the peer's file whose size is closest to `size`, by ratio; bisects the quality."""
    coarse, fine = peer.qualities[0], peer.qualities[-1]
    tried = [peer.encode(pixels, coarse), peer.encode(pixels, fine)]
    if len(tried[0]) < size < len(tried[1]):
        for _ in range(BISECTIONS):
            middle = (coarse + fine) / 2
            tried.append(peer.encode(pixels, middle))
            if len(tried[-1]) < size:
                coarse = middle
            else:
                fine = middle
    return min(tried, key=lambda data: abs(math.log(len(data) / size)))


def busiest_window(pixels: np.ndarray) -> tuple[slice, slice]:
    """Return the window of `CROP` x `CROP` pixels with the largest sum of gradients."""
    luma = pixels.astype(np.float32).mean(2)
    energy = np.zeros_like(luma)
    energy[:-1] += np.abs(np.diff(luma, axis=0))
    energy[:, :-1] += np.abs(np.diff(luma, axis=1))
    total = np.pad(energy.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    height, width = (min(CROP, side) for side in luma.shape)
    sums = (
        total[height:, width:]
        - total[:-height, width:]
        - total[height:, :-width]
        + total[:-height, :-width]
    )
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)


def _caption(label: str, size: int, area: int) -> str:
    return f"{label} · {size:,} bytes · {8 * size / area:.3f} bpp"


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
