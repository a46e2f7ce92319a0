"""Python child processes that never import from the current folder.

A data set folder may hold a file named `mmap.py` or `transforms.py`. Python puts the current folder
first on `sys.path` for `python -m` and `python -c`, so a child process started there would import,
and thus run, that file. The option `-P` (and the environment variable `PYTHONSAFEPATH` for child
processes that a library starts) leaves the current folder out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SAFE_PATH = "PYTHONSAFEPATH"
"""Environment variable with the effect of `-P` on every Python process below this one."""


def python_command(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs `module` in a child process, with `-P`."""
    return [sys.executable, "-P", "-m", module, *arguments]


@contextmanager
def safe_path() -> Iterator[None]:
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
