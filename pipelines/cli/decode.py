"""`underpaint decode`: an archive to pictures, or to latents."""

from __future__ import annotations

import argparse

from underpaint.codec.errors import UsageError
from underpaint.pipelines.cli import options
from underpaint.pipelines.cli.console import count, plural, size_text, time_text
from underpaint.pipelines.cli.outputs import check_folder

EXAMPLES = """\
  underpaint decode archive --output pictures --layers 3
  underpaint decode archive --output pictures --key left/001.jpg --key right/002.jpg
  underpaint decode archive --output pictures --where 'width > 640 and cls in (3, 5)' --limit 20
  underpaint decode archive --output latents --format latents --layers 2
"""

_EXPORT_HINT = "; `underpaint export --as folder` writes {:,} of them, under names for any key"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "decode",
        parents=[options.archive()],
        help="write the pictures or latents of an archive, from all layers or the first ones",
        description="Write one file for each picture of an archive, at the path of its key. If "
        "two keys differ only in their extension, the second file keeps the extension in its "
        "name. With --format latents, write NumPy files (.npz) with tensors at 1/16 of the "
        "picture's sides: class_map [h, w], embedding [E, h, w] and coefficients [C, h, w].",
        epilog="A picture with a damaged layer is decoded from the layers before it, with a "
        "warning and exit status 1.",
    )
    parser.add_argument("--output", required=True, metavar="FOLDER", help="local folder or URL")
    options.add_layers(parser)
    options.add_size(parser)
    options.add_selection(parser)
    parser.add_argument(
        "--format",
        choices=("png", "jpeg", "webp", "latents"),
        default="png",
        help="format of the files: pictures, or tensors without synthesis (default: %(default)s)",
    )
    options.add_overwrite(parser)
    parser.add_argument(
        "--levels",
        type=count,
        choices=range(5),
        help="wavelet levels in latents: C is 3, 12, 48, 192 or 768 (default: 2, C is 48)",
    )
    parser.add_argument(
        "--texture",
        type=count,
        metavar="SEED",
        help="add random fine texture, so that coarse pictures look more natural",
    )
    parser.add_argument(
        "--no-refine",
        dest="refine",
        action="store_false",
        help="skip the network that refines pictures: 1.6 to 8 times as fast on a CPU, 0.1 to 0.3 "
        "dB less on photos; flat areas and drawings may be better without it",
    )
    options.add_workers(parser)
    options.add_weights(parser)
    options.add_device(parser)


def run(arguments: argparse.Namespace) -> int:
    """Decode; 0, or 1 if an image is lost, left out or decoded from fewer layers than asked."""
    check_folder("--output", arguments.output)
    latents = arguments.format == "latents"
    if arguments.levels is not None and not latents:
        raise UsageError(
            "--levels: no effect on pictures, only with --format latents; leave it out"
        )
    if not arguments.refine and latents:
        raise UsageError("--no-refine: no effect on latents; leave it out")
    from underpaint.pipelines.jobs.decode import COARSE_LEVELS, DecodeOptions, decode

    result = decode(
        DecodeOptions(
            archive=arguments.archive,
            output=arguments.output,
            layers=arguments.layers,
            size=arguments.size,
            format=arguments.format,
            workers=arguments.workers,
            weights=arguments.weights,
            device=arguments.device,
            texture=arguments.texture,
            refine=arguments.refine,
            levels=COARSE_LEVELS if arguments.levels is None else arguments.levels,
            selection=options.selection(arguments),
            overwrite=arguments.overwrite,
        )
    )
    noun = "latent" if latents else "picture"
    rate = result.pixels / 1e6 / max(result.seconds, 1e-9)
    print(
        f"{arguments.output}: {plural(result.images, noun)}, {result.pixels / 1e6:,.2f} Mpx, "
        f"{size_text(result.bytes_out)} in {time_text(result.seconds)} ({rate:.2f} Mpx/s)"
    )
    missing = result.lost + result.left_out
    options.say_if_none_match(arguments, result.images + result.damaged + missing)
    if result.damaged or result.lost:
        print(f"damaged {result.damaged:,}, lost {result.lost:,}")
    if result.left_out:
        hint = "" if latents or not result.nameless else _EXPORT_HINT.format(result.nameless)
        print(f"left out {result.left_out:,}{hint}")
    return int(bool(result.damaged or missing))
