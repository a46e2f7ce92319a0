"""A local Beam worker process, started by `pipelines.runners.select`.

It runs Beam's own worker with three differences. It ends with the process that started it;
otherwise it would go on encoding after a killed job. It does not write Beam's logs over the
progress line. It exits at once: Beam waits for its workers one after the other, and an interpreter
that has loaded torch takes long to shut down.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys

from underpaint.codec.runtime.child_process import python_command

QUIET = "UNDERPAINT_QUIET_WORKERS"
"""Environment variable that suppresses logs."""


def use_one_thread() -> None:
    """Limit numeric libraries to one thread, in this process (before they load) and its children.

    There are as many workers as cores. A second thread of a matrix library would busy-wait and take
    time from another worker.
    """
    for library in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")


def command() -> str:
    """Return the shell command that starts a worker."""
    return f"exec {shlex.join(python_command('underpaint.pipelines.runners.worker'))}"


def main() -> None:
    """Serve the runner that the environment names until the job is done."""
    if os.environ.get(QUIET):
        logging.disable(logging.CRITICAL)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # errors reach the driver through the runner
    from underpaint.codec.runtime.parent_watch import end_with_parent
    from underpaint.codec.storage.redaction import redact_logs

    redact_logs()
    end_with_parent()
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
