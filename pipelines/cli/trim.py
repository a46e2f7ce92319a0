"""`underpaint trim`: an archive without its finer layers, or without larger sizes."""

from __future__ import annotations

import argparse

from underpaint.pipelines.cli import options
from underpaint.pipelines.cli.console import positive
from underpaint.pipelines.cli.outputs import check_folder

EXAMPLES = """\
  underpaint trim archive --layers 2 --output small
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "trim",
        parents=[options.archive()],
        help="copy an archive without its finer layers or larger sizes",
        description="Write a new archive with some of the layers or sizes of another one. Nothing "
        "is decoded or encoded, and what is left out is not read. The same command resumes a run "
        "that was stopped.",
    )
    parser.add_argument(
        "--layers", type=positive, metavar="N", help="keep layers 1 to N (default: all layers)"
    )
    parser.add_argument(
        "--size",
        type=positive,
        metavar="N",
        help="keep what pictures of a short side of N pixels need: the archive's sizes up to the "
        "first that reaches N (default: all sizes)",
    )
    parser.set_defaults(stopped=options.GOES_ON)
    options.add_new_archive(parser)


def run(arguments: argparse.Namespace) -> int:
    """Trim; 0."""
    from underpaint.codec.archive import Archive
    from underpaint.codec.archive.tools.trim import trim
    from underpaint.codec.errors import UsageError
    from underpaint.pipelines.cli.console import plural, size_text

    check_folder("--output", arguments.output)
    if arguments.layers is None and arguments.size is None:
        raise UsageError("want --layers, --size or both: what the new archive keeps")
    trim(arguments.archive, arguments.output, arguments.layers, arguments.size)
    before = Archive.open(arguments.archive).statistics()
    after = Archive.open(arguments.output).statistics()
    print(
        f"{arguments.output}: {plural(after.images, 'picture')}, {len(after.layer_names)} of "
        f"{len(before.layer_names)} layers, {size_text(after.file_bytes)} of "
        f"{size_text(before.file_bytes)}"
    )
    return 0
