"""Compares the bytes of two weights files, or of two efforts, at equal scores.

python -m tests.benchmarks.weights_rate ANCHOR WEIGHTS PHOTOS... [--metrics M ...] [--every N]
    [--refine] [--efforts N N]

ANCHOR and WEIGHTS are weights files or names of profiles. Each photo is encoded with both and
decoded with each number of layers, without the backward network unless --refine is given. With
--efforts, the encoder takes one effort for ANCHOR and another for WEIGHTS. Prints
the mean BD-rate over photos, with its standard error, over 2 layers and more, and over 2 to the
last but one; then, for each number of layers, the change in bytes and in scores (MS-SSIM in dB).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from underpaint.codec.codec import Codec
from underpaint.codec.errors import UnderpaintError
from underpaint.codec.quantize.rate_distortion import EFFORTS
from underpaint.codec.training.photos import find_photos, load_photos
from underpaint.pipelines.cli.console import table
from underpaint.pipelines.evaluation.curves import bd_rate
from underpaint.pipelines.evaluation.scores import SCORES, Score, scores_named


def measured(
    codec: Codec,
    photos: Sequence[np.ndarray],
    scores: Sequence[Score],
    refine: bool,
    effort: int = 1,
) -> np.ndarray:
    """Return bits per pixel and scores for curves, by photo and number of layers.

    float64 [photos, layers, 1 + scores].
    """
    figures = []
    for photo in photos:
        (stream,) = codec.encode([photo], effort=effort)
        ends = np.cumsum([len(layer) for layer in stream])
        for layers, end in enumerate(ends, 1):
            (decoded,) = codec.decode([stream[:layers]], refine=refine)
            values = (score.for_curves(score.of_pictures(photo, decoded)) for score in scores)
            figures.append((8 * end / (photo.shape[0] * photo.shape[1]), *values))
    return np.array(figures).reshape(len(photos), -1, 1 + len(scores))


def rates(anchor: np.ndarray, other: np.ndarray, layers: slice) -> np.ndarray:
    """Return the BD-rate of each photo over some numbers of layers by score, in percent.

    float64 [photos, scores].
    """
    return np.array(
        [
            [
                bd_rate(*a[layers, [0, place]].T.tolist(), *b[layers, [0, place]].T.tolist())
                for place in range(1, anchor.shape[2])
            ]
            for a, b in zip(anchor, other, strict=True)
        ]
    )


def report(anchor: np.ndarray, other: np.ndarray, scores: Sequence[Score]) -> str:
    """Return the tables that the command prints."""
    last = anchor.shape[1]
    rows = []
    for layers in (slice(1, last), slice(1, last - 1)):
        for score, found in zip(scores, rates(anchor, other, layers).T, strict=True):
            error = found.std(ddof=1) / len(found) ** 0.5
            rows.append(
                (
                    f"{layers.start + 1} to {layers.stop}",
                    score.label.removesuffix(", dB"),
                    f"{found.mean():+.2f} %",
                    f"{error:.2f}",
                    f"{found.min():+.1f} to {found.max():+.1f} %",
                )
            )
    change = (other - anchor)[..., 1:].mean(0)
    by_layers = [
        (
            str(layers + 1),
            f"{100 * np.expm1(np.log(other[:, layers, 0] / anchor[:, layers, 0]).mean()):+.2f} %",
            *(f"{value:+.3f}" for value in change[layers]),
        )
        for layers in range(last)
    ]
    titles = ("layers", "score", "BD-rate", "standard error", "single photos")
    labels = (score.label for score in scores)
    return "\n\n".join((table([titles, *rows]), table([("layers", "bytes", *labels), *by_layers])))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.weights_rate",
        description="Compare the bytes of two weights files at equal scores.",
    )
    parser.add_argument("anchor", metavar="ANCHOR", help="weights file or profile to compare with")
    parser.add_argument("weights", metavar="WEIGHTS", help="weights file or profile")
    parser.add_argument("photos", nargs="+", metavar="PHOTOS", help="folders or files")
    parser.add_argument(
        "--metrics",
        nargs="+",
        default=["psnr"],
        metavar="M",
        help=f"any of {', '.join(SCORES)} (default: psnr)",
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="use one photo in N (default: all)"
    )
    parser.add_argument("--refine", action="store_true", help="decode with the backward network")
    parser.add_argument(
        "--efforts",
        nargs=2,
        type=int,
        choices=EFFORTS,
        default=(1, 1),
        metavar="N",
        help="efforts of the encoder for ANCHOR and for WEIGHTS (default: 1 1)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison; returns the exit status."""
    args = _parser().parse_args(arguments)
    try:
        scores = scores_named(args.metrics)
        paths: list[Path] = find_photos(args.photos)[:: args.every]
        photos = list(load_photos(paths))
        figures = [
            measured(Codec.load(name), photos, scores, args.refine, effort)
            for name, effort in zip((args.anchor, args.weights), args.efforts, strict=True)
        ]
    except UnderpaintError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(photos)} photos")
    print(report(*figures, scores))
    return 0


if __name__ == "__main__":
    sys.exit(main())
