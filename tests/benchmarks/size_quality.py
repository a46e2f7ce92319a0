"""Compares small pictures with WebP and AVIF files of scaled photos, at equal bytes.

python -m tests.benchmarks.size_quality PHOTOS... [--limit N] [--output FOLDER]

The reference is the photo scaled to 1/2 and 1/4 of its sides by a filter of Pillow. Underpaint
decodes it from the first 3 to 6 layers of the full photo; the peers encode the reference itself,
at the highest quality that takes no more bytes. Prints a table and, with --output, writes
`sizes.png` (curves, Lanczos) and `crops.png` (the first photos, magnified).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from underpaint.codec.bitstream import frames
from underpaint.codec.codec import Codec
from underpaint.codec.errors import UnderpaintError
from underpaint.codec.metrics import psnr
from underpaint.pipelines.cli.console import table
from underpaint.pipelines.evaluation.measurement import CODEC
from underpaint.pipelines.evaluation.peers import Peer, peers_named
from underpaint.pipelines.evaluation.photos import Photo, find_photos
from underpaint.pipelines.evaluation.plot import draw_curves
from underpaint.pipelines.evaluation.scores import Score, scores_named

SHRINKS = (2, 4)
LAYERS = (3, 4, 5, 6)
PEERS = ("webp", "avif", "avif-444")
FILTERS = {"Lanczos": Image.Resampling.LANCZOS, "bicubic": Image.Resampling.BICUBIC}

CROPS_OF = 3
"""Photos on the page of crops, at `CROP_SHRINK` and `CROP_LAYERS`."""
CROP_SHRINK, CROP_LAYERS = 2, 5
CROP = 64
"""Side of a crop in pixels, each shown as `ZOOM` x `ZOOM`."""
ZOOM = 4


@dataclass(frozen=True)
class Measured:
    """One picture of one codec: bytes, bits per pixel, PSNR in dB, SSIMULACRA2."""

    shrink: int
    filter: str
    layers: int
    codec: str
    figures: tuple[float, float, float, float]
    picture: np.ndarray
    """uint8 [h, w, 3]"""
    reference: np.ndarray


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table; 0, or 2 after a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.size_quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--limit", type=int, help="at most N photos, evenly spread")
    parser.add_argument("--output", type=Path, help="folder for the plot and the crops")
    try:
        chosen = parser.parse_args(arguments)
        peers = peers_named(PEERS)
        labels = {CODEC: "Underpaint"} | {peer.name: peer.label for peer in peers}
        codec, (score,) = Codec.load(), scores_named(["ssimulacra2"])
        photos = find_photos(chosen.photos, chosen.limit)
        found = [list(_measure(photo, codec, score, peers)) for photo in photos]
        means = _means(found)
        print(table(_rows(means, labels)))
        if chosen.output:
            chosen.output.mkdir(parents=True, exist_ok=True)
            _plot(means, labels).savefig(chosen.output / "sizes.png", dpi=110)
            _crops(found[:CROPS_OF], labels).save(chosen.output / "crops.png")
    except UnderpaintError as error:
        print(f"size_quality: {error}", file=sys.stderr)
        return 2
    return 0


def _measure(photo: Photo, codec: Codec, score: Score, peers: Sequence[Peer]) -> Iterator[Measured]:
    pixels = photo.read()
    height, width = pixels.shape[:2]
    (stream,) = codec.encode([pixels], sizes=[-(-min(height, width) // n) for n in SHRINKS[::-1]])
    for shrink in SHRINKS:
        sides = -(-width // shrink), -(-height // shrink)
        largest = SHRINKS[::-1].index(shrink)
        for layers in LAYERS:
            (small,) = codec.decode([stream[:layers]], shrink=shrink)
            needed = sum(f.nbytes for f in frames(stream[:layers]) if f.size <= largest)
            for name, kind in FILTERS.items():
                reference = np.asarray(Image.fromarray(pixels).resize(sides, kind))
                pictures = {CODEC: (needed, small)} | {
                    peer.name: _within(peer, reference, needed) for peer in peers
                }
                for codec_name, (size, picture) in pictures.items():
                    figures = (
                        size,
                        8 * size / (sides[0] * sides[1]),
                        psnr(reference, picture),
                        score.of_pictures(reference, picture),
                    )
                    yield Measured(shrink, name, layers, codec_name, figures, picture, reference)


def _within(peer: Peer, pixels: np.ndarray, most: int) -> tuple[int, np.ndarray]:
    """Return bytes and picture of a peer at its highest quality of at most `most` bytes."""
    low, high = 0, 101
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(peer.encode(pixels, middle)) <= most else (low, middle)
    data = peer.encode(pixels, low)
    return len(data), peer.decode(data)


Means = dict[tuple[int, str, int, str], np.ndarray]


def _means(photos: Sequence[Sequence[Measured]]) -> Means:
    """Means over the photos, by shrink, filter, layers and codec."""
    lists: dict[tuple[int, str, int, str], list[tuple[float, ...]]] = {}
    for measured in (m for photo in photos for m in photo):
        key = measured.shrink, measured.filter, measured.layers, measured.codec
        lists.setdefault(key, []).append(measured.figures)
    return {key: np.mean(values, 0) for key, values in lists.items()}


def _rows(means: Means, labels: dict[str, str]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("sides", "scaled by", "layers", "codec", "bytes", "bpp", "PSNR", "SSIMULACRA2")
    ]
    for (shrink, name, layers, codec), (size, bpp, decibels, points) in means.items():
        rows.append(
            (
                f"1/{shrink}", name, str(layers), labels[codec],
                f"{size:,.0f}", f"{bpp:.2f}", f"{decibels:.2f}", f"{points:.2f}",
            )
        )  # fmt: skip
    return rows


def _plot(means: Means, labels: dict[str, str]) -> Figure:
    figure = Figure(figsize=(12.8, 5.2 * len(SHRINKS)), layout="constrained")
    panels = figure.subplots(len(SHRINKS), 2, squeeze=False)
    for shrink, row in zip(SHRINKS, panels, strict=True):
        for panel, metric, title in zip(row, (2, 3), ("PSNR (dB)", "SSIMULACRA2"), strict=True):
            curves = []
            for codec, label in labels.items():
                points = [means[shrink, "Lanczos", layers, codec] for layers in LAYERS]
                curves.append((codec, label, [p[1] for p in points], [p[metric] for p in points]))
            draw_curves(panel, curves, f"1/{shrink} of the sides: {title}")
    return figure


def _crops(photos: Sequence[Sequence[Measured]], labels: dict[str, str]) -> Image.Image:
    """Draw a row for each photo: the scaled photo, then each codec, with bytes and SSIMULACRA2."""
    side, text = CROP * ZOOM, 18
    sheet = Image.new("RGB", ((1 + len(labels)) * (side + 4), len(photos) * (side + text)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, photo in enumerate(photos):
        chosen = [
            m
            for m in photo
            if (m.shrink, m.filter, m.layers) == (CROP_SHRINK, "Lanczos", CROP_LAYERS)
        ]
        shown = [("scaled photo", chosen[0].reference)] + [
            (f"{labels[m.codec]}: {m.figures[0]:,.0f} B, {m.figures[3]:.0f}", m.picture)
            for m in chosen
        ]
        for column, (caption, picture) in enumerate(shown):
            top, left = ((n - CROP) // 2 for n in picture.shape[:2])
            crop = Image.fromarray(picture[top : top + CROP, left : left + CROP])
            at = column * (side + 4), row * (side + text)
            draw.text(at, caption, fill="black")
            sheet.paste(crop.resize((side, side), Image.Resampling.NEAREST), (at[0], at[1] + text))
    return sheet


if __name__ == "__main__":
    sys.exit(main())
