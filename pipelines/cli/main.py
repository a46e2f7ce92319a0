"""The `underpaint` command: each module named in `COMMANDS` is one subcommand.

Each module has `EXAMPLES`, `add_parser(subparsers)` and `run(arguments) -> exit status`. It imports
heavy packages (torch, Beam) only in `run`.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import importlib.util
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata
from types import ModuleType
from typing import NoReturn

from underpaint.codec.errors import UnderpaintError, UsageError
from underpaint.codec.runtime import compilation
from underpaint.codec.runtime.child_process import SAFE_PATH
from underpaint.codec.runtime.imports import keep_pandas_from_arrow
from underpaint.codec.runtime.interrupts import STATUS
from underpaint.codec.storage import retries
from underpaint.codec.storage.extras import install_hint, missing_extra
from underpaint.codec.storage.redaction import redact_logs, redacted
from underpaint.pipelines.cli.console import shown
from underpaint.pipelines.cli.options import EXIT_STATUS, Paragraphs

COMMANDS = (
    "encode",
    "decode",
    "inspect",
    "verify",
    "search",
    "view",
    "serve",
    "trim",
    "merge",
    "compact",
    "export",
    "sweep",
    "train",
    "warm",
    "evaluate",
    "benchmark",
)
"""Modules of `pipelines.cli`, in the order of the help page."""

DAMAGED, MISTAKEN, INTERRUPTED, UNREAD = 1, 2, STATUS, 141
"""Exit statuses: something failed or is damaged; a mistake in the command line; Ctrl-C; what reads
the output has closed the pipe."""

REMOTE = frozenset(
    ("adlfs", "aiohttp", "azure", "botocore", "gcsfs", "google", "requests", "s3fs", "urllib3")
)
"""Packages whose errors report the answer of a store or server."""

EPILOG = f"""\
examples:
  underpaint encode PHOTOS --output ARCHIVE     photos to layers
  underpaint inspect ARCHIVE                    its content, bytes and bits per pixel
  underpaint decode ARCHIVE --output FOLDER     layers to pictures

PHOTOS are folders, globs, files or shards, ARCHIVE and FOLDER are folders; each may be local or the
URL of anything fsspec opens, such as gs://bucket/folder.

{EXIT_STATUS}"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status."""
    os.environ.setdefault(SAFE_PATH, "1")  # for child processes that libraries start
    atexit.register(gc.freeze)  # skip a last collection over all objects of torch and Beam
    redact_logs()
    compilation.announce(sys.stderr)
    retries.announce(lambda text: print(shown(text), file=sys.stderr))
    log_level = logging.getLogger().level
    parser = build_parser()
    words = sys.argv[1:] if arguments is None else arguments
    if not words:
        parser.print_help(sys.stderr)
        return MISTAKEN
    known, rest = parser.parse_known_args(words)
    if not all(words):  # what a shell makes of "$UNSET": as a path, it would be the current folder
        known.parser.error("an argument is empty")
    if rest and not hasattr(known, "beam_options"):
        known.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if hasattr(known, "beam_options"):
        known.beam_options = rest
    if arguments is None:  # the process is this command's own
        keep_pandas_from_arrow()
    try:
        status: int = known.run(known)
    except UsageError as error:
        return _complain(error, MISTAKEN)
    except UnderpaintError as error:
        return _complain(error, DAMAGED)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader closed the pipe
            return UNREAD
        if error.filename is not None and error.strerror:  # without "[Errno 20]"
            return _complain(f"{os.fsdecode(error.filename)}: {error.strerror}", DAMAGED)
        return _complain(error, DAMAGED)
    except KeyboardInterrupt:
        return _complain(getattr(known, "stopped", "stopped"), INTERRUPTED)
    except Exception as error:
        if isinstance(error, ImportError) and (extra := missing_extra(error)):
            return _complain(f"this needs {error.name}: {install_hint(extra)}", MISTAKEN)
        if type(error).__module__.split(".")[0] in REMOTE:
            return _complain(f"{type(error).__name__}: {error}", DAMAGED)
        sys.stderr.write(redacted(traceback.format_exc()))  # a bug: show everything
        return DAMAGED
    finally:
        compilation.announce(None)
        retries.announce(None)
        logging.getLogger().setLevel(log_level)  # encode silences Beam
    return status


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line; those of the commands are of this class too."""

    def error(self, message: str) -> NoReturn:
        """Exit with one line that says what is wrong and where the options are described."""
        self.exit(_complain(f"{message}; see {self.prog} --help", MISTAKEN))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = _Parser(
        prog="underpaint",
        description="Lossy image compression for corpora: pictures are stored in layers, and a job "
        "reads only the layers that it needs.",
        epilog=EPILOG,
        formatter_class=Paragraphs,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"underpaint {version()}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = _command(name)
        if module is not None:
            before = set(subparsers.choices)
            module.add_parser(subparsers)
            for added in set(subparsers.choices) - before:
                command = subparsers.choices[added]
                command.set_defaults(run=module.run, parser=command)
                command.allow_abbrev = False
                command.formatter_class = Paragraphs
                examples = f"examples:\n{module.EXAMPLES}"
                parts = (command.epilog, examples, EXIT_STATUS)
                command.epilog = "\n\n".join(part for part in parts if part)
    return parser


def version() -> str:
    """Return the version of the installed distribution."""
    try:
        return metadata.version("underpaint")
    except metadata.PackageNotFoundError:
        return "(source tree)"


def _command(name: str) -> ModuleType | None:
    """Return the module of a command; None where this distribution does not have it."""
    full = f"underpaint.pipelines.cli.{name}"
    if importlib.util.find_spec(full) is None:
        return None
    return importlib.import_module(full)


def _complain(error: object, status: int) -> int:
    text = shown(redacted(" ".join(str(error).split()))) or type(error).__name__
    print(f"underpaint: {text}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
