"""Compares the time of decoding with several weights files, with and without the backward network.

python -m tests.benchmarks.refine_speed WEIGHTS... --photos PHOTOS... [--untrained SHAPE ...]
    [--layers N ...] [--rounds N]

WEIGHTS are weights files or names of profiles. SHAPE is WIDTHxHIDDENxDEPTH: it stands for the first
weights with an untrained network whose trunk at 1/4 has blocks of so many channels and hidden
units, and so many of them. All photos are decoded in one call and one thread, by each file in turn,
so that other work on the machine slows down all of them alike. Prints the least CPU time of a
pixel, the rate that it gives, and the median of how many times as fast each round was as with the
first weights.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from underpaint.codec.codec import Codec
from underpaint.codec.errors import UnderpaintError, UsageError
from underpaint.codec.reconstruct.network import BackwardNetwork
from underpaint.codec.training.photos import find_photos, load_photos
from underpaint.codec.weights.loading import load_weights
from underpaint.codec.weights.model import Weights
from underpaint.pipelines.cli.console import table

KINDS = {"plain": False, "refined": True}
"""Kinds of pictures, and whether the network is used for them."""

SPREAD = 0.001
"""Standard deviation of the last layers of an untrained network, so that it changes pictures."""


def with_untrained(weights: Weights, text: str) -> Weights:
    """Return weights with an untrained network of another shape, WIDTHxHIDDENxDEPTH."""
    sizes = text.split("x")
    if len(sizes) != 3 or not all(size.isdecimal() and int(size) for size in sizes):
        raise UsageError(f"--untrained {text}: want WIDTHxHIDDENxDEPTH, such as 48x48x3")
    width, hidden, depth = map(int, sizes)
    shape = replace(weights.network_shape, fine_width=width, fine_hidden=hidden, fine_depth=depth)
    torch.manual_seed(1)
    network = BackwardNetwork(shape)
    for last in (network.coarse_out, network.fine_out):
        torch.nn.init.normal_(last.weight, std=SPREAD)
    return weights.with_network(network)


def measured(
    codecs: Mapping[str, Codec], photos: Sequence[np.ndarray], layers: Sequence[int], rounds: int
) -> np.ndarray:
    """Return CPU time in nanoseconds a pixel, float64 [rounds, layers, kinds, codecs].

    One round more, before these, is not measured.
    """
    pixels = sum(photo.shape[0] * photo.shape[1] for photo in photos)
    streams = [codec.encode(photos) for codec in codecs.values()]
    times = np.empty((1 + rounds, len(layers), len(KINDS), len(codecs)))
    for place in np.ndindex(times.shape):
        _, layer, kind, codec = place
        begun = [stream[: layers[layer]] for stream in streams[codec]]
        start = time.process_time()
        [*codecs.values()][codec].decode(begun, refine=[*KINDS.values()][kind])
        times[place] = 1e9 * (time.process_time() - start) / pixels
    return times[1:]


def report(names: Sequence[str], layers: Sequence[int], times: np.ndarray) -> str:
    """Return the table that the command prints, of what `measured` returns."""
    titles = ("weights", "picture", "layers", "ns a pixel", "Mpx/s", "times as fast")
    rows = []
    for layer, count in enumerate(layers):
        for kind, title in enumerate(KINDS):
            found = times[:, layer, kind]
            for place, name in enumerate(names):
                least = found[:, place].min()
                faster = np.median(found[:, 0] / found[:, place])
                rows.append(
                    (name, title, str(count), f"{least:.1f}", f"{1e3 / least:.1f}", f"{faster:.2f}")
                )
    return table([titles, *rows])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.refine_speed",
        description="Compare the time of decoding with several weights files.",
    )
    parser.add_argument("weights", nargs="+", metavar="WEIGHTS", help="weights files or profiles")
    parser.add_argument(
        "--photos", nargs="+", required=True, metavar="PHOTOS", help="folders or files"
    )
    parser.add_argument(
        "--untrained",
        nargs="+",
        default=[],
        metavar="SHAPE",
        help="the first weights with untrained networks, WIDTHxHIDDENxDEPTH of the trunk at 1/4",
    )
    parser.add_argument(
        "--layers", nargs="+", type=int, default=[1, 6], metavar="N", help="default: 1 and 6"
    )
    parser.add_argument(
        "--rounds", type=int, default=10, metavar="N", help="measured rounds (default: 10)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison; returns the exit status."""
    args = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    try:
        codecs = {name: Codec.load(name) for name in args.weights}
        first = load_weights(args.weights[0])
        codecs |= {shape: Codec(with_untrained(first, shape)) for shape in args.untrained}
        photos = list(load_photos(find_photos(args.photos)))
        if not photos:
            raise UsageError(f"--photos {' '.join(args.photos)}: no photo is large enough")
        times = measured(codecs, photos, args.layers, args.rounds)
    except UnderpaintError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(photos)} photos")
    print(report([*codecs], args.layers, times))
    return 0


if __name__ == "__main__":
    sys.exit(main())
