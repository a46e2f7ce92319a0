"""`pentimento verify`: is everything in an archive as it was written?"""

from __future__ import annotations

import argparse

from pipelines.console import positive


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "verify",
        help="check all checksums of an archive and decode every layer",
        description="Check the manifest, all page checksums and the checks of all layers, decode "
        "every layer to its symbols, and print what is damaged.",
        epilog="exit status: 0 nothing is damaged, 1 something is, 2 no archive",
    )
    parser.add_argument("archive", metavar="ARCHIVE", help="folder of the archive, local or URL")
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="processes (default: one a core)"
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="weights: a profile, path or URL (default: those that made the archive)",
    )
    parser.add_argument(
        "--device", default="auto", help="torch device: auto, cpu, cuda (default auto)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Verify; 0 where nothing is damaged, else 1."""
    from pipelines.verify import VerifyOptions, verify

    options = VerifyOptions(
        archive=arguments.archive,
        workers=arguments.workers,
        weights=arguments.weights,
        device=arguments.device,
    )
    result = verify(options, lambda text: print(f"damaged: {text}"))
    print(
        f"{arguments.archive}: {result.images:,} images, {result.layers:,} layers good, "
        f"{len(result.damages):,} damages"
    )
    return int(bool(result.damages))
