"""`underpaint verify`: is everything in an archive as it was written?"""

from __future__ import annotations

import argparse

from underpaint.pipelines.cli import options
from underpaint.pipelines.cli.console import plural, shown, size_text
from underpaint.pipelines.cli.outputs import check_folder

EXAMPLES = """\
  underpaint verify archive
  underpaint verify archive --repair --output repaired
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "verify",
        parents=[options.archive()],
        help="check all checksums of an archive and decode every layer",
        description="Check the manifest, all page checksums and the checks of all layers, decode "
        "every layer to its symbols, and print what is damaged.",
        epilog="--repair does not change the archive. It copies everything that passes its checks "
        "to a new archive (--output) and verifies that one. Lost pictures become dead letters in "
        "it if their keys can be read.",
    )
    options.add_workers(parser)
    options.add_weights(parser)
    options.add_device(parser)
    parser.add_argument(
        "--repair",
        action="store_true",
        help="copy everything that passes its checks to a new archive",
    )
    parser.add_argument(
        "--output", metavar="ARCHIVE", help="with --repair: folder of the new archive"
    )


def run(arguments: argparse.Namespace) -> int:
    """Verify; 0 where nothing is damaged, else 1."""
    from underpaint.codec.errors import UsageError

    if arguments.repair != (arguments.output is not None):
        raise UsageError("--repair and --output go together: a repair writes a new archive")
    check_folder("--output", arguments.output)
    lost = _repair(arguments.archive, arguments.output) if arguments.repair else 0
    return max(lost, _verify(arguments.output or arguments.archive, arguments))


def _repair(archive: str, output: str) -> int:
    from underpaint.codec.archive.tools.repair import repair

    done = repair(archive, output, lambda text: print(f"damaged: {shown(text)}"))
    whole, letters = plural(done.whole, "picture"), plural(done.letters, "dead letter")
    print(
        f"{output}: kept {whole} whole and {letters}, cut {plural(done.cut, 'picture')} back to "
        f"good layers, lost {done.lost:,}"
    )
    if done.lost_units:
        print(f"{plural(done.lost_units, 'unit')} lost: encode the same sources again")
    return int(bool(done.cut or done.lost))


def _verify(archive: str, arguments: argparse.Namespace) -> int:
    from underpaint.pipelines.jobs.verify import VerifyOptions, verify

    options = VerifyOptions(
        archive=archive,
        workers=arguments.workers,
        weights=arguments.weights,
        device=arguments.device,
    )
    result = verify(options, lambda text: print(f"damaged: {shown(text)}"))
    print(
        f"{archive}: {plural(result.images, 'picture')}, {plural(result.layers, 'layer')} good, "
        f"{plural(len(result.damages), 'damage')}"
    )
    if result.leftovers:
        count, size = len(result.leftovers), size_text(sum(result.leftovers.values()))
        print(
            f"{plural(count, 'file')} of {size} beside the archive, such as "
            f"{shown(min(result.leftovers))}: left by jobs that run or were killed, or by earlier "
            "manifests; `underpaint sweep` removes those of more than a day ago"
        )
    return int(bool(result.damages))
