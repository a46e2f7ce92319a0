"""Selects a Beam runner and its options, and shortens its errors."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence, Set
from contextlib import redirect_stderr

from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    WorkerOptions,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner, create_runner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from underpaint.codec.errors import UsageError
from underpaint.pipelines.runners import worker
from underpaint.pipelines.runners.local_workers import ENDED

_WHILE_RUNNING = re.compile(r"\s*\[while running [^\]]*\]")
"""Beam's note of the step of the pipeline at which an error occurred."""

LOCAL = "FnApiRunner"
"""Beam's local runner by its own name: `DirectRunner` may try to download another one."""

REFUSED = {
    "PrismRunner": f"downloads a program; use {LOCAL}",
    "DaskRunner": f"loses elements without a word; use {LOCAL}, PortableRunner or a cluster",
}


def runner_name(given: str) -> str:
    """Return the runner's full name; UsageError for one that must not be used or is unknown."""
    name = given.rsplit(".", 1)[-1]
    for refused, reason in REFUSED.items():
        if name.lower() in (refused.lower(), refused.lower().removesuffix("runner")):
            raise UsageError(f"{refused} {reason}")
    if name.lower() in ("directrunner", "direct", "fnapirunner"):
        return LOCAL
    try:
        create_runner(given)
    except (ValueError, ImportError, AttributeError) as error:
        raise UsageError(f"--runner {given}: {error}") from None
    return given


def make_runner(name: str, workers: int) -> PipelineRunner:
    """Return the runner; the local one starts `pipelines.runners.worker` if there are several
    workers.

    That is the mode `multi_processing` with another worker command, which that mode does not allow.
    """
    if name != LOCAL or workers == 1:
        return create_runner(name)
    return FnApiRunner(SubprocessSDKEnvironment.from_command_string(worker.command()))


def check_options(flags: Sequence[str], runner: str) -> None:
    """UsageError for flags that no option class of Beam knows, or that have no effect.

    The options of Google Cloud and of its machines have none on the local runner.
    """
    told = io.StringIO()
    try:
        with redirect_stderr(told):  # Beam prints all its options before what is wrong
            options = PipelineOptions(list(flags))
            known = options.get_all_options()
            retained = options.get_all_options(retain_unknown_options=True)
    except SystemExit:
        reason = told.getvalue().rpartition("error: ")[2].strip() or " ".join(flags)
        raise UsageError(f"an option of Beam: {reason}") from None
    loose = [flag for at, flag in enumerate(flags) if not flag.startswith("-") and not at]
    loose += filter(re.compile("-[A-Za-z]").match, flags)  # Beam has none with one dash
    unknown = loose + _typed(flags, set(retained) - set(known))
    if unknown:
        raise UsageError(f"unknown options: {' '.join(unknown)}; see underpaint encode --help")
    if runner == LOCAL:
        given = options.get_all_options(drop_default=True)
        remote = PipelineOptions([]).view_as(GoogleCloudOptions).get_all_options(
            current_only=True
        ) | PipelineOptions([]).view_as(WorkerOptions).get_all_options(current_only=True)
        idle = _typed(flags, given.keys() & remote.keys())
        if idle:
            raise UsageError(
                f"{', '.join(idle)}: no effect on {LOCAL}, only on DataflowRunner; leave it out, "
                "or give --runner DataflowRunner"
            )


def _typed(flags: Sequence[str], names: Set[str]) -> list[str]:
    """Return the options of a command line that set some of Beam's values, as they were typed."""
    typed = []
    for at, flag in enumerate(flags):
        if flag.startswith("--"):
            end = next((n for n in range(at + 1, len(flags)) if flags[n].startswith("--")), None)
            alone = PipelineOptions(list(flags[at:end]))
            values = alone.get_all_options(drop_default=True, retain_unknown_options=True)
            if names & values.keys():
                typed.append(flag.partition("=")[0])
    return typed


def pipeline_options(
    given: Sequence[str], runner: str, workers: int, *, verbose: bool = False
) -> PipelineOptions:
    """Return a pipeline's options; for the local runner, also set the workers' environment."""
    flags = list(given)
    if runner == LOCAL:
        worker.use_one_thread()
        os.environ[worker.QUIET] = "" if verbose else "1"
        flags.append(f"--direct_num_workers={workers}")
    return PipelineOptions(flags, runner=runner, save_main_session=False)


def cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def last_line(error: BaseException) -> str:
    """Return the cause of a worker's error, out of the long text in which a runner wraps it."""
    if "Channel closed prematurely" in str(error):
        return ENDED
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    plain = [line for line in lines if not line.startswith(("File ", "Traceback", "^", "~"))]
    errors = [line for line in plain if ": " in line and line.split(":")[0].endswith("Error")]
    line = (errors or plain or [type(error).__name__])[-1]
    return _WHILE_RUNNING.sub("", line).removeprefix("RuntimeError: ")[:500]
