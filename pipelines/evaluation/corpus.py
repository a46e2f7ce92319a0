"""Curves of a corpus from the measures of its photos, and the differences between curves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from underpaint.codec.errors import UsageError
from underpaint.pipelines.evaluation.curves import bd_rate, rate_at
from underpaint.pipelines.evaluation.measurement import CODEC, Measure, PhotoMeasures
from underpaint.pipelines.evaluation.scores import Score

FIRST_LAYERS = 2
"""Least number of layers of the states that BD-rates cover.

The first layer alone is meant for machines: its point is printed and drawn, but BD-rates leave it
out.
"""


@dataclass(frozen=True)
class CorpusCurve:
    """Means over photos at each setting of one codec, coarse to fine."""

    name: str
    label: str
    settings: tuple[str, ...]
    """Quality of a peer; number and name of the last layer for the codec."""
    bpp: tuple[float, ...]
    """Mean over photos of bits per pixel."""
    scores: dict[str, tuple[float, ...]]
    """Mean over photos by the score's name, on the score's own scale."""


@dataclass(frozen=True)
class Difference:
    """BD-rates of the codec against one peer in one score, in percent; negative: fewer bits."""

    peer: str
    score: str
    of_means: float
    """Between the curves of the corpus: the headline."""
    mean_of_photos: float
    """Mean over the photos whose curves overlap of the BD-rate of each."""
    standard_error: float
    """Standard error of that mean; nan for fewer than two photos."""
    photos: int
    """Number of these photos."""


def corpus_curve(
    photos: Sequence[PhotoMeasures],
    name: str,
    label: str,
    settings: Sequence[str],
    scores: Sequence[Score],
) -> CorpusCurve:
    """Return the mean curve of one codec.

    Raises UsageError if a photo has another number of points than there are settings.
    """
    for photo in photos:
        if len(photo.ladders[name]) != len(settings):
            raise UsageError(
                f"{photo.name} has {len(photo.ladders[name])} points of {name}, not {len(settings)}"
            )
    columns = list(zip(*(photo.ladders[name] for photo in photos), strict=True))
    return CorpusCurve(
        name=name,
        label=label,
        settings=tuple(settings),
        bpp=tuple(_mean([m.bpp for m in column]) for column in columns),
        scores={
            score.name: tuple(_mean([m.scores[score.name] for m in column]) for column in columns)
            for score in scores
        },
    )


def difference(
    photos: Sequence[PhotoMeasures], ours: CorpusCurve, peer: CorpusCurve, score: Score
) -> Difference:
    """Return the BD-rates of the codec against a peer, over states of at least `FIRST_LAYERS`."""
    of_each = [
        bd_rate(
            *_curve(photo.ladders[peer.name], score),
            *_curve(photo.ladders[CODEC][FIRST_LAYERS - 1 :], score),
        )
        for photo in photos
    ]
    known = [value for value in of_each if not math.isnan(value)]
    return Difference(
        peer=peer.name,
        score=score.name,
        of_means=bd_rate(
            peer.bpp,
            [score.for_curves(v) for v in peer.scores[score.name]],
            ours.bpp[FIRST_LAYERS - 1 :],
            [score.for_curves(v) for v in ours.scores[score.name][FIRST_LAYERS - 1 :]],
        ),
        mean_of_photos=_mean(known) if known else math.nan,
        standard_error=_standard_error(known),
        photos=len(known),
    )


def excess_at(ours: CorpusCurve, peer: CorpusCurve, score: Score, state: int) -> float:
    """Return the excess rate of a state, by index, over the peer at the same score, in percent.

    nan if the peer does not reach that score.
    """
    needed = rate_at(
        peer.bpp,
        [score.for_curves(v) for v in peer.scores[score.name]],
        score.for_curves(ours.scores[score.name][state]),
    )
    return 100 * (ours.bpp[state] / needed - 1)


def _curve(ladder: Sequence[Measure], score: Score) -> tuple[list[float], list[float]]:
    return [m.bpp for m in ladder], [score.for_curves(m.scores[score.name]) for m in ladder]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _standard_error(values: Sequence[float]) -> float:
    if len(values) < 2:
        return math.nan
    return statistics.stdev(values) / math.sqrt(len(values))
