"""`underpaint benchmark`: speed and memory on this machine, with the real commands."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from underpaint.codec.errors import UsageError
from underpaint.codec.storage.extras import require_extras
from underpaint.pipelines.cli import options
from underpaint.pipelines.cli.console import count
from underpaint.pipelines.cli.outputs import check_file, check_folder

EXAMPLES = """\
  underpaint benchmark photos --json figures.json
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `benchmark` to the command line."""
    parser = subparsers.add_parser(
        "benchmark",
        help="measure speed and memory on this machine",
        description="Run encode and decode on photos, then time the codec alone beside AVIF on "
        "the same cores. Prints megapixels a second and peak memory.",
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("photos", nargs="+", metavar="PHOTOS", help="folders, globs or files")
    options.add_weights(parser, "perceptual")
    options.add_sample(parser)
    add(
        "--codec-photos",
        type=count,
        default=24,
        metavar="N",
        help="photos for timing the codec alone; 0 for none (default: %(default)s)",
    )
    add("--codec-only", action="store_true", help="time only the codec, not encode and decode")
    add(
        "--folder",
        type=Path,
        metavar="FOLDER",
        help="folder for the archive, which is removed afterwards",
    )
    add("--json", type=Path, metavar="FILE", help="also write the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; 0, or an error of `codec.errors`."""
    check_file("--json", arguments.json)
    check_folder("--folder", arguments.folder)
    require_extras("benchmark", "evaluate", "pipeline")
    from underpaint.pipelines.evaluation.benchmark import Settings, benchmark

    figures = []
    for figure in benchmark(
        Settings(
            inputs=tuple(arguments.photos),
            weights=arguments.weights,
            workers=arguments.workers,
            limit=arguments.limit,
            codec_photos=arguments.codec_photos,
            commands=not arguments.codec_only,
            folder=arguments.folder,
        )
    ):
        print(f"{figure.name:<44} {figure.value:>10.2f} {figure.unit}".rstrip(), flush=True)
        figures.append(figure)
    if arguments.json is not None:
        found = {f.name: {"value": f.value, "unit": f.unit} for f in figures}
        try:
            arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {arguments.json}: {error.strerror}") from error
    return 0
