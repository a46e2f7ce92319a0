"""A local Beam worker process: `python -m pipelines.worker`, started by `pipelines.encode`.

It is Beam's own worker, but one that ends with the process that started it (or it would go on
encoding after a killed job) and that does not write Beam's logs over the progress line.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys

QUIET = "PENTIMENTO_QUIET_WORKERS"
"""Environment variable: set where logs are not wanted."""


def command() -> str:
    """The shell command that starts a worker."""
    return f"exec {shlex.quote(sys.executable)} -m pipelines.worker"


def main() -> None:
    """Serve the runner named by the environment until it is done."""
    if os.environ.get(QUIET):
        logging.disable(logging.CRITICAL)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # errors reach the driver by the runner
    from transforms.parent import end_with_parent

    end_with_parent()
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
