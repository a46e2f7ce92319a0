"""Reports on the palette chain: a picture of it, its cost in time, the value of its merge costs.

python -m tests.benchmarks.palette_report picture PHOTO --output FILE
python -m tests.benchmarks.palette_report time PHOTOS... [--limit N]
python -m tests.benchmarks.palette_report ablation TASKS --photos PHOTOS... --output FILE.csv
python -m tests.benchmarks.palette_report left-out TASKS --output FILE.csv
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from underpaint.codec.analysis import TRANSFORM
from underpaint.codec.errors import UnderpaintError, UsageError
from underpaint.codec.weights.loading import load_weights
from underpaint.pipelines.cli.console import table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a report; 0, or 2 after a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.palette_report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    picture = commands.add_parser("picture", help="draw the chain of one photo and its matrices")
    picture.add_argument("photo", type=Path)
    picture.add_argument("--output", type=Path, required=True)
    picture.set_defaults(run=_picture)
    time = commands.add_parser("time", help="measure the share of each step in the encoder's time")
    time.add_argument("photos", nargs="+")
    time.add_argument("--limit", type=int, default=8)
    time.add_argument("--repeat", type=int, default=7, help="number of runs; the fastest counts")
    time.set_defaults(run=_time)
    ablation = commands.add_parser(
        "ablation", help="compare merge costs by colour, by texture and by all"
    )
    ablation.add_argument(
        "tasks", type=Path, help="folder of tasks, as for `underpaint evaluate --tasks`"
    )
    ablation.add_argument("--photos", nargs="+", required=True, help="training photos")
    ablation.add_argument("--output", type=Path, required=True, help="CSV to write")
    ablation.add_argument("--layers", type=int, default=3, help="most layers to measure")
    ablation.add_argument("--limit", type=int, help="most photos of each data set")
    ablation.add_argument("--fit-photos", type=int, default=300)
    ablation.add_argument("--extractor", default="", help="ONNX network, as for `underpaint train`")
    ablation.add_argument("--extractor-input", default="imagenet")
    ablation.set_defaults(run=_ablation)
    left_out = commands.add_parser(
        "left-out", help="bound what an encoder could leave out for machines"
    )
    left_out.add_argument(
        "tasks", type=Path, help="folder of tasks, as for `underpaint evaluate --tasks`"
    )
    left_out.add_argument("--output", type=Path, required=True, help="CSV to write")
    left_out.add_argument("--layers", type=int, default=4, help="most layers to measure, from 2")
    left_out.add_argument("--limit", type=int, help="most photos of each data set")
    left_out.set_defaults(run=_left_out)
    for command in (picture, time, ablation, left_out):
        command.add_argument(
            "--weights", help="profile name, path or URL of a weights file (default: perceptual)"
        )
    chosen = parser.parse_args(arguments)
    try:
        chosen.run(chosen)
    except UnderpaintError as error:
        print(f"palette_report: {error}", file=sys.stderr)
        return 2
    return 0


def _picture(arguments: argparse.Namespace) -> None:
    from tests.benchmarks.palette.chain_picture import draw_chain
    from underpaint.codec.image_io.read import read_picture

    try:
        pixels = read_picture(arguments.photo.read_bytes()).pixels
    except OSError as error:
        raise UsageError(f"no photo at {arguments.photo}: {error}") from error
    draw_chain(load_weights(arguments.weights), pixels).savefig(arguments.output)


def _time(arguments: argparse.Namespace) -> None:
    from tests.benchmarks.palette.step_times import step_times
    from underpaint.pipelines.evaluation.photos import find_photos, spread

    photos = spread(find_photos(arguments.photos), arguments.limit)
    times = step_times(load_weights(arguments.weights), photos, arguments.repeat)
    transform = times[TRANSFORM]
    rows = [
        [name, f"{1000 * seconds:.3f}", f"{seconds / transform:.3f}"]
        for name, seconds in times.items()
    ]
    print(table([["step", "ms per megapixel", "relative to transform"], *rows]))


def _ablation(arguments: argparse.Namespace) -> None:
    from tests.benchmarks.palette.ablation import Setting, run_ablation

    run_ablation(
        load_weights(arguments.weights),
        Setting(
            tasks=arguments.tasks,
            photos=tuple(arguments.photos),
            fit_photos=arguments.fit_photos,
            extractor=arguments.extractor,
            extractor_input=arguments.extractor_input,
            layers=arguments.layers,
            limit=arguments.limit,
        ),
        arguments.output,
    )


def _left_out(arguments: argparse.Namespace) -> None:
    from tests.benchmarks.palette.left_out import run_left_out

    run_left_out(
        load_weights(arguments.weights),
        arguments.tasks,
        arguments.output,
        layers=arguments.layers,
        limit=arguments.limit,
    )


if __name__ == "__main__":
    sys.exit(main())
