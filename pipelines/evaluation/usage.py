"""Wall time and peak memory of a command, including all its child processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from underpaint.codec.errors import MeasurementFailed
from underpaint.codec.runtime.child_process import child, python_command

SAMPLE_SECONDS = 0.1


@dataclass(frozen=True)
class Usage:
    """Time and memory of one run of a command."""

    seconds: float
    """Wall time, including the start of the interpreter."""
    peak_bytes: int
    """Largest sum of resident memory of the command and its children, sampled ten times per
    second. Shared pages count once for each process, so it is an upper bound."""


def measured_run(arguments: Sequence[str]) -> Usage:
    """Run `underpaint` with these arguments; its output goes to standard error.

    Raises MeasurementFailed if the exit status is not 0.
    """
    command = python_command("underpaint", *arguments)
    start = time.perf_counter()
    peak = 0
    with child(command, stdout=sys.stderr) as running:
        root = psutil.Process(running.pid)
        while True:
            peak = max(peak, _resident(root))
            try:
                status = running.wait(SAMPLE_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            break
    seconds = time.perf_counter() - start
    if status:
        raise MeasurementFailed(f"underpaint {arguments[0]} ended with status {status}")
    return Usage(seconds, peak)


def _resident(root: psutil.Process) -> int:
    """Return the resident bytes of a process and its descendants that are still running."""
    total = 0
    try:
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in family:
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total
