"""`underpaint evaluate`: the codec beside the picture codecs people would pick instead."""

from __future__ import annotations

import argparse
from pathlib import Path

from underpaint.codec.errors import UsageError
from underpaint.codec.storage.extras import require_extras
from underpaint.pipelines.cli import options
from underpaint.pipelines.cli.console import count, positive
from underpaint.pipelines.cli.outputs import check_folder

DEFAULT_PEERS = "jpeg,webp,avif"
DEFAULT_METRICS = "psnr,ms-ssim"


EXAMPLES = """\
  underpaint evaluate photos --peers jpeg,avif --output results
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `evaluate` to the command line."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure rate, distortion and speed against JPEG, WebP, AVIF, …",
        description="Encode photos with Underpaint and other codecs. Print and write rate points, "
        "BD-rates and speeds as tables, CSV, a plot and, with --page, a page with crops. Photos "
        "that cannot be read or are too small are named and left out, with exit status 1.",
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("photos", nargs="*", metavar="PHOTOS", help="folders, globs or files")
    add(
        "--tasks",
        type=Path,
        metavar="FOLDER",
        help="measure detectors, segmenters and landmark networks: a folder of photos, ground "
        "truth and networks",
    )
    add("--output", required=True, metavar="FOLDER", type=Path, help="folder for the results")
    add(
        "--peers",
        default=DEFAULT_PEERS,
        metavar="NAMES",
        help="other codecs: any of jpeg, webp, avif, jxl, jp2; avif-444, without chroma "
        "subsampling; avif-psnr and avif-ssimulacra2, tuned for a metric; avif-slow, "
        "avif-slow-psnr and avif-slow-ssimulacra2, at speed 3; or none (default: %(default)s)",
    )
    add(
        "--metrics",
        default=DEFAULT_METRICS,
        metavar="NAMES",
        help="any of psnr, ms-ssim, ssimulacra2 (default: %(default)s)",
    )
    options.add_weights(parser, "perceptual")
    add(
        "--effort",
        type=int,
        choices=(1, 2, 3),
        default=1,
        help="effort of the encoder when rates are measured, as in `underpaint encode` "
        "(default: %(default)s)",
    )
    add(
        "--texture",
        type=int,
        metavar="SEED",
        help="with --tasks: add random fine texture to pictures of few layers",
    )
    add("--peers-only", action="store_true", help="measure the other codecs only")
    options.add_sample(parser)
    add(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="keep results of other codecs in this folder, for later runs",
    )
    add(
        "--speed-photos",
        type=count,
        default=8,
        metavar="N",
        help="number of photos for measuring speed; 0 for none (default: %(default)s)",
    )
    add("--page", action="store_true", help="also write a page with crops at equal bytes")
    add(
        "--page-photos",
        type=positive,
        default=4,
        metavar="N",
        help="number of photos on the page (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command; 1 where photos are left out, else 0, or an error of `codec.errors`."""
    check_folder("--output", arguments.output)
    check_folder("--cache", arguments.cache)
    require_extras("evaluate", "evaluate")
    from underpaint.pipelines.evaluation.report import Settings, evaluate

    if not arguments.photos and arguments.tasks is None:
        raise UsageError("nothing to evaluate: no photos and no --tasks")
    if arguments.texture is not None and (arguments.tasks is None or arguments.peers_only):
        raise UsageError("--texture: no effect without --tasks, or with --peers-only; leave it out")
    left_out = evaluate(
        Settings(
            inputs=tuple(arguments.photos),
            tasks=arguments.tasks,
            output=arguments.output,
            peers=() if arguments.peers == "none" else _names(arguments.peers),
            metrics=_names(arguments.metrics),
            weights=arguments.weights,
            effort=arguments.effort,
            texture=arguments.texture,
            with_codec=not arguments.peers_only,
            workers=arguments.workers,
            limit=arguments.limit,
            cache=arguments.cache,
            speed_photos=arguments.speed_photos,
            page_photos=arguments.page_photos if arguments.page else 0,
        )
    )
    return 1 if left_out else 0


def _names(text: str) -> tuple[str, ...]:
    """Names parted by commas."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
