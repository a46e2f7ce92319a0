"""Draws the palette chain of one photo: its states above, their transition matrices below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from underpaint.codec.codec import Codec
from underpaint.codec.palette.merging import PaletteState, map_bits
from underpaint.codec.transform.subbands import BLOCK
from underpaint.codec.weights.model import Weights

BUDGETS = (0.4, 0.8, 1.2, 1.8)
"""Budgets of the drawn states in bits per position, coarsest first; a stream holds fewer states."""


def _with_budgets(weights: Weights, budgets: Sequence[float]) -> Weights:
    """Return weights of as many palette states as budgets; all have the tables of the first."""
    config = replace(weights.config, palette_budgets=tuple(budgets))
    known, tables = weights.config.table_layout, weights.frequencies
    first, after = (known.palette(step) for step in (0, 1))
    of_palettes = np.tile(tables[first:after], (len(budgets), 1))
    frequencies = np.concatenate(
        [tables[:first], of_palettes, tables[known.palette(known.palette_steps) :]]
    )
    return replace(weights, config=config, frequencies=frequencies)


def draw_chain(weights: Weights, pixels: np.ndarray, budgets: Sequence[float] = BUDGETS) -> Figure:
    """Draw the chain of a uint8 [H, W, 3] photo, from the finest state on the left to the coarsest.

    Each entry is painted in its mean colour. Below each state is the transition matrix to the
    next: a row for each entry, a column for each entry of the next state.
    """
    states = Codec(_with_budgets(weights, budgets)).quantised([pixels])[0].palettes[::-1]
    columns = len(states) + 1
    height, width = pixels.shape[:2]
    figure = Figure(figsize=(3.1 * columns, 3.1 * height / width + 3.3), dpi=100, facecolor="white")
    grid = figure.add_gridspec(
        2, columns, height_ratios=(height / width, 0.85), left=0.01, right=0.99, top=0.9,
        bottom=0.03, wspace=0.06, hspace=0.24,
    )  # fmt: skip
    photo = figure.add_subplot(grid[0, 0])
    photo.imshow(pixels)
    photo.set_title(f"{width} x {height} pixels", fontsize=11)
    photo.axis("off")
    for column, state in enumerate(states, 1):
        panel = figure.add_subplot(grid[0, column])
        panel.imshow(_painted(state, pixels))
        bits = map_bits(state.labels, len(state.classes)) / state.labels.size
        panel.set_title(
            f"$x_{column - 1}$: {len(state.classes)} entries, {bits:.2f} b", fontsize=11
        )
        panel.axis("off")
        _draw_matrix(figure.add_subplot(grid[1, column]), state, column)
    note = figure.add_subplot(grid[1, 0])
    note.axis("off")
    note.text(
        0, 0.97,
        "Forward, left to right:\nevery entry of $x_{t-1}$ goes to one\n"
        "of $x_t$: $x_t = x_{t-1} Q_t$ for one-hot\nrows. The last step leads to\n"
        "the root, a single entry.\n\n"
        "b: bits a position of the map.\nBackward, right to left: a stream\nsays which children an "
        "entry has,\nand which child each position.",
        va="top", fontsize=10, transform=note.transAxes,
    )  # fmt: skip
    return figure


def _draw_matrix(panel, state: PaletteState, step: int) -> None:
    panel.imshow(
        state.transition, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="none"
    )
    rows, columns = state.transition.shape
    panel.set_title(f"$Q_{step}$: {rows} x {columns}", fontsize=10)
    panel.set_xticks([])
    panel.set_yticks([])


def _painted(state: PaletteState, pixels: np.ndarray) -> np.ndarray:
    """Paint each position in the mean colour of its entry, uint8 [H, W, 3]."""
    height, width = pixels.shape[:2]
    labels = state.labels.repeat(BLOCK, 0).repeat(BLOCK, 1)[:height, :width]
    flat, count = labels.ravel(), len(state.classes)
    sizes = np.maximum(np.bincount(flat, minlength=count), 1)
    sums = [np.bincount(flat, pixels[..., c].ravel(), count) for c in range(3)]
    return (np.stack(sums, 1) / sizes[:, None])[labels].astype(np.uint8)
