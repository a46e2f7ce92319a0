"""Measures how heavy the tails of normalised latents are.

python -m tests.benchmarks.latent_tails PHOTOS... [--limit N]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from underpaint.codec.codec import Codec
from underpaint.codec.errors import UnderpaintError
from underpaint.pipelines.evaluation.photos import find_photos

BOUNDS = (5, 10, 20, 40)
"""Numbers of standard deviations."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each number of layers; 0, or 2 after a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.latent_tails", description="Tails of normalised latents."
    )
    parser.add_argument("photos", nargs="+", help="photos, or folders of them")
    parser.add_argument("--limit", type=int, help="at most so many photos, evenly spread")
    chosen = parser.parse_args(arguments)
    try:
        heading = " ".join(f"{f'> {bound}':>9}" for bound in BOUNDS)
        print(f"layers {heading}   largest   (share of values, by deviations)")
        for layers, shares, largest in tails(chosen.photos, chosen.limit):
            figures = " ".join(f"{100 * share:7.4f} %" for share in shares)
            print(f"{layers:6} {figures} {largest:9.1f}", flush=True)
    except UnderpaintError as error:
        print(f"latent_tails: {error}", file=sys.stderr)
        return 2
    return 0


def tails(
    inputs: Sequence[str], limit: int | None = None
) -> Iterator[tuple[int, list[float], float]]:
    """Yield each number of layers, the share of values beyond `BOUNDS`, and the largest value."""
    codec = Codec.load()
    streams = [codec.encode([photo.read()])[0] for photo in find_photos(inputs, limit)]
    for layers in range(1, codec.layers + 1):
        latents = codec.latents([stream[:layers] for stream in streams], normalize=True)
        values = np.concatenate([np.abs(one.coefficients).ravel() for one in latents])
        shares = [float(np.mean(values > bound)) for bound in BOUNDS]
        yield layers, shares, float(values.max())


if __name__ == "__main__":
    sys.exit(main())
