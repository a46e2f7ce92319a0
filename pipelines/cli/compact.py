"""`underpaint compact`: fewer, larger data files."""

from __future__ import annotations

import argparse

from underpaint.pipelines.cli import options
from underpaint.pipelines.cli.console import parse_size

LEAST_TARGET = 10**6
"""Least size of a joined file, in bytes: with less, no file of a real archive would be joined."""

EXAMPLES = """\
  underpaint compact archive
  underpaint compact gs://bucket/archive --target-size 1G
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "compact",
        parents=[options.archive()],
        help="join the small data files of an archive into larger ones",
        description="Join small data files of an archive into larger ones, in place. Pictures, "
        "keys, their order and the bytes of layers stay as they are, and nothing is decoded. Later "
        "runs of encode still know which inputs are done. The same command resumes a run that was "
        "stopped.",
        epilog="Readers that have the archive open must open it again, because the small files are "
        "deleted at the end. --keep leaves them: `underpaint sweep` deletes them, and so does a "
        "later compact without --keep. Run one compact at a time.",
    )
    parser.set_defaults(stopped=options.GOES_ON)
    parser.add_argument(
        "--target-size",
        type=parse_size,
        default=256 << 20,
        metavar="SIZE",
        help="largest data file to make, at least 1M; files of less than half of it are joined "
        "(default: 256M)",
    )
    parser.add_argument("--keep", action="store_true", help="do not delete the small files")


def run(arguments: argparse.Namespace) -> int:
    """Compact; 0."""
    from underpaint.codec.archive import Archive
    from underpaint.codec.archive.tools.compact import compact
    from underpaint.codec.errors import UsageError
    from underpaint.pipelines.cli.console import plural, size_text
    from underpaint.pipelines.cli.outputs import check_archive

    if arguments.target_size < LEAST_TARGET:
        raise UsageError(f"--target-size: {size_text(arguments.target_size)}; want 1M or more")
    check_archive(arguments.archive)
    done = compact(arguments.archive, arguments.target_size, keep=arguments.keep)
    statistics = Archive.open(arguments.archive).statistics()
    print(
        f"{arguments.archive}: {plural(statistics.images, 'picture')} in "
        f"{plural(done.after, 'data file')} of {size_text(statistics.file_bytes)}; joined "
        f"{done.joined:,} of {done.before:,}, deleted {done.deleted:,}"
    )
    return 0
