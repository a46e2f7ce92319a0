"""A local Beam worker process: `python -m underpaint.pipelines.runners.worker`, started by
`pipelines.jobs.encode`.

It is Beam's own worker, but one that ends with the process that started it (or it would go on
encoding after a killed job), that does not write Beam's logs over the progress line, and that ends
at once: Beam waits for its workers one after the other, and an interpreter with torch in it takes
its time to fall apart.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys

from underpaint.codec.runtime.child_process import python_command

QUIET = "UNDERPAINT_QUIET_WORKERS"
"""Environment variable: set where logs are not wanted."""


def use_one_thread() -> None:
    """Keep numeric libraries to one thread, here unless they are loaded, and in child processes.

    Workers are processes, as many as there are cores; a second thread of a matrix library would
    wait for work at full speed, at the cost of another worker.
    """
    for library in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")


def command() -> str:
    """The shell command that starts a worker."""
    return f"exec {shlex.join(python_command('underpaint.pipelines.runners.worker'))}"


def main() -> None:
    """Serve the runner named by the environment until it is done."""
    if os.environ.get(QUIET):
        logging.disable(logging.CRITICAL)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # errors reach the driver by the runner
    from underpaint.codec.storage.redaction import redact_logs
    from underpaint.transforms.parent_watch import end_with_parent

    redact_logs()
    end_with_parent()
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
