"""Tables, CSV and plot of what machines still see."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from underpaint.pipelines.evaluation.measurement import CODEC
from underpaint.pipelines.evaluation.page import Section
from underpaint.pipelines.evaluation.plot import draw_curves
from underpaint.pipelines.evaluation.tables import align, write_csv
from underpaint.pipelines.evaluation.tasks.run import KEPT, TaskReport

POINTS_NOTE = "Mean bits per pixel and bytes of a photo, score, and share of the originals' score."
KEPT_NOTE = (
    "Mean bits per pixel at which a share of the originals' score is kept (an error kept at 95 % "
    'is at most 1/0.95 of the originals\'); in brackets what Underpaint takes of that. With "<", '
    "the coarsest point already keeps more; a dash where no point keeps it."
)


def task_sections(reports: Sequence[TaskReport]) -> list[Section]:
    """For each task its points, then the rates at which shares of the score are kept."""
    sections = []
    for report in reports:
        rows = [["originals", "", "", "", f"{report.of_originals:.4f}", "100.0 %"]]
        rows += [
            [
                curve.label if i == 0 else "",
                curve.settings[i],
                f"{curve.bpp[i]:.4f}",
                f"{curve.size[i]:,.0f}",
                f"{curve.score[i]:.4f}",
                f"{100 * curve.kept[i]:.1f} %",
            ]
            for curve in report.curves
            for i in range(len(curve.bpp))
        ]
        heading = ["codec", "setting", "bpp", "bytes", report.task.label, "kept"]
        title = f"{report.task.name}: {report.task.label}, {report.photos} photos"
        sections.append(Section(title, POINTS_NOTE, align(heading, rows, left=2)))
    sections.append(Section("Rate at which a task is kept", KEPT_NOTE, _kept_table(reports)))
    return sections


def write_task_csvs(folder: Path, reports: Sequence[TaskReport]) -> None:
    """tasks.csv (every point) and tasks_kept.csv (rates at shares of the score)."""
    write_csv(
        folder / "tasks.csv",
        ["task", "codec", "setting", "bpp", "bytes", "score", "kept"],
        (
            [r.task.name, c.codec, c.settings[i], c.bpp[i], c.size[i], c.score[i], c.kept[i]]
            for r in reports
            for c in r.curves
            for i in range(len(c.bpp))
        ),
    )
    write_csv(
        folder / "tasks_kept.csv",
        ["task", "codec", "kept", "bpp", "is_bound"],
        (
            [r.task.name, c.codec, share, c.bpp_at(share), int(c.is_bound(share))]
            for r in reports
            for c in r.curves
            for share in KEPT
        ),
    )


def tasks_png(reports: Sequence[TaskReport]) -> bytes:
    """One panel a task: share of the originals' score over bits per pixel."""
    figure = Figure(figsize=(6.4 * len(reports), 5.6), dpi=110, layout="constrained")
    figure.suptitle("What machines still see", fontsize=12, x=0.01, ha="left")
    panels = figure.subplots(1, len(reports), squeeze=False)[0]
    for panel, report in zip(panels, reports, strict=True):
        for share in KEPT:
            panel.axhline(100 * share, color="#bdbdbd", linewidth=0.8, linestyle=(0, (4, 3)))
        draw_curves(
            panel,
            [(c.codec, c.label, c.bpp, [100 * kept for kept in c.kept]) for c in report.curves],
            f"{report.task.name}: % of the originals' score",
        )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _kept_table(reports: Sequence[TaskReport]) -> str:
    rows = []
    for report in reports:
        ours = next((c for c in report.curves if c.codec == CODEC), None)
        for i, curve in enumerate(report.curves):
            cells = []
            for share in KEPT:
                bpp = curve.bpp_at(share)
                bound = "<" if curve.is_bound(share) else ""
                cell = "-" if math.isnan(bpp) else f"{bound}{bpp:.4f}"
                if ours is not None and curve is not ours:
                    ratio = ours.bpp_at(share) / bpp
                    cell += " (-)" if math.isnan(ratio) else f" ({ratio:.2f}x)"
                cells.append(cell)
            rows.append([report.task.name if i == 0 else "", curve.label, *cells])
    return align(["task", "codec", *(f"{100 * share:.0f} %" for share in KEPT)], rows, left=2)
