"""Child processes: they import nothing from the current folder, and Ctrl-C does not reach them.

A data set folder may hold a file named `mmap.py` or `transforms.py`. Python puts the current folder
first on `sys.path` for `python -m` and `python -c`, so a child process started there would import,
and thus run, that file. The option `-P` (and the environment variable `PYTHONSAFEPATH` for child
processes that a library starts) leaves the current folder out.

A terminal sends Ctrl-C to all processes of a command. Children leave it to the process that started
them (see `interrupts`).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from underpaint.codec.runtime.interrupts import held, is_stopping

SAFE_PATH = "PYTHONSAFEPATH"
"""Environment variable with the effect of `-P` on every Python process below this one."""


def python_command(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs `module` in a child process, with `-P`."""
    return [sys.executable, "-P", "-m", module, *arguments]


@contextmanager
def deaf_children() -> Iterator[None]:
    """Let no Ctrl-C reach the child processes that this thread starts within this context.

    They inherit that the signal is blocked. This process takes it at the end of the context.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with held():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def child(command: list[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run a command that Ctrl-C does not reach; it is killed after an error, Ctrl-C included.

    Takes the options of `subprocess.Popen`, and waits for the end of the command.
    """
    with deaf_children():
        process = subprocess.Popen(command, **options)
    with process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


class ProcessPool(ProcessPoolExecutor):
    """A pool of new processes with a safe path that Ctrl-C does not reach.

    As a context, it waits for the tasks that have begun; after Ctrl-C, it ends the processes.
    """

    def __init__(
        self, workers: int, initializer: Callable[..., None], arguments: tuple[Any, ...] = ()
    ) -> None:
        self._others = set(multiprocessing.active_children())
        super().__init__(workers, multiprocessing.get_context("spawn"), initializer, arguments)

    def submit(self, *task: Any, **named: Any) -> Future[Any]:
        """Submit a task, as the base class does; this is what starts processes."""
        with _safe_path(), deaf_children():
            return super().submit(*task, **named)

    def __exit__(self, *error: Any) -> None:
        if error[0] is not None:
            self.shutdown(wait=False, cancel_futures=True)
        if is_stopping():
            for child in set(multiprocessing.active_children()) - self._others:
                child.terminate()
        super().__exit__(*error)


@contextmanager
def _safe_path() -> Iterator[None]:
    """Give child processes started within this context a safe path, whoever starts them.

    For `multiprocessing`, which takes neither options nor an environment for its children.
    """
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before
