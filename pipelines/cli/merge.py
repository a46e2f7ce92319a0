"""`underpaint merge`: several archives to one."""

from __future__ import annotations

import argparse

from underpaint.pipelines.cli import options
from underpaint.pipelines.cli.outputs import check_folder

EXAMPLES = """\
  underpaint merge archive-2019 archive-2020 --output both
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "merge",
        help="put several archives into one",
        description="Copy the files of several archives into one and verify their checksums. The "
        "archives must have the same weights, layers and sizes, and no key in common; labels may "
        "differ. The same command resumes a run that was stopped.",
    )
    parser.add_argument("archives", nargs="+", metavar="ARCHIVE", help="local folder or URL")
    parser.set_defaults(stopped=options.GOES_ON)
    options.add_new_archive(parser)


def run(arguments: argparse.Namespace) -> int:
    """Merge; 0."""
    from underpaint.codec.archive import Archive
    from underpaint.codec.archive.tools.merge import merge
    from underpaint.codec.errors import DuplicateKey, UsageError
    from underpaint.pipelines.cli.console import plural, size_text

    check_folder("--output", arguments.output)
    try:
        merge(arguments.archives, arguments.output)
    except DuplicateKey as error:
        raise UsageError(str(error)) from error
    after = Archive.open(arguments.output).statistics()
    print(
        f"{arguments.output}: {plural(after.images, 'picture')} of "
        f"{plural(len(arguments.archives), 'archive')}, {size_text(after.file_bytes)}"
    )
    return 0
