"""Estimates the cost of embedding against coding one rate only, and the gain of each context.

python -m tests.benchmarks.context_report PHOTOS... --fit PHOTOS...
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from tests.benchmarks.code_length import LEFT_OUT, CodedPhoto, coded_photos, step_bits
from underpaint.codec.errors import UnderpaintError
from underpaint.codec.weights.loading import load_weights
from underpaint.codec.weights.model import Weights
from underpaint.pipelines.cli.console import table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the report; 0, or 2 after a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.context_report", description=__doc__.splitlines()[0]
    )
    parser.add_argument("photos", nargs="+", help="photos whose code lengths are estimated")
    parser.add_argument("--fit", nargs="+", required=True, help="other photos, to fit tables on")
    parser.add_argument("--fit-photos", type=int, default=150, help="number of photos to fit on")
    parser.add_argument(
        "--weights", help="profile name, path or URL of a weights file (default: perceptual)"
    )
    chosen = parser.parse_args(arguments)
    try:
        weights = load_weights(chosen.weights)
        fitted = coded_photos(weights, chosen.fit, chosen.fit_photos)
        tested = coded_photos(weights, chosen.photos, None)
        _report(fitted, tested, weights)
    except UnderpaintError as error:
        print(f"context_report: {error}", file=sys.stderr)
        return 2
    return 0


def _report(fitted: Sequence[CodedPhoto], tested: Sequence[CodedPhoto], weights: Weights) -> None:
    config = weights.config
    states = config.chain[1:]
    befores = [None, *states[:-1]]
    print(f"fitted on {len(fitted)} photos; bits per pixel over {len(tested)} other photos\n")
    rows = [["width", "embedded", "direct", "cost of embedding"]]
    embedded = 0.0
    for before, after in zip(befores, states, strict=True):
        embedded += step_bits(fitted, tested, before, after)
        direct = step_bits(fitted, tested, None, after)
        cost = 100 * (embedded / direct - 1)
        rows.append([str(after.width), f"{embedded:.4f}", f"{direct:.4f}", f"{cost:+.1f} %"])
    print(table(rows), end="\n\n", flush=True)
    rows = [["features left out: more bits", *(f"width {state.width}" for state in states)]]
    whole = [step_bits(fitted, tested, b, a) for b, a in zip(befores, states, strict=True)]
    for name, features in LEFT_OUT.items():
        less = [
            step_bits(fitted, tested, b, a, features) for b, a in zip(befores, states, strict=True)
        ]
        shares = np.cumsum(less) / np.cumsum(whole) - 1
        rows.append([name, *(f"{100 * share:+.1f} %" for share in shares)])
    print(table(rows))


if __name__ == "__main__":
    sys.exit(main())
