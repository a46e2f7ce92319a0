"""`underpaint merge`: several archives to one."""

from __future__ import annotations

import argparse

from underpaint.pipelines.cli import options


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "merge",
        help="put several archives into one",
        description="Copy the files of several archives into one and verify their checksums. The "
        "archives must have the same weights, layers and labels, and no key in common. The same "
        "command resumes a run that was stopped.",
    )
    parser.add_argument("archives", nargs="+", metavar="ARCHIVE", help="local folder or URL")
    options.add_new_archive(parser)


def run(arguments: argparse.Namespace) -> int:
    """Merge; 0."""
    from underpaint.codec.archive import Archive
    from underpaint.codec.archive.tools.merge import merge
    from underpaint.pipelines.cli.console import size_text

    merge(arguments.archives, arguments.output)
    after = Archive.open(arguments.output).statistics()
    print(
        f"{arguments.output}: {after.images:,} images of {len(arguments.archives):,} archives, "
        f"{size_text(after.file_bytes)}"
    )
    return 0
