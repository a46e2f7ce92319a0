"""`underpaint export`: pictures of any state for tools that do not know the archive."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from underpaint.codec.errors import UsageError
from underpaint.pipelines.cli import options
from underpaint.pipelines.cli.console import parse_size, positive
from underpaint.pipelines.cli.outputs import check_folder

if TYPE_CHECKING:
    from underpaint.codec.archive import Damage
    from underpaint.codec.archive.selection import Selection
    from underpaint.codec.archive.tools.export import Exported


EXAMPLES = """\
  underpaint export archive --output tars
  underpaint export archive --as folder --format jpeg --output pictures
  underpaint export archive --html sheet --pictures 500
  underpaint export gs://bucket/archive --html gs://bucket/sheet --archive-url ../archive
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "export",
        parents=[options.archive()],
        help="write WebDataset tar shards, a folder of pictures with their labels, or a page",
        description="Write every picture, decoded from all layers or the first ones, with its key "
        "and labels: as WebDataset shards (NAME.png, NAME.json) or as a folder with "
        "metadata.jsonl, which Hugging Face datasets reads as an imagefolder. A name is the key "
        "with every character but letters, digits, _, - and / percent-encoded. With --original, "
        "write the original files instead, verified against their SHA-256. With --html, write a "
        "page that shows a sample of the pictures.",
    )
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--output", metavar="FOLDER", help="folder, local or URL")
    target.add_argument(
        "--html",
        metavar="FOLDER",
        help="write a page, index.html, with a sample of the pictures as JPEG files to this "
        "folder, local or URL; the page holds no script and loads nothing else",
    )
    parser.add_argument(
        "--archive-url",
        metavar="URL",
        help="with --html: the address at which browsers find the archive, https://... or relative "
        "to the page (../archive); the page then has scripts that fetch layers from there, and "
        "shows its pictures at any number of layers and any size",
    )
    parser.add_argument(
        "--pictures",
        type=positive,
        metavar="N",
        help="with --html: number of pictures, evenly spread over the archive (default: 200)",
    )
    parser.add_argument(
        "--as",
        dest="form",
        choices=("webdataset", "folder"),
        help="tar shards, or a folder of files with metadata.jsonl (default: webdataset)",
    )
    parser.add_argument(
        "--format",
        choices=("png", "jpeg", "webp", "underpaint", "layers"),
        help="pictures; or the layers as they are stored, in one file of a picture (underpaint) or "
        "a file each (layers: NAME.layer_1 and on) (default: png)",
    )
    parser.add_argument(
        "--original",
        action="store_true",
        help="write the original files, which encode --keep-source stored, under their own names",
    )
    options.add_overwrite(parser)
    options.add_layers(parser)
    options.add_size(parser)
    options.add_selection(parser)
    parser.add_argument(
        "--shard-size",
        type=parse_size,
        metavar="SIZE",
        help="size of each tar (default: 256M)",
    )
    options.add_weights(parser)
    options.add_device(parser, "cpu")


def run(arguments: argparse.Namespace) -> int:
    """Export; 0, or 1 where an image was damaged or left out."""
    from underpaint.codec.archive.selection import EVERYTHING
    from underpaint.codec.archive.tools.originals import export_originals
    from underpaint.pipelines.cli.console import plural, shown, size_text

    folder = arguments.output or arguments.html
    check_folder("--output" if arguments.output else "--html", folder)
    _check_used(arguments)
    damaged = 0

    def report(damage: Damage) -> None:
        nonlocal damaged
        damaged += damage.rows
        print(shown(damage), file=sys.stderr)

    selection = options.selection(arguments)
    if arguments.original:
        if selection != EVERYTHING:
            raise UsageError(
                "--original: choose no rows, the originals of all pictures are written"
            )
        done = export_originals(
            arguments.archive,
            arguments.output,
            overwrite=arguments.overwrite,
            on_damage=report,
        )
    elif arguments.html:
        if selection != EVERYTHING:
            raise UsageError("--html: choose no rows, a sample of all pictures is shown")
        done = _sheet(arguments, report)
    else:
        done = _exported(arguments, selection, report)
    print(
        f"{folder}: {plural(done.images, 'picture')} in {plural(done.files, 'file')}, "
        f"{size_text(done.bytes)}"
    )
    if done.left:
        unlisted = ", which metadata.jsonl does not list" if arguments.form == "folder" else ""
        print(
            f"warning: {folder}: left there of earlier runs: {plural(len(done.left), 'file')}, "
            f"such as {shown(done.left[0])}{unlisted}; remove what you do not want, or export to "
            "an empty folder",
            file=sys.stderr,
        )
    options.say_if_none_match(arguments, done.images + damaged)
    if damaged > done.left_out:
        print(f"damaged {damaged - done.left_out:,}")
    if done.left_out:
        print(f"left out {done.left_out:,}")
    return int(bool(damaged))


def _check_used(arguments: argparse.Namespace) -> None:
    """UsageError for an option without effect."""
    given = {
        "--as": arguments.form,
        "--format": arguments.format,
        "--layers": arguments.layers,
        "--size": arguments.size,
        "--shard-size": arguments.shard_size,
        "--weights": arguments.weights,
    }
    idle = [option for option, value in given.items() if value is not None]
    if arguments.original and idle:
        raise UsageError(f"{', '.join(idle)}: no effect with --original; leave it out")
    if arguments.shard_size is not None and arguments.form == "folder":
        raise UsageError("--shard-size: no effect with --as folder; leave it out")
    if arguments.pictures and not arguments.html:
        raise UsageError("--pictures: no effect without --html; leave it out")
    if arguments.archive_url is not None and not arguments.html:
        raise UsageError("--archive-url: no effect without --html; leave it out")
    writes = [name for name in ("--as", "--format", "--shard-size") if given[name] is not None]
    writes += ["--original"] if arguments.original else []
    if arguments.html and writes:
        raise UsageError(f"{', '.join(writes)}: no effect with --html; leave it out")


def _sheet(arguments: argparse.Namespace, report: Callable[[Damage], None]) -> Exported:
    from underpaint.pipelines.serve.web_sheet import PICTURES, export_sheet

    return export_sheet(
        arguments.archive,
        arguments.html,
        pictures=arguments.pictures or PICTURES,
        layers=arguments.layers,
        size=arguments.size,
        archive_url=arguments.archive_url,
        overwrite=arguments.overwrite,
        weights=arguments.weights,
        device=arguments.device,
        on_damage=report,
    )


def _exported(
    arguments: argparse.Namespace, selection: Selection, report: Callable[[Damage], None]
) -> Exported:
    from underpaint.codec.archive.tools.export import SHARD_BYTES, export

    return export(
        arguments.archive,
        arguments.output,
        form=arguments.form or "webdataset",
        format=arguments.format or "png",
        layers=arguments.layers,
        size=arguments.size,
        selection=selection,
        shard_bytes=arguments.shard_size or SHARD_BYTES,
        overwrite=arguments.overwrite,
        weights=arguments.weights,
        device=arguments.device,
        on_damage=report,
    )
