"""Locks of local files among the processes of a machine; each ends however its process ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from underpaint.codec.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows: processes are not kept apart
    fcntl = None  # type: ignore[assignment]


@contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Admit one process at a time to what the file `path` stands for; others wait.

    On Windows nobody waits: what is done in turn must come out right without.
    """
    if fcntl is None:
        yield
        return
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Admit one process to what the file `path` stands for; UsageError for others, with its id.

    The message begins with `what`. The file holds the id of the process, and stays.
    """
    if fcntl is None:
        yield
        return
    with open(path, "a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            process = file.read().strip() or "of another run"
            raise UsageError(
                f"{what} is in use by process {process}; wait for its end, or choose another folder"
            ) from None
        except OSError:  # a file system without locks: processes are not kept apart
            pass
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
