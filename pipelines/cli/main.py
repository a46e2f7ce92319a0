"""The `underpaint` command: one subcommand a module of `pipelines.cli`.

Each module has `add_parser(subparsers)` and `run(arguments) -> exit status`, and imports what is
heavy (torch, Beam) only when it runs.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata
from types import ModuleType

from underpaint.codec.errors import UnderpaintError, UsageError
from underpaint.codec.storage.extras import install_hint, missing_extra
from underpaint.codec.storage.redaction import redact_logs, redacted
from underpaint.pipelines.cli.console import shown

COMMANDS = (
    "encode",
    "decode",
    "inspect",
    "verify",
    "search",
    "view",
    "trim",
    "merge",
    "export",
    "sweep",
    "train",
    "evaluate",
    "benchmark",
)
"""Modules of `pipelines.cli`, in the order of the help page."""

DAMAGED, MISTAKEN, INTERRUPTED = 1, 2, 130
"""Exit statuses: something failed or is damaged; a mistake of the user; stopped by the user."""

REMOTE = frozenset(
    ("adlfs", "aiohttp", "azure", "botocore", "gcsfs", "google", "requests", "s3fs", "urllib3")
)
"""Packages whose errors tell what a store or server answered."""

EPILOG = """\
start with:
  underpaint encode PHOTOS --output ARCHIVE     photos to layers
  underpaint inspect ARCHIVE                    what it holds, byte by byte
  underpaint decode ARCHIVE --output FOLDER     layers to pictures

PHOTOS are folders, globs, files or shards, ARCHIVE and FOLDER are folders; each may be local or the
URL of anything fsspec opens, such as gs://bucket/folder.

exit status: 0 all well, 1 something failed or is damaged, 2 a mistake in what was asked.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; its exit status."""
    atexit.register(gc.freeze)  # or the last collection walks through all of torch and Beam
    redact_logs()
    parser = build_parser()
    known, rest = parser.parse_known_args(arguments)
    if rest and not hasattr(known, "beam_options"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if hasattr(known, "beam_options"):
        known.beam_options = rest
    try:
        status: int = known.run(known)
    except UsageError as error:
        return _complain(error, MISTAKEN)
    except UnderpaintError as error:
        return _complain(error, DAMAGED)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader of our output went away
            return DAMAGED
        return _complain(error, DAMAGED)
    except KeyboardInterrupt:
        return _complain("stopped", INTERRUPTED)
    except Exception as error:
        if isinstance(error, ImportError) and (extra := missing_extra(error)):
            return _complain(f"this needs {error.name}: {install_hint(extra)}", MISTAKEN)
        if type(error).__module__.split(".")[0] in REMOTE:
            return _complain(f"{type(error).__name__}: {error}", DAMAGED)
        sys.stderr.write(redacted(traceback.format_exc()))  # a fault of ours: all that is known
        return DAMAGED
    return status


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="underpaint",
        description="Store image corpora in layers: machines read little, people see everything.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
                subparsers.choices[added].set_defaults(run=module.run)
                subparsers.choices[added].allow_abbrev = False
    return parser


def version() -> str:
    """Version of the installed distribution."""
    try:
        return metadata.version("underpaint")
    except metadata.PackageNotFoundError:
        return "of a source tree"


def _command(name: str) -> ModuleType | None:
    """The module of a command; None where this distribution has none of that name."""
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
