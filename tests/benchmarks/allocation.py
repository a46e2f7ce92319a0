"""What quantisation steps of single bands are worth: how rates change at equal scores.

python -m tests.benchmarks.allocation PHOTOS... [--weights NAME] [--factor X] [--groups G ...]
    [--every N]

The steps of one group of bands at a time are multiplied and divided by a factor. Classes and
semantic head are restated for these steps, and expected magnitudes scaled; tables and centroids
stay those of the weights. Fitting them again would gain a share that grows with the square of the
change only, so the difference of both directions is the slope. Prints the mean BD-rate over photos
against the unchanged weights, from 2 layers on, of plain pictures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tests.benchmarks.weights_rate import measured, rates
from underpaint.codec.codec import Codec
from underpaint.codec.errors import UnderpaintError, UsageError
from underpaint.codec.palette.classes import TEXTURE_INDEX
from underpaint.codec.training.photos import find_photos, load_photos
from underpaint.codec.transform.subbands import (
    BANDS,
    FLAGGED_LEVELS,
    LEVELS,
    ORIENTATIONS,
    band_index,
    band_levels,
)
from underpaint.codec.weights.loading import load_weights, pack_weights, unpack_weights
from underpaint.codec.weights.model import Weights
from underpaint.pipelines.cli.console import table
from underpaint.pipelines.evaluation.scores import SCORES, Score, scores_named


def groups() -> dict[str, np.ndarray]:
    """Return the exponent of the factor in each band's step, float64 [BANDS], by name of a group.

    Groups are levels (0 is the low band) of lightness and of chroma; diagonal bands of lightness
    against the two others, which change half as much the other way; and the first chroma component
    against the second, each by half.
    """
    level, component = band_levels().T
    found = {}
    for name, plane in (("lightness", component == 0), ("chroma", component > 0)):
        for at in range(LEVELS + 1):
            found[f"{name}-{at}"] = (plane & (level == at)).astype(float)
    for at in range(1, FLAGGED_LEVELS + 1):
        diagonal = np.zeros(BANDS)
        first = band_index(at, 0, 0)
        diagonal[first : first + ORIENTATIONS] = -0.5, -0.5, 1
        found[f"diagonal-{at}"] = diagonal
    found["chroma-balance"] = np.select([component == 1, component == 2], [0.5, -0.5], 0.0)
    return found


def with_steps(weights: Weights, ratio: np.ndarray) -> Weights:
    """Return weights with other finest steps; `ratio` float32 [BANDS], new steps over old ones."""
    textures = ratio[TEXTURE_INDEX]
    classes = weights.classes.in_steps(textures)
    expected = np.round(classes.expected_magnitude / ratio).astype(np.int32)
    changed = replace(
        weights,
        steps=weights.steps * ratio,
        classes=replace(classes, expected_magnitude=expected),
        head=weights.head.in_steps(textures),
    )
    return unpack_weights(pack_weights(changed))  # streams name the changed weights


def report(found: Mapping[str, tuple[np.ndarray, np.ndarray]], scores: Sequence[Score]) -> str:
    """Return the table that the command prints; `found` holds the rates of both directions."""
    rows = [
        (name, *(f"{a:+.2f} / {b:+.2f}" for a, b in zip(up.mean(0), down.mean(0), strict=True)))
        for name, (up, down) in found.items()
    ]
    titles = (score.label.removesuffix(", dB") for score in scores)
    return table([("steps of", *titles), *rows])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.allocation",
        description="Measure what quantisation steps of single bands are worth: BD-rates in percent"
        " with coarser steps, and with finer ones.",
    )
    parser.add_argument("photos", nargs="+", metavar="PHOTOS", help="folders or files")
    parser.add_argument("--weights", metavar="NAME", help="weights file or profile")
    parser.add_argument(
        "--factor", type=float, default=1.2, metavar="X", help="change of steps (default: 1.2)"
    )
    parser.add_argument(
        "--groups", nargs="+", choices=list(groups()), metavar="G", help="groups (default: all)"
    )
    parser.add_argument(
        "--metrics", nargs="+", default=list(SCORES), metavar="M", help="scores (default: all)"
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="use one photo in N (default: all)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    args = _parser().parse_args(arguments)
    try:
        if not args.factor > 1:
            raise UsageError(f"--factor {args.factor:g}: wants a number above 1")
        scores = scores_named(args.metrics)
        photos = list(load_photos(find_photos(args.photos)[:: args.every]))
        weights = load_weights(args.weights)
    except UnderpaintError as error:
        print(error, file=sys.stderr)
        return 2
    anchor = measured(Codec(weights), photos, scores, refine=False)
    from_two = slice(1, anchor.shape[1])
    found = {}
    for name, exponents in groups().items():
        if args.groups and name not in args.groups:
            continue
        up, down = (
            np.float32(args.factor) ** (sign * exponents).astype(np.float32) for sign in (1, -1)
        )
        found[name] = tuple(
            rates(anchor, measured(Codec(changed), photos, scores, refine=False), from_two)
            for changed in (with_steps(weights, ratio) for ratio in (up, down))
        )
    print(f"{len(photos)} photos; steps times and divided by {args.factor:g}")
    print(report(found, scores))
    return 0


if __name__ == "__main__":
    sys.exit(main())
