"""`underpaint sweep`: remove what killed jobs have left in an archive."""

from __future__ import annotations

import argparse

from underpaint.pipelines.cli import options
from underpaint.pipelines.cli.console import hours, plural, shown, size_text

EXAMPLES = """\
  underpaint sweep archive --dry-run
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "sweep",
        parents=[options.archive()],
        help="remove files that killed jobs left in an archive",
        description="Remove files that are not part of the archive: unfinished files of killed "
        "writers, the units of earlier manifests, and plans of jobs that have ended. A reader that "
        "has an earlier manifest of a large archive open may have to open the archive again.",
    )
    parser.add_argument(
        "--older-than",
        type=hours,
        default=24.0,
        metavar="HOURS",
        help="keep younger files, which a running job may need (default: 24)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only list the files that would be removed"
    )


def run(arguments: argparse.Namespace) -> int:
    """Sweep; 0."""
    from underpaint.pipelines.cli.outputs import check_archive
    from underpaint.pipelines.jobs.sweep import sweep_archive

    if not arguments.dry_run:
        check_archive(arguments.archive)
    swept = sweep_archive(
        arguments.archive, older_than_s=arguments.older_than * 3600, dry_run=arguments.dry_run
    )
    for name, size in swept.items():
        print(f"{shown(name)}  {size_text(size)}")
    verb = "would be removed" if arguments.dry_run else "removed"
    print(f"{plural(len(swept), 'file')}, {size_text(sum(swept.values()))} {verb}")
    return 0
