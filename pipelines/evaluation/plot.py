"""Rate-distortion plots: one panel for each metric, with a label at the end of each curve."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from underpaint.pipelines.evaluation.corpus import CorpusCurve
from underpaint.pipelines.evaluation.measurement import CODEC
from underpaint.pipelines.evaluation.peers import short_labels
from underpaint.pipelines.evaluation.scores import Score

CODEC_COLOUR = "#b3261e"
PEER_COLOURS = ("#1f5fa8", "#2e7d4f", "#8a5a00", "#6a4c93", "#4d4d4d", "#0b7285", "#a61e78")
"""Dark enough to be legible as text; curves are also labelled."""
PEER_DASHES = ("-", "--", ":")
"""One for each round through the colours."""

TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


def rate_distortion_png(
    curves: Sequence[CorpusCurve], scores: Sequence[Score], title: str
) -> bytes:
    """Return the plot as a PNG file. The axis of bits per pixel is logarithmic."""
    figure = Figure(figsize=(6.4 * len(scores), 5.6), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    panels = figure.subplots(1, len(scores), squeeze=False)[0]
    for panel, score in zip(panels, scores, strict=True):
        drawn = [
            (c.name, c.label, c.bpp, [score.for_curves(v) for v in c.scores[score.name]])
            for c in curves
        ]
        draw_curves(panel, drawn, score.label)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def draw_curves(
    panel: Axes,
    curves: Sequence[tuple[str, str, Sequence[float], Sequence[float]]],
    title: str,
) -> None:
    """Draw curves (codec, label, bits per pixel, values) on one panel, without infinite values."""
    ends = []
    peers = 0
    for codec, label, bpp, values in curves:
        points = [(r, v) for r, v in zip(bpp, values, strict=True) if math.isfinite(v)]
        if not points:
            continue
        if codec == CODEC:
            colour, dashes, width, marker = CODEC_COLOUR, "-", 2.4, "o"
        else:
            round_, place = divmod(peers, len(PEER_COLOURS))
            colour, dashes = PEER_COLOURS[place], PEER_DASHES[round_ % len(PEER_DASHES)]
            width, marker = 1.2, "."
            peers += 1
        rates, heights = zip(*points, strict=True)
        panel.plot(rates, heights, dashes, color=colour, lw=width, marker=marker, markersize=5)
        ends.append((label, colour, *points[-1], codec == CODEC))
    panel.set_xscale("log")
    panel.set_xlabel("bits per pixel (mean over photos)")
    panel.set_title(title, loc="left", fontsize=11)
    low, high = panel.get_xlim()
    panel.set_xticks([tick for tick in TICKS if low <= tick <= high])
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.grid(color="#e3e3e3", linewidth=0.7)
    panel.spines[["top", "right"]].set_visible(False)
    _name_ends(panel, ends)


def _name_ends(panel: Axes, ends: list[tuple[str, str, float, float, bool]]) -> None:
    """Label each curve in the right margin at the height of its end, without overlaps."""
    low, high = panel.get_ylim()
    gap = (high - low) * 0.045
    right = panel.get_xlim()[1]
    placed: list[float] = []
    ordered = sorted(ends, key=lambda end: end[3])
    for end in ordered:
        placed.append(max(end[3], placed[-1] + gap) if placed else end[3])
    if placed and placed[-1] > high:
        ceiling = high
        for i in reversed(range(len(placed))):
            placed[i] = min(placed[i], ceiling)
            ceiling = placed[i] - gap
    names = short_labels([label for label, *_ in ordered])
    for name, (_, colour, x, y, ours), at in zip(names, ordered, placed, strict=True):
        panel.annotate(
            name,
            xy=(x, y),
            xytext=(right * 1.06, at),
            color=colour,
            fontsize=10 if ours else 9,
            fontweight="bold" if ours else "normal",
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.5,
                "alpha": 0.6,
                "relpos": (0, 0.5),  # end at the left edge of the text: no line crosses another
                "shrinkA": 1,
                "shrinkB": 3,
            },
        )
