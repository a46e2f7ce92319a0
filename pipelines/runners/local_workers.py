"""The runner's side of the local worker processes: a job ends where one of them has ended.

Beam's own handler of such processes lets a job wait for ever for one that ends before it has
connected, as when the system kills it for lack of memory, and prints traces of its threads for one
that ends later. Importing this module puts the handler below in its place.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from apache_beam.portability import python_urns
from apache_beam.runners.portability import local_job_service
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    SubprocessSdkWorkerHandler,
    WorkerHandler,
)

PERIOD_S = 0.2
"""Between two times that what waits for a worker is told that it has ended."""

ENDED = (
    "a worker process ended early; where the system has killed it for lack of memory, fewer "
    "--workers may help, and the same command goes on from here"
)
"""What a user is told of it."""


@WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)
class LocalWorkerHandler(SubprocessSdkWorkerHandler):
    """Starts a worker process; once it has ended, whatever waits for it fails."""

    def start_worker(self) -> None:
        """Start the process, in a thread that waits for its end."""
        self._closing = threading.Event()
        self.worker = local_job_service.SubprocessSdkWorker(
            self._worker_command_line, self.control_address, self.provision_info, self.worker_id
        )
        self.worker_thread = threading.Thread(name="run_worker", target=self._run, daemon=True)
        self.worker_thread.start()

    def stop_worker(self) -> None:
        """Wait for the end of the process, which is told to end by its connection."""
        self._closing.set()
        super().stop_worker()

    def _run(self) -> None:
        with suppress(RuntimeError):  # for its exit status
            self.worker.run()
        self.data_conn.close()
        while not self._closing.wait(PERIOD_S):
            with suppress(RuntimeError):  # what waits may change meanwhile
                self.control_conn.abort(RuntimeError(ENDED))


@contextmanager
def silent_threads(silent: bool) -> Iterator[None]:
    """Let threads that end by an error, as Beam's do with a worker, print nothing meanwhile."""
    before = threading.excepthook
    if silent:
        threading.excepthook = lambda _: None
    try:
        yield
    finally:
        threading.excepthook = before
