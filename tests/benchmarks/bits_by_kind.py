"""Where the bits of streams go: bits by kind of symbol, and by layer.

python -m tests.benchmarks.bits_by_kind PHOTOS... [--weights NAME]

The encoder records the frequency that each symbol is coded with. What kind a symbol is follows from
the order in which docs/stream.md codes them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from underpaint.codec.codec import Codec
from underpaint.codec.entropy.coder import EntropyCoder
from underpaint.codec.entropy.peaks import Peaks, find_peaks
from underpaint.codec.entropy.rans import PROBABILITY_BITS
from underpaint.codec.errors import UnderpaintError
from underpaint.codec.quantize.cells import FAR_BITS, NEAR_CELLS, Cells, root
from underpaint.codec.training.fit_contexts import coded_coefficients
from underpaint.codec.training.photos import find_photos, load_photos
from underpaint.codec.transform.subbands import (
    BANDS,
    FIRST_BAND,
    HEIGHT,
    LEVEL,
    OFFSET,
    ORIENTATION,
    ORIENTATIONS,
    STRIDE,
    WIDTH,
    Geometry,
    geometry,
    view,
)
from underpaint.codec.weights.loading import load_weights
from underpaint.codec.weights.model import Weights
from underpaint.pipelines.cli.console import table

KINDS = (
    "palettes, class map, colour rotation",
    "band flags",
    "block flags",
    "splits of the zero cell",
    "splits of the first cell",
    "splits of other cells",
    "signs",
)
PALETTES, BAND_FLAG, BLOCK_FLAG, ZERO_SPLIT, FIRST_SPLIT, OTHER_SPLIT, SIGN = range(len(KINDS))


@dataclass(frozen=True)
class Bits:
    """Bits of one photo or of several, float64 [KINDS, layers], and their pixels."""

    bits: np.ndarray
    pixels: int


def bits_of(weights: Weights, photo: np.ndarray) -> Bits:
    """Return what the symbols of a photo, uint8 [H, W, 3], are coded with."""
    [symbols] = Codec(weights).quantised([photo])
    layout, config = geometry(*photo.shape[:2]), weights.config
    coded = EntropyCoder(weights).encode(symbols, layout, len(config.layers))
    bits = np.zeros((len(KINDS), len(config.layers)))
    step = 0
    for layer, (plan, parts) in enumerate(zip(config.layers, coded, strict=True)):
        frequencies = (np.concatenate(parts) & 0xFFFF) + 1.0
        kinds = [
            kinds_of_step(symbols.q, layout, *config.chain[at : at + 2])
            for at in range(step, step + plan.cell_steps)
        ]
        step += plan.cell_steps
        palettes = len(frequencies) - sum(map(len, kinds))  # these come first
        kinds = np.concatenate([np.full(palettes, PALETTES), *kinds])
        bits[:, layer] = np.bincount(kinds, PROBABILITY_BITS - np.log2(frequencies), len(KINDS))
    return Bits(bits, layout.height * layout.width)


def kinds_of_step(q: np.ndarray, layout: Geometry, before: Cells, after: Cells) -> np.ndarray:
    """Return the kind of each symbol of a cell step in the order of the stream, int64 [symbols].

    q int16 [size], finest indices; `before` and `after` are the states that the step leads from and
    to. In the first step all symbols of the number of a cell are splits of the zero cell.
    """
    peaks, coded = find_peaks(q, layout), coded_coefficients(layout, q, after)
    kinds: list[np.ndarray] = []
    for band in range(BANDS):
        level, orientation = layout.bands[band, [LEVEL, ORIENTATION]].tolist()
        if orientation == 0:
            members = ORIENTATIONS if level else 1
            occupied = bool((peaks.bands[band : band + members] > after.zero).any())
            kinds.append(np.array([BAND_FLAG]))
            if occupied:
                kinds.append(np.full(_dark_blocks(layout, peaks, band, before), BLOCK_FLAG))
        if occupied:
            kinds.append(_of_cells(view(q, layout, band)[view(coded, layout, band)], before, after))
    return np.concatenate(kinds)


def _dark_blocks(layout: Geometry, peaks: Peaks, band: int, before: Cells) -> int:
    """Return how many blocks are zero in a state, of the group that begins with a band, if any."""
    count = 0
    for group in np.flatnonzero(layout.blocks[:, FIRST_BAND] == band):
        offset, height, width, stride = layout.blocks[
            group, [OFFSET, HEIGHT, WIDTH, STRIDE]
        ].tolist()
        rows = peaks.blocks[offset : offset + height * stride].reshape(height, stride)
        count += int((rows[:, :width] <= before.zero).sum())
    return count


def _of_cells(q: np.ndarray, before: Cells, after: Cells) -> np.ndarray:
    """Return the kinds of the symbols of coded coefficients, int16 [coefficients]."""
    old, new = np.abs(before.index(q)), np.abs(after.index(q))
    splits = np.ones(len(q), np.int64)
    if before == root(after.width):
        beyond = np.maximum(new - NEAR_CELLS - 1, 0)
        group = np.log2((beyond >> FAR_BITS) + 1).astype(np.int64)
        splits += (new > 1) + (new > NEAR_CELLS) * (1 + FAR_BITS + group)
    leaves = (old == 0) & (new > 0)
    kinds = np.column_stack([ZERO_SPLIT + np.minimum(old, 2), np.full(len(q), SIGN)])
    return kinds.ravel().repeat(np.column_stack([splits, leaves]).ravel())


def report(photos: Sequence[Bits]) -> Iterator[list[str]]:
    """Yield the rows of a table: bits per pixel of each kind and layer."""
    bits = sum(photo.bits for photo in photos) / sum(photo.pixels for photo in photos)
    yield ["bits per pixel", *(f"layer {1 + layer}" for layer in range(bits.shape[1])), "share"]
    for name, of_kind in zip((*KINDS, "all"), [*bits, bits.sum(0)], strict=True):
        share = of_kind.sum() / bits.sum()
        yield [name, *(f"{value:.4f}" for value in of_kind), f"{share:.1%}"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the report; 0, or 2 after a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.bits_by_kind", description=__doc__.splitlines()[0]
    )
    parser.add_argument("photos", nargs="+", help="photos whose bits are counted")
    parser.add_argument(
        "--weights", help="profile name, path or URL of a weights file (default: perceptual)"
    )
    chosen = parser.parse_args(arguments)
    try:
        weights = load_weights(chosen.weights)
        found = [bits_of(weights, picture) for picture in load_photos(find_photos(chosen.photos))]
    except UnderpaintError as error:
        print(f"bits_by_kind: {error}", file=sys.stderr)
        return 2
    print(f"{len(found)} photos, weights {weights.id}\n")
    print(table(list(report(found))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
