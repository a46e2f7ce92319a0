"""`underpaint view`: one picture at every number of layers."""

from __future__ import annotations

import argparse

from underpaint.pipelines.cli import options
from underpaint.pipelines.cli.outputs import check_file

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Suffixes of the files that `--picture` writes."""


EXAMPLES = """\
  underpaint view archive
  underpaint view archive left/001.jpg --html page.html --picture sheet.png
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "view",
        parents=[options.archive()],
        help="show one picture at every number of layers, as a table or an HTML page",
        description="Print bytes, bits per pixel and palette size of one picture for each number "
        "of layers. With --html, write a page that shows the picture, its palette and its class "
        "map for each of them. The page loads nothing from the network and contains no script.",
    )
    parser.add_argument(
        "key", metavar="KEY", nargs="?", help="key of the picture (default: the first one)"
    )
    parser.add_argument("--html", metavar="FILE", help="write the page to this file")
    parser.add_argument(
        "--picture",
        metavar="FILE",
        help="write a contact sheet of all numbers of layers (PNG, JPEG or WebP)",
    )
    options.add_size(parser)
    options.add_weights(parser)
    options.add_device(parser, "cpu")


def run(arguments: argparse.Namespace) -> int:
    """View; 0."""
    from pathlib import Path

    from underpaint.codec.archive import Archive
    from underpaint.codec.archive.tools.view import render, view_of
    from underpaint.codec.errors import UsageError
    from underpaint.pipelines.cli.console import shown, table

    if arguments.picture and Path(arguments.picture).suffix.lower() not in PICTURE_SUFFIXES:
        suffixes = ", ".join(PICTURE_SUFFIXES)
        raise UsageError(f"--picture {arguments.picture}: the suffix must be one of {suffixes}")
    check_file("--html", arguments.html)
    check_file("--picture", arguments.picture)
    archive = Archive.open(arguments.archive)
    key = arguments.key if arguments.key is not None else next(archive.keys(), None)
    if key is None:
        raise UsageError(f"{arguments.archive}: the archive holds no picture")
    row, states = view_of(
        archive,
        key,
        size=arguments.size,
        weights=arguments.weights,
        device=arguments.device,
        refine=bool(arguments.html or arguments.picture),
    )
    rows = [("layers 1 to N", "layer bytes", "bytes", "bpp", "palette")]
    rows += [
        (
            f"{number}  {state.name}",
            f"{state.layer_bytes:,}",
            f"{state.total_bytes:,}",
            f"{state.bpp:.4f}",
            f"{len(state.palette):,}",
        )
        for number, state in enumerate(states, 1)
    ]
    height, width, _ = states[0].pixels.shape
    print(f"{shown(key)}: {width:,} x {height:,} pixels")
    print(table(rows))
    if arguments.html:
        Path(arguments.html).write_text(render(row, states), encoding="utf-8")
        print(f"page: {arguments.html}")
    if arguments.picture:
        from underpaint.codec.archive.tools.contact_sheet import contact_sheet

        contact_sheet(states, key).save(arguments.picture)
        print(f"picture: {arguments.picture}")
    return 0
