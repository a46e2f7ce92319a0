"""Tables and CSV files of an evaluation."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from underpaint.pipelines.cli.console import table
from underpaint.pipelines.evaluation.corpus import (
    FIRST_LAYERS,
    CorpusCurve,
    Difference,
    excess_at,
)
from underpaint.pipelines.evaluation.measurement import CODEC, PhotoMeasures
from underpaint.pipelines.evaluation.scores import Score
from underpaint.pipelines.evaluation.speed import Speed


def curves_table(curves: Sequence[CorpusCurve], scores: Sequence[Score]) -> str:
    """Every rate point of every codec: bits per pixel and scores, means over photos."""
    heading = ["codec", "setting", "bpp", *(score.name for score in scores)]
    rows = [
        [
            curve.label if i == 0 else "",
            curve.settings[i],
            f"{curve.bpp[i]:.4f}",
            *(f"{curve.scores[score.name][i]:.{score.digits}f}" for score in scores),
        ]
        for curve in curves
        for i in range(len(curve.bpp))
    ]
    return table([heading, *rows], left=2)


def differences_table(differences: Sequence[Difference], scores: Sequence[Score]) -> str:
    """BD-rates against each peer (row) in each score (column).

    In brackets the mean over photos and its standard error.
    """
    by = {(each.peer, each.score): each for each in differences}
    peers = list(dict.fromkeys(each.peer for each in differences))
    rows = []
    for peer in peers:
        cells = []
        for score in scores:
            each = by[peer, score.name]
            error = "" if math.isnan(each.standard_error) else f" ± {each.standard_error:.1f}"
            cells.append(f"{percent(each.of_means)} ({percent(each.mean_of_photos)}{error})")
        rows.append([peer, *cells])
    return table([["against", *(score.name for score in scores)], *rows])


def states_table(ours: CorpusCurve, peers: Sequence[CorpusCurve], scores: Sequence[Score]) -> str:
    """Bytes of each state of the codec against the bytes of each peer at the same score."""
    blocks = []
    for score in scores:
        rows = [
            [
                ours.settings[state],
                f"{ours.bpp[state]:.4f}",
                f"{ours.scores[score.name][state]:.{score.digits}f}",
                *(percent(excess_at(ours, peer, score, state)) for peer in peers),
            ]
            for state in range(len(ours.bpp))
        ]
        heading = ["layers", "bpp", score.name, *(peer.name for peer in peers)]
        blocks.append(table([heading, *rows]))
    return "\n\n".join(blocks)


def speeds_table(speeds: Sequence[Speed]) -> str:
    """Megapixels per second of each codec."""
    rows = [[s.label, f"{s.bpp:.2f}", f"{s.encode:.2f}", f"{s.decode:.2f}"] for s in speeds]
    return table([["codec", "bpp", "encode Mpx/s", "decode Mpx/s"], *rows])


def write_csvs(
    folder: Path,
    photos: Sequence[PhotoMeasures],
    curves: Sequence[CorpusCurve],
    differences: Sequence[Difference],
    speeds: Sequence[Speed],
    scores: Sequence[Score],
) -> None:
    """Write photos.csv (every measure), curves.csv (means), bd_rates.csv and speeds.csv."""
    names = [score.name for score in scores]
    settings = {curve.name: curve.settings for curve in curves}
    write_csv(
        folder / "photos.csv",
        ["photo", "codec", "setting", "bytes", "pixels", "bpp", *names],
        (
            [photo.name, codec, setting, m.size, m.pixels, m.bpp, *(m.scores[n] for n in names)]
            for photo in photos
            for codec, ladder in photo.ladders.items()
            for setting, m in zip(settings[codec], ladder, strict=True)
        ),
    )
    write_csv(
        folder / "curves.csv",
        ["codec", "setting", "bpp", *names],
        (
            [curve.name, curve.settings[i], curve.bpp[i], *(curve.scores[n][i] for n in names)]
            for curve in curves
            for i in range(len(curve.bpp))
        ),
    )
    if differences:
        write_csv(
            folder / "bd_rates.csv",
            [
                "codec",
                "from_layers",
                "against",
                "metric",
                "percent",
                "percent_mean_of_photos",
                "standard_error",
                "of",
            ],
            (
                [
                    CODEC,
                    FIRST_LAYERS,
                    d.peer,
                    d.score,
                    d.of_means,
                    d.mean_of_photos,
                    d.standard_error,
                    d.photos,
                ]
                for d in differences
            ),
        )
    if speeds:
        write_csv(
            folder / "speeds.csv",
            ["codec", "bpp", "encode_mpx_s", "decode_mpx_s"],
            ([s.name, s.bpp, s.encode, s.decode] for s in speeds),
        )


def write_csv(path: Path, heading: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write one CSV file, floats with six significant digits."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(heading)
        for row in rows:
            writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in row])


def percent(value: float) -> str:
    """Return a difference in percent, or a dash for nan."""
    return "-" if math.isnan(value) else f"{value:+.1f} %"
