"""Where the bits of streams go, and what adaptive tables would save.

python -m tests.benchmarks.table_ablation PHOTOS... [--weights NAME]

The symbols of each photo are recorded with their tables, in the order of the stream. Their code
lengths are then computed with other models of the same contexts; nothing is fitted on the photos
that a decoder would not know.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np

from underpaint.codec.codec import Codec
from underpaint.codec.entropy.coder import EntropyCoder
from underpaint.codec.entropy.tables import TOTAL, TableLayout
from underpaint.codec.errors import UnderpaintError
from underpaint.codec.training.photos import find_photos, load_photos
from underpaint.codec.transform.subbands import geometry
from underpaint.codec.weights.loading import load_weights
from underpaint.codec.weights.model import Weights
from underpaint.pipelines.cli.console import table

KINDS = (
    "plain bits: classes of entries, angles",
    "class map",
    "band flags",
    "block flags",
    "splits of the zero cell",
    "splits of the first cell",
    "splits of other cells",
    "signs",
)
"""Kinds of tables, in the order of `codec.entropy.tables`."""

PRIOR = 48
"""Symbols that the stored frequencies of an adaptive table count as."""

MEMORY = 512
"""Symbols of an adaptive table at which its counts are halved."""

FAST_RATE = 0.03
"""Share of a symbol in the fast estimate of its table."""

LEARNING_RATE = 0.002
"""Learning rate of the weights that mix estimates."""

LEAST = 1e-4
"""Least probability of a mixed symbol."""


class Trace(NamedTuple):
    """Symbols of one layer in the order of the stream: int64 [symbols] each."""

    tables: np.ndarray
    symbols: np.ndarray


@dataclass(frozen=True)
class TracedPhoto:
    """The symbols of all layers of a photo."""

    layers: tuple[Trace, ...]
    pixels: int


def traced(weights: Weights, photo: np.ndarray) -> TracedPhoto:
    """Return the symbols of a photo, uint8 [H, W, 3], with the tables that code them.

    An encoder records the first frequency and the length of each symbol's interval. Here its
    tables hold intervals that name the table and the symbol instead.
    """
    count, width = weights.cumulative.shape
    if count > 0xFFFF:
        raise ValueError(f"{count} tables: the length of an interval has 16 bits")
    naming = (np.arange(width) * (1 + np.arange(count)[:, None])).astype(np.uint32)
    coder = EntropyCoder(_with_cumulative(weights, naming))
    [symbols] = Codec(weights).quantised([photo])
    layout = geometry(*photo.shape[:2])
    layers = []
    for parts in coder.encode(symbols, layout, len(weights.config.layers)):
        intervals = np.concatenate(parts)
        names = (intervals & 0xFFFF).astype(np.int64)
        starts = (intervals >> 16).astype(np.int64)
        candidates = np.arange(width)[:, None] * (1 + names) & 0xFFFF
        layers.append(Trace(names, (candidates == starts).argmax(0)))
    return TracedPhoto(tuple(layers), photo.shape[0] * photo.shape[1])


def _with_cumulative(weights: Weights, cumulative: np.ndarray) -> Weights:
    changed = copy.copy(weights)
    object.__setattr__(changed, "cumulative", cumulative)
    return changed


def kinds_of_tables(layout: TableLayout) -> np.ndarray:
    """Return the index in KINDS of each table, int64 [tables]."""
    kinds = np.zeros(layout.count, np.int64)
    kinds[1 : layout.cells(0)[0]] = 1
    for step in range(layout.cell_steps):
        starts = layout.cells(step)
        end = layout.cells(step + 1)[0] if step + 1 < layout.cell_steps else layout.count
        for place, (first, last) in enumerate(zip(starts, [*starts[1:], end], strict=True)):
            kinds[first:last] = 2 + place
    return kinds


def static_bits(shares: np.ndarray, trace: Trace) -> np.ndarray:
    """Return the bits of each symbol with the stored tables, float64 [symbols]."""
    bits: np.ndarray = -np.log2(shares[trace.tables, trace.symbols])
    return bits


def ideal_bits(shares: np.ndarray, trace: Trace) -> float:
    """Return the bits with the tables that fit this layer of this photo best, given for free."""
    size = shares.shape[1]
    counts = np.bincount(trace.tables * size + trace.symbols, minlength=shares.size)
    counts = counts.reshape(shares.shape).astype(float)
    present = counts > 0
    used = np.where(present, counts / np.maximum(counts.sum(1, keepdims=True), 1), 1)
    used[0] = shares[0]  # plain bits stay plain
    return float(-(counts * np.log2(np.where(present, used, 1))).sum())


@numba.njit
def adaptive_bits(tables, symbols, shares, mixed):
    """Return the bits of symbols whose tables follow what was coded, from the stored ones on.

    With `mixed`, tables of two symbols mix three estimates in the logistic domain: stored, adaptive
    and fast. shares float64 [tables, most symbols].

    Source: logistic mixing after Mahoney 2005 (PAQ).
    """
    counts = shares * PRIOR
    totals = np.full(len(shares), float(PRIOR))
    fast = shares[:, 1].copy()
    is_binary = np.zeros(len(shares), np.bool_)
    for name in range(len(shares)):
        is_binary[name] = shares[name, 2:].max() == 0
    weights = np.zeros((len(shares), 3))
    weights[:, 0], weights[:, 1], weights[:, 2] = 0.3, 0.5, 0.2
    stretched = np.zeros(3)
    total = 0.0
    for at in range(len(tables)):
        name, symbol = tables[at], symbols[at]
        if name == 0:
            total += 1
            continue
        if mixed and is_binary[name]:
            known = (shares[name, 1], counts[name, 1] / totals[name], fast[name])
            for place in range(3):
                share = min(max(known[place], LEAST), 1 - LEAST)
                stretched[place] = np.log(share / (1 - share))
            share = 1 / (1 + np.exp(-(weights[name] * stretched).sum()))
            share = min(max(share, LEAST), 1 - LEAST)
            total -= np.log2(share if symbol == 1 else 1 - share)
            weights[name] += LEARNING_RATE * (symbol - share) * stretched
            fast[name] += FAST_RATE * (symbol - fast[name])
        else:
            total -= np.log2(max(counts[name, symbol] / totals[name], LEAST))
        counts[name, symbol] += 1
        totals[name] += 1
        if totals[name] > MEMORY:
            counts[name] *= 0.5
            totals[name] *= 0.5
    return total


def report(photos: Sequence[TracedPhoto], weights: Weights) -> Iterator[list[list[str]]]:
    """Yield two tables: bits per pixel of each kind, and the change of bits with each model."""
    shares = weights.frequencies / TOTAL
    shares[0, :2] = 0.5
    kinds, layers = kinds_of_tables(weights.config.table_layout), len(weights.config.layers)
    bits = np.zeros((len(KINDS), layers))
    models = np.zeros((3, layers))
    for photo in photos:
        for layer, trace in enumerate(photo.layers):
            of_symbols = static_bits(shares, trace)
            bits[:, layer] += np.bincount(kinds[trace.tables], of_symbols, len(KINDS))
            models[:, layer] += (
                adaptive_bits(*trace, shares, False),
                adaptive_bits(*trace, shares, True),
                ideal_bits(shares, trace),
            )
    pixels = sum(photo.pixels for photo in photos)
    heads = [f"layer {number}" for number in range(1, layers + 1)]
    rows = [
        [name, *(f"{value / pixels:.4f}" for value in of_kind), f"{_share(of_kind, bits):.1%}"]
        for name, of_kind in zip(KINDS, bits, strict=True)
    ]
    rows.append(["all", *(f"{value / pixels:.4f}" for value in bits.sum(0)), f"{1:.1%}"])
    yield [["bits per pixel", *heads, "share"], *rows]
    whole = bits.sum(0)
    names = ("adaptive tables", "adaptive tables, mixed", "ideal tables of each layer, free")
    yield [
        ["change of bits", *heads, "all"],
        *(
            [
                name,
                *(f"{change:+.1%}" for change in (*(of / whole - 1), of.sum() / whole.sum() - 1)),
            ]
            for name, of in zip(names, models, strict=True)
        ),
    ]


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.sum() / whole.sum())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the report; 0, or 2 after a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.table_ablation", description=__doc__.splitlines()[0]
    )
    parser.add_argument("photos", nargs="+", help="photos whose code lengths are computed")
    parser.add_argument(
        "--weights", help="profile name, path or URL of a weights file (default: perceptual)"
    )
    chosen = parser.parse_args(arguments)
    try:
        weights = load_weights(chosen.weights)
        pictures = list(load_photos(find_photos(chosen.photos)))
    except UnderpaintError as error:
        print(f"table_ablation: {error}", file=sys.stderr)
        return 2
    print(f"{len(pictures)} photos, weights {weights.id}\n")
    for rows in report([traced(weights, picture) for picture in pictures], weights):
        print(table(rows), end="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
