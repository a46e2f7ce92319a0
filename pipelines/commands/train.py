"""`pentimento train`: make weights from photos, with the recipe that made those in the package."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from codec.training.settings import Recipe, TrainingPlan


def add_parser(subparsers: Any) -> None:
    """Register the command; recipe and plan have one option for each of their numbers."""
    parser = subparsers.add_parser(
        "train",
        help="make weights from photos",
        description=(
            "Make weights from photos: fit classes, contexts and integer tables by counting, then "
            "train the backward network. Everything goes into the run folder as it is made; the "
            "same command goes on where it stopped. The defaults made the weights in the package."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("photos", nargs="+", help="folders (searched recursively) or files")
    parser.add_argument("--output", type=Path, required=True, help="weights file to write")
    parser.add_argument(
        "--run-folder", type=Path, help="folder of checkpoints and logs; OUTPUT.run if not given"
    )
    parser.add_argument("--device", default="cpu", help="torch device to train the network on")
    parser.add_argument("--threads", type=int, default=0, help="torch threads (0: torch decides)")
    parser.add_argument("--start-from", type=Path, help="weights file whose network to go on from")
    for title, settings in (("recipe", Recipe), ("training plan", TrainingPlan)):
        group = parser.add_argument_group(title)
        for option in fields(settings):
            if "help" in option.metadata:
                default: Any = option.default
                many = isinstance(default, tuple)
                group.add_argument(
                    f"--{option.name.replace('_', '-')}",
                    type=float if many else type(default),
                    nargs=len(default) if many else None,
                    default=default,
                    help=option.metadata["help"],
                )
    parser.add_argument("--seed", type=int, default=1, help="seed of everything that is drawn")


def run(args: argparse.Namespace) -> int:
    """Train and print where the weights are; returns 0."""
    import logging

    import torch

    from codec.training.run import train

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_flush_denormal(True)  # denormal floats made a step four times slower
    if args.threads:
        torch.set_num_threads(args.threads)

    def chosen(settings: type) -> Any:
        values = {option.name: getattr(args, option.name) for option in fields(settings)}
        return settings(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    run_folder = args.run_folder or args.output.with_name(args.output.name + ".run")
    weights = train(
        args.photos, args.output, run_folder, chosen(Recipe), chosen(TrainingPlan),
        torch.device(args.device), args.start_from,
    )  # fmt: skip
    print(f"{args.output}: weights {weights.id}")
    return 0
