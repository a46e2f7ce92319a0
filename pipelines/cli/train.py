"""`underpaint train`: make weights from photos, with the recipe that made those in the package."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

from underpaint.codec.errors import UsageError
from underpaint.codec.training.settings import (
    PROFILES,
    Kept,
    LiftingPlan,
    Recipe,
    TrainingPlan,
)
from underpaint.pipelines.cli.console import workers
from underpaint.pipelines.cli.options import GOES_ON
from underpaint.pipelines.cli.outputs import check_file, check_folder

EXAMPLES = """\
  underpaint train photos --output own.safetensors --device cuda
"""


def add_parser(subparsers: Any) -> None:
    """Register the command; recipe and plan have one option for each of their numbers."""
    parser = subparsers.add_parser(
        "train",
        help="train new weights on photos",
        description=(
            "Train new weights: fit classes, contexts and integer tables on photos, then train the "
            "reconstruction network. Results and checkpoints are kept in the run folder, and the "
            "same command resumes a run that was stopped. The profile sets all options that are "
            "not given."
        ),
    )
    parser.set_defaults(stopped=GOES_ON)
    parser.add_argument(
        "photos", nargs="+", metavar="PHOTOS", help="folders (searched recursively) or files"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="weights file to write"
    )
    parser.add_argument(
        "--run-folder",
        type=Path,
        metavar="FOLDER",
        help="folder of checkpoints and logs (default: OUTPUT.run)",
    )
    parser.add_argument(
        "--profile",
        choices=PROFILES,
        default=next(iter(PROFILES)),
        help="perceptual: visual quality; fidelity: small squared error (default: %(default)s)",
    )
    parser.add_argument(
        "--device",
        default="cpu",
        metavar="DEVICE",
        help="torch device to train the network on (default: cpu)",
    )
    parser.add_argument(
        "--threads",
        type=workers,
        metavar="N",
        help="torch threads (default: torch decides)",
    )
    parser.add_argument(
        "--start-from",
        metavar="WEIGHTS",
        help=(
            "weights whose network is trained further, pruned to the sizes below: a file, a URL or "
            "the name of a profile"
        ),
    )
    parser.add_argument(
        "--network-from",
        metavar="WEIGHTS",
        help="with --start-from, weights whose network is trained further in place of their own",
    )
    parser.add_argument(
        "--keep",
        choices=get_args(Kept),
        help=(
            "with --start-from, parts of its weights that are kept: the network (the default); "
            "classes, semantic head and learned lifting step too, so that only the tables are "
            "fitted; or all, so that "
            "only the statistics of latents are measured"
        ),
    )
    parser.add_argument(
        "--teacher",
        metavar="WEIGHTS",
        help="weights whose network is imitated, see --teacher-weight",
    )
    for title, place in (("recipe", 0), ("training plan", 1), ("learned lifting step", 2)):
        group = parser.add_argument_group(title)
        for option in fields(next(iter(PROFILES.values()))[place]):
            if "help" in option.metadata:
                group.add_argument(
                    f"--{option.name.replace('_', '-')}",
                    help=f"{option.metadata['help']} ({_defaults(option.name, place)})",
                    **_kind(option.default),
                )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="seed of the random numbers (default: 1)"
    )


def _kind(default: Any) -> dict[str, Any]:
    """Return what argparse is told of an option: what it takes, by its default."""
    if isinstance(default, bool):
        return {"action": argparse.BooleanOptionalAction}
    several = isinstance(default, tuple)
    sample = default[0] if several else default
    placeholder = {str: "TEXT", int: "N", float: "X"}[type(sample)]
    number = {"nargs": len(default)} if several else {}
    return {"type": type(sample), "metavar": placeholder, **number}


def _defaults(name: str, place: int) -> str:
    """Say what an option is where it is not given, for all profiles or for each."""
    values = {profile: getattr(parts[place], name) for profile, parts in PROFILES.items()}
    texts = {
        profile: " ".join(map(str, value)) if isinstance(value, tuple) else str(value) or "none"
        for profile, value in values.items()
    }
    if len(set(texts.values())) == 1:
        return f"default: {next(iter(texts.values()))}"
    return "default: " + ", ".join(f"{profile} {text}" for profile, text in texts.items())


def settings_of(args: argparse.Namespace) -> tuple[Recipe, TrainingPlan, LiftingPlan]:
    """Return the settings of the profile, with the options that are given in their place."""

    def chosen(settings: Any) -> Any:
        given = {option.name: getattr(args, option.name) for option in fields(settings)}
        given = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        return replace(settings, **{k: v for k, v in given.items() if v is not None})

    recipe, plan, lifting = map(chosen, PROFILES[args.profile])
    return recipe, plan, lifting


def run(args: argparse.Namespace) -> int:
    """Train and print where the weights are; returns 0."""
    import logging

    import torch

    from underpaint.codec.codec import available_device
    from underpaint.codec.training.run import train

    if args.keep and args.start_from is None:
        raise UsageError("--keep wants weights to keep parts of: --start-from WEIGHTS")
    if args.network_from and args.start_from is None:
        raise UsageError(
            "--network-from wants weights for all but the network: --start-from WEIGHTS"
        )
    recipe, plan, lifting = settings_of(args)
    if bool(args.teacher_weight) != bool(args.teacher):
        raise UsageError("--teacher and --teacher-weight belong together: give both or neither")
    check_file("--output", args.output)
    check_folder("--run-folder", args.run_folder)
    device = available_device(args.device)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_flush_denormal(True)  # denormal floats made a step four times slower
    if args.threads:
        torch.set_num_threads(args.threads)
    run_folder = args.run_folder or args.output.with_name(args.output.name + ".run")
    weights = train(
        args.photos, args.output, run_folder, recipe, plan,
        device, args.start_from, args.keep or "network", args.teacher, lifting,
        args.network_from,
    )  # fmt: skip
    print(f"{args.output}: weights {weights.id}")
    return 0
