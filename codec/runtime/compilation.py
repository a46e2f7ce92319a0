"""Notices about the compilation of functions, which takes one to two minutes on a new machine.

`runtime.jit` reports each function that numba compiles, as opposed to loading it from its cache.
This module does not import numba, so that a command can ask for notices before it needs numba.
"""

from __future__ import annotations

import time
from typing import TextIO

LOG_PERIOD_S = 10.0
"""Seconds between two lines of progress where the stream is no terminal."""

_CACHED = "once on this machine, 1 to 2 minutes; `underpaint warm` does it ahead"
IN_MEMORY = (
    "1 to 2 minutes in each process, as no folder for numba's cache is writable; NUMBA_CACHE_DIR "
    "names one"
)
"""Notice where numba has no cache."""


class Notices:
    """Prints a line when the first function is compiled, and progress from then on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._begin: float | None = None
        self._shown = 0.0

    def progress(self, functions: int, *, busy: bool) -> None:
        """Show the number of functions compiled so far; `busy` while one is being compiled."""
        now = time.monotonic()
        if self._begin is None:
            self._begin = self._shown = now
            self._stream.write(f"compiling functions: {_CACHED if is_cached() else IN_MEMORY}\n")
        elif self._terminal:
            text = f"{functions} functions, {now - self._begin:.0f} s" if busy else ""
            self._stream.write(f"\r{text:<30}\r")
        elif now - self._shown >= LOG_PERIOD_S:
            self._shown = now
            self._stream.write(f"compiled {functions} functions in {now - self._begin:.0f} s\n")
        self._stream.flush()


class _Compilation:
    """Compilations of this process.

    numba compiles in one thread at a time, and functions within the functions that call them.
    """

    def __init__(self) -> None:
        self.notices: Notices | None = None
        self.cached = True
        self.functions = self.depth = 0


_compilation = _Compilation()


def announce(stream: TextIO | None) -> None:
    """Print notices of this process's compilations on a stream from now on; None: nowhere."""
    _compilation.notices = Notices(stream) if stream else None


def functions_compiled() -> int:
    """Return the number of functions that this process has compiled."""
    return _compilation.functions


def is_cached() -> bool:
    """Tell whether compiled functions are kept on disk: true until numba finds no folder."""
    return _compilation.cached


def keep_in_memory() -> None:
    """Record that numba finds no writable folder for its cache."""
    _compilation.cached = False


def begin() -> None:
    """Record that a compilation begins."""
    _compilation.depth += 1
    _show()


def end() -> None:
    """Record that a compilation has ended."""
    _compilation.depth -= 1
    _compilation.functions += 1
    _show()


def _show() -> None:
    if _compilation.notices:
        try:
            _compilation.notices.progress(_compilation.functions, busy=_compilation.depth > 0)
        except (OSError, ValueError):  # the stream is closed: compilation goes on in silence
            announce(None)
