"""Options that several commands share, each declared once.

Each function returns a parser without help for `add_parser(parents=[...])`, or adds one option to a
parser or a group.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from underpaint.codec.errors import UsageError
from underpaint.pipelines.cli.console import positive, workers

if TYPE_CHECKING:
    from underpaint.codec.archive.selection import Selection

EXIT_STATUS = """\
exit status: 0 success, 1 something failed or is damaged, 2 a mistake in the command line, 130
stopped by Ctrl-C, 141 the output was not read to its end.
"""

GOES_ON = "stopped; the same command goes on from here"
"""Default `stopped` of a command that resumes: what it says after Ctrl-C."""

LONGEST_LINE = 100
"""Most columns of a line of help."""


class Paragraphs(argparse.HelpFormatter):
    """Wraps the paragraphs of a help text; leaves lines with a leading space as they are."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=min(LONGEST_LINE, shutil.get_terminal_size().columns - 2))

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        wrapped = []
        for paragraph in re.split(r"\n\s*\n", text.strip()):
            if re.search(r"^ ", paragraph, re.MULTILINE):
                wrapped.append(paragraph)
            else:
                wrapped.append(super()._fill_text(paragraph, width, indent))
        return "\n\n".join(wrapped)


def archive() -> argparse.ArgumentParser:
    """The archive that a command reads."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "archive", metavar="ARCHIVE", help="folder of the archive: local path or URL"
    )
    return parser


def add_overwrite(parser: argparse._ActionsContainer) -> None:
    """`--overwrite`."""
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="write to a folder that is not empty, and replace files of equal names; what a killed "
        "run left unfinished there is removed, all other files stay",
    )


def add_layers(parser: argparse._ActionsContainer) -> None:
    """`--layers N`: the layers that a command reads."""
    parser.add_argument(
        "--layers",
        type=positive,
        metavar="N",
        help="read layers 1 to N; layer 1 is the coarsest (default: all layers)",
    )


def add_size(parser: argparse._ActionsContainer) -> None:
    """`--size N`: the size of pictures that a command reads."""
    parser.add_argument(
        "--size",
        type=positive,
        metavar="N",
        help="read smaller pictures: of the full picture, 1/2, 1/4, 1/8 and 1/16 of its sides, the "
        "smallest whose short side has N pixels or more (default: full pictures)",
    )


def add_selection(parser: argparse._ActionsContainer) -> None:
    """`--key`, `--keys-file`, `--where` and `--limit`: the rows that a command reads."""
    parser.add_argument(
        "--key", action="append", metavar="KEY", help="only this picture (may be repeated)"
    )
    parser.add_argument(
        "--keys-file", metavar="FILE", help="only the pictures whose keys are the lines of a file"
    )
    parser.add_argument(
        "--where",
        metavar="CONDITION",
        help="only pictures whose columns and labels match, such as 'width > 640 and cls == 3'; a "
        "name that has spaces or dashes is written \"field('my label') == 3\"",
    )
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="at most N pictures, in the archive's order"
    )


def selection(arguments: argparse.Namespace) -> Selection:
    """Return the rows that `add_selection` describes; UsageError for a mistake."""
    from underpaint.codec.archive.selection import Selection

    keys = list(arguments.key or ())
    if arguments.keys_file is not None:
        try:
            text = Path(arguments.keys_file).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a text file in UTF-8"
            raise UsageError(f"--keys-file {arguments.keys_file}: {reason}") from None
        keys += [line for line in text.split("\n") if line]
        if not keys:
            raise UsageError(f"--keys-file {arguments.keys_file}: holds no key")
    return Selection(tuple(keys) or None, arguments.where, arguments.limit)


def say_if_none_match(arguments: argparse.Namespace, pictures: int) -> None:
    """Say on stderr that `--where` chose no picture, if it did."""
    if arguments.where is not None and not pictures:
        print(
            f"--where {arguments.where!r}: no picture matches; values are compared exactly, "
            "capital letters included",
            file=sys.stderr,
        )


def add_new_archive(parser: argparse._ActionsContainer) -> None:
    """`--output ARCHIVE`: the archive that a command writes."""
    parser.add_argument(
        "--output",
        required=True,
        metavar="ARCHIVE",
        help="folder of the new archive: local path or URL",
    )


def add_weights(
    parser: argparse._ActionsContainer, default: str = "the weights that made the archive"
) -> None:
    """`--weights`."""
    parser.add_argument(
        "--weights",
        metavar="WEIGHTS",
        help=f"profile name (perceptual or fidelity), path or URL of a weights file "
        f"(default: {default})",
    )


def add_device(parser: argparse._ActionsContainer, default: str = "auto") -> None:
    """`--device`."""
    parser.add_argument(
        "--device",
        default=default,
        metavar="DEVICE",
        help="torch device: cpu, cuda, cuda:1, or auto for a GPU where there is one "
        "(default: %(default)s)",
    )


def add_workers(parser: argparse._ActionsContainer) -> None:
    """`--workers N`."""
    parser.add_argument(
        "--workers",
        type=workers,
        metavar="N",
        help="number of local processes (default: one for each core)",
    )


def add_sample(parser: argparse._ActionsContainer) -> None:
    """`--workers N` and `--limit N` of a measurement on a sample of photos."""
    parser.add_argument(
        "--workers",
        type=workers,
        default=os.cpu_count() or 1,
        metavar="N",
        help="number of processes (default: %(default)s)",
    )
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="at most N photos, evenly spread"
    )
