"""Compares the bytes of two weights files at equal PSNR.

python -m tests.benchmarks.weights_rate ANCHOR WEIGHTS PHOTOS... [--every N] [--refine]

ANCHOR and WEIGHTS are weights files or names of profiles. Each photo is encoded with both and
decoded with each number of layers, without the backward network unless --refine is given. Prints
the mean BD-rate in PSNR over photos, with its standard error, over 2 layers and more, and over 2 to
the last but one; then, for each number of layers, the change in bytes and in PSNR.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from underpaint.codec.codec import Codec
from underpaint.codec.errors import UnderpaintError
from underpaint.codec.metrics import psnr
from underpaint.codec.training.photos import find_photos, load_photos
from underpaint.pipelines.cli.console import table
from underpaint.pipelines.evaluation.curves import bd_rate


def measured(codec: Codec, photos: Sequence[np.ndarray], refine: bool) -> np.ndarray:
    """Return bits per pixel and PSNR by photo and number of layers, float64 [photos, layers, 2]."""
    figures = []
    for photo in photos:
        (stream,) = codec.encode([photo])
        ends = np.cumsum([len(layer) for layer in stream])
        for layers, end in enumerate(ends, 1):
            (decoded,) = codec.decode([stream[:layers]], refine=refine)
            bits = 8 * end / (photo.shape[0] * photo.shape[1])
            figures.append((bits, psnr(photo, decoded)))
    return np.array(figures).reshape(len(photos), -1, 2)


def rates(anchor: np.ndarray, other: np.ndarray, layers: slice) -> np.ndarray:
    """Return the BD-rate of each photo over some numbers of layers, in percent."""
    return np.array(
        [
            bd_rate(*a[layers].T.tolist(), *b[layers].T.tolist())
            for a, b in zip(anchor, other, strict=True)
        ]
    )


def report(anchor: np.ndarray, other: np.ndarray) -> str:
    """Return the tables that the command prints."""
    last = anchor.shape[1]
    rows = []
    for layers in (slice(1, last), slice(1, last - 1)):
        found = rates(anchor, other, layers)
        error = found.std(ddof=1) / len(found) ** 0.5
        rows.append(
            (
                f"{layers.start + 1} to {layers.stop}",
                f"{found.mean():+.2f} %",
                f"{error:.2f}",
                f"{found.min():+.1f} to {found.max():+.1f} %",
            )
        )
    by_layers = [
        (
            str(layers + 1),
            f"{100 * np.expm1(np.log(other[:, layers, 0] / anchor[:, layers, 0]).mean()):+.2f} %",
            f"{(other - anchor)[:, layers, 1].mean():+.3f} dB",
        )
        for layers in range(last)
    ]
    return "\n\n".join(
        (
            table([("layers", "BD-rate, PSNR", "standard error", "single photos"), *rows]),
            table([("layers", "bytes", "PSNR"), *by_layers]),
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.weights_rate",
        description="Compare the bytes of two weights files at equal PSNR.",
    )
    parser.add_argument("anchor", metavar="ANCHOR", help="weights file or profile to compare with")
    parser.add_argument("weights", metavar="WEIGHTS", help="weights file or profile")
    parser.add_argument("photos", nargs="+", metavar="PHOTOS", help="folders or files")
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="use one photo in N (default: all)"
    )
    parser.add_argument("--refine", action="store_true", help="decode with the backward network")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison; returns the exit status."""
    args = _parser().parse_args(arguments)
    try:
        paths: list[Path] = find_photos(args.photos)[:: args.every]
        photos = list(load_photos(paths))
        figures = [
            measured(Codec.load(name), photos, args.refine) for name in (args.anchor, args.weights)
        ]
    except UnderpaintError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(photos)} photos")
    print(report(*figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
