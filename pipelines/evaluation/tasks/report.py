"""Tables, CSV files and plot of the tasks."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from underpaint.codec.counts import plural
from underpaint.pipelines.cli.console import table
from underpaint.pipelines.evaluation.measurement import CODEC
from underpaint.pipelines.evaluation.page import Section
from underpaint.pipelines.evaluation.plot import draw_curves
from underpaint.pipelines.evaluation.tables import write_csv
from underpaint.pipelines.evaluation.tasks.run import KEPT, TaskReport

POINTS_NOTE = (
    "Mean bits per pixel and bytes of a photo, the score, and its share of the score on originals."
)
KEPT_NOTE = (
    "Mean bits per pixel at which a share of the score on originals is reached; for errors, 95 % "
    "means at most 1/0.95 of the error on originals. In brackets the rate of Underpaint over that "
    'of the codec. "<": the coarsest point already reaches it. A dash: no point reaches it.'
)


def task_sections(reports: Sequence[TaskReport]) -> list[Section]:
    """Return the rate points of each task, then the rates at which shares of the score are kept."""
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
        title = f"{report.task.name}: {report.task.label}, {plural(report.photos, 'photo')}"
        sections.append(Section(title, POINTS_NOTE, table([heading, *rows], left=2)))
    sections.append(Section("Rate at which a task is kept", KEPT_NOTE, _kept_table(reports)))
    return sections


def write_task_csvs(folder: Path, reports: Sequence[TaskReport]) -> None:
    """Write tasks.csv (every point) and tasks_kept.csv (rates at shares of the score)."""
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
    """Plot the share of the score on originals over bits per pixel as PNG, one panel a task."""
    figure = Figure(figsize=(6.4 * len(reports), 5.6), dpi=110, layout="constrained")
    figure.suptitle("Tasks on decoded pictures", fontsize=12, x=0.01, ha="left")
    panels = figure.subplots(1, len(reports), squeeze=False)[0]
    for panel, report in zip(panels, reports, strict=True):
        for share in KEPT:
            panel.axhline(100 * share, color="#bdbdbd", linewidth=0.8, linestyle=(0, (4, 3)))
        draw_curves(
            panel,
            [(c.codec, c.label, c.bpp, [100 * kept for kept in c.kept]) for c in report.curves],
            f"{report.task.name}: % of the score on originals",
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
    heading = ["task", "codec", *(f"{100 * share:.0f} %" for share in KEPT)]
    return table([heading, *rows], left=2)
