"""Turns the parameters of a Flex Template into a command line of `underpaint encode`.

The launcher passes each parameter as `--name=value`, among Beam's options. A template has neither
positional arguments nor flags without a value.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence

from underpaint.codec.errors import UsageError
from underpaint.pipelines.cli import encode
from underpaint.pipelines.cli import main as command_line
from underpaint.pipelines.runners.dataflow import RUNNER

IMAGE = "UNDERPAINT_IMAGE"
"""Environment variable: the image of this launcher, which the workers use as well."""

INPUT = "input"
"""Name of the parameter for the inputs: an address, or a JSON list of addresses."""

NOT_OFFERED = frozenset({"help", "workers", "runner", "dry_run", "verbose", "device", "max_failed"})
"""Options of the command that a template does not offer."""


def main(parameters: Sequence[str]) -> int:
    """Run the command and return its exit status."""
    try:
        command = to_command(parameters)
    except UsageError as error:
        print(f"underpaint: {error}")
        return command_line.MISTAKEN
    return command_line.main(command)


def to_command(parameters: Sequence[str]) -> list[str]:
    """Return the command line for a launcher's parameters; UsageError for an invalid value."""
    options = offered()
    inputs: list[str] = []
    command = ["encode", f"--runner={RUNNER}"]
    for parameter in parameters:
        name, has_value, value = parameter.removeprefix("--").partition("=")
        if name == INPUT:
            inputs += _listed(name, value)
        elif name in options and has_value:
            flag = options[name].option_strings[0]
            if isinstance(options[name].default, list):  # an option that may be repeated
                command += [f"{flag}={each}" for each in _listed(name, value)]
            elif options[name].nargs != 0:
                command.append(f"{flag}={value}")
            elif _truth(name, value):
                command.append(flag)
        elif name != "runner":
            command.append(parameter)
    image = os.environ.get(IMAGE)
    if image and not any(each.startswith("--sdk_container_image=") for each in command):
        command.append(f"--sdk_container_image={image}")
    return [*command, "--", *inputs]


def offered() -> dict[str, argparse.Action]:
    """Return the command's options that a template offers, by parameter name."""
    subparsers = argparse.ArgumentParser().add_subparsers()
    encode.add_parser(subparsers)
    actions = subparsers.choices["encode"]._actions
    return {a.dest: a for a in actions if a.option_strings and a.dest not in NOT_OFFERED}


def _listed(name: str, value: str) -> list[str]:
    """Return the texts of a JSON list, or the value itself where it is not a list."""
    if not value.startswith("["):
        return [value]
    try:
        texts = json.loads(value)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None
    if not all(isinstance(each, str) for each in texts):
        raise UsageError(f"{name}: expected a list of texts, got {value}")
    return list(texts)


def _truth(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise UsageError(f"{name}: true or false, not {value!r}")
    return value.lower() == "true"
