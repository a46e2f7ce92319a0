"""What refining does to flat and drawn pictures.

python -m tests.benchmarks.drawn WEIGHTS...

WEIGHTS are weights files or names of profiles. Prints, for each picture and number of layers, the
worst and the mean error in grey levels, of the plain and of the refined picture. The pictures are
none of those that `codec.training.drawn` makes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from skimage import data

from underpaint.codec.codec import Codec
from underpaint.codec.errors import UnderpaintError
from underpaint.pipelines.cli.console import table

COLOURS = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
    "pale": (235, 235, 235),
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "cyan": (0, 255, 255),
    "magenta": (255, 0, 255),
}

HEIGHT, WIDTH = 240, 320


def flat_pictures() -> dict[str, np.ndarray]:
    """Return a picture of each colour, uint8 [HEIGHT, WIDTH, 3]."""
    return {name: np.full((HEIGHT, WIDTH, 3), colour, np.uint8) for name, colour in COLOURS.items()}


def drawings() -> dict[str, np.ndarray]:
    """Return text on white and on dark ground, a chart, and a photo on white; sizes as above."""
    canvases = {name: Image.new("RGB", (WIDTH, HEIGHT), "white") for name in ("text", "chart")}
    canvases["dark text"] = Image.new("RGB", (WIDTH, HEIGHT), (30, 30, 34))
    for name, ink in (("text", "black"), ("dark text", (220, 220, 210))):
        draw = ImageDraw.Draw(canvases[name])
        for line in range(13):
            draw.text((10, 8 + 17 * line), f"{line} jackdaws love my big sphinx of quartz", ink)
    draw = ImageDraw.Draw(canvases["chart"])
    draw.line([(30, 20), (30, 220), (300, 220)], "black")
    for number, colour in enumerate(("red", "green", "blue"), 1):
        x = np.arange(40, 300, 8)
        y = 120 + 80 * np.sin(x / (14.0 * number)) * np.linspace(0.3, 1, len(x))
        draw.line(np.stack([x, y], 1).ravel().tolist(), colour, 2)
    canvases["photo on white"] = Image.new("RGB", (WIDTH, HEIGHT), "white")
    canvases["photo on white"].paste(Image.fromarray(data.chelsea()[60:220, 100:300]), (70, 40))
    return {name: np.array(canvas) for name, canvas in canvases.items()}


def errors(codec: Codec, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Return worst and mean error by layers, picture, and plain or refined, [layers, N, 2, 2]."""
    streams = codec.encode(pictures)
    found = []
    for layers in range(1, codec.layers + 1):
        cut = [stream[:layers] for stream in streams]
        decoded = [codec.decode(cut, refine=refine) for refine in (False, True)]
        for picture, *shown in zip(pictures, *decoded, strict=True):
            apart = [np.abs(one.astype(int) - picture) for one in shown]
            found.append([(error.max(), error.mean()) for error in apart])
    return np.array(found).reshape(codec.layers, len(pictures), 2, 2)


def report(names: Sequence[str], found: np.ndarray) -> str:
    """Return the table of `errors`: the worst error, and the mean in brackets."""
    rows = [("picture", "", *(f"{layers + 1} layers" for layers in range(len(found))))]
    for place, name in enumerate(names):
        for refined, how in enumerate(("plain", "refined")):
            cells = (f"{worst:.0f} ({mean:.2f})" for worst, mean in found[:, place, refined])
            rows.append((name, how, *cells))
    return table(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.drawn",
        description="Measure what refining does to flat and drawn pictures.",
    )
    parser.add_argument("weights", nargs="+", metavar="WEIGHTS", help="weights file or profile")
    args = parser.parse_args(arguments)
    pictures = flat_pictures() | drawings()
    try:
        for name in args.weights:
            codec = Codec.load(name)
            print(f"{name}, weights {codec.weights_id}: worst (mean) error in grey levels")
            print(report(list(pictures), errors(codec, list(pictures.values()))))
    except UnderpaintError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
