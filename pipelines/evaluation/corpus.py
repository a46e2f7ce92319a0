"""From measures photo by photo to the curves of a corpus and what separates them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from underpaint.codec.errors import UsageError
from underpaint.pipelines.evaluation.curves import bd_rate, rate_at
from underpaint.pipelines.evaluation.measurement import CODEC, Measure, PhotoMeasures
from underpaint.pipelines.evaluation.scores import Score

FIRST_STATE = 1
"""First state of the codec that its curve counts, as an index: the one with layers 0 and 1.

State 0 alone is meant for machines; its point is printed and drawn, but carries no BD-rate.
"""


@dataclass(frozen=True)
class CorpusCurve:
    """Means over photos at each setting of one codec, coarse to fine."""

    name: str
    label: str
    settings: tuple[str, ...]
    """Quality of a peer, state of the codec."""
    bpp: tuple[float, ...]
    """Mean over photos of bits per pixel."""
    scores: dict[str, tuple[float, ...]]
    """Mean over photos by the score's name, on the score's own scale."""


@dataclass(frozen=True)
class Difference:
    """BD-rates of the codec against one peer in one score, percent, negative where it wins."""

    peer: str
    score: str
    of_means: float
    """Between the curves of the corpus: the headline."""
    mean_of_photos: float
    """Mean over the photos whose curves overlap of the BD-rate of each."""
    photos: int
    """How many photos these are."""


def corpus_curve(
    photos: Sequence[PhotoMeasures],
    name: str,
    label: str,
    settings: Sequence[str],
    scores: Sequence[Score],
) -> CorpusCurve:
    """Mean curve of one codec. Raises UsageError where photos differ in their number of points."""
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
    """What the codec takes more than the peer, from state `FIRST_STATE` on."""
    of_each = [
        bd_rate(
            *_curve(photo.ladders[peer.name], score),
            *_curve(photo.ladders[CODEC][FIRST_STATE:], score),
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
            ours.bpp[FIRST_STATE:],
            [score.for_curves(v) for v in ours.scores[score.name][FIRST_STATE:]],
        ),
        mean_of_photos=_mean(known) if known else math.nan,
        photos=len(known),
    )


def excess_at(ours: CorpusCurve, peer: CorpusCurve, score: Score, state: int) -> float:
    """What a state of the codec takes more than the peer at the state's own score, percent.

    `nan` where the peer's ladder does not reach that score.
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
