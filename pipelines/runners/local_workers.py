"""The runner's side of local worker processes: a job ends if one of its workers ends early.

With Beam's own handler, a job waits for ever for a worker that ends before it has connected, for
example because the system kills it for lack of memory, and prints thread traces for a worker that
ends later. Importing this module replaces that handler.
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

from underpaint.codec.runtime.child_process import deaf_children

PERIOD_S = 0.2
"""Seconds between two attempts to notify those who wait for a worker that has ended."""

ENDED = (
    "a worker process ended early; where the system has killed it for lack of memory, fewer "
    "--workers may help, and the same command goes on from here"
)
"""Message for the user."""


@WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)
class LocalWorkerHandler(SubprocessSdkWorkerHandler):
    """Starts a worker process; after the process has ended, every wait for it fails."""

    def start_worker(self) -> None:
        """Start the process, in a thread that waits for its end."""
        self._closing = threading.Event()
        self.worker = local_job_service.SubprocessSdkWorker(
            self._worker_command_line, self.control_address, self.provision_info, self.worker_id
        )
        self.worker_thread = threading.Thread(name="run_worker", target=self._run, daemon=True)
        self.worker_thread.start()

    def stop_worker(self) -> None:
        """Wait for the process to end; closing its connection tells it to."""
        self._closing.set()
        super().stop_worker()

    def _run(self) -> None:
        with suppress(RuntimeError), deaf_children():  # raised for the exit status
            self.worker.run()
        self.data_conn.close()
        while not self._closing.wait(PERIOD_S):
            with suppress(RuntimeError):  # the set of waiters may change meanwhile
                self.control_conn.abort(RuntimeError(ENDED))


@contextmanager
def silent_threads(silent: bool) -> Iterator[None]:
    """Suppress the traces of threads that end with an error, as Beam's do with a worker."""
    before = threading.excepthook
    if silent:
        threading.excepthook = lambda _: None
    try:
        yield
    finally:
        threading.excepthook = before
