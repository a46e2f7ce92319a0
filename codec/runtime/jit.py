"""Just-in-time compilation of inner loops: once for each machine, without the interpreter lock.

numba caches compiled code on disk. If none of the folders that it tries is writable (a read-only
installation, a user without a home), functions are compiled in memory, in each process anew.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
from numba import njit
from numba.core import event

from underpaint.codec.runtime import compilation

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def kernel(**options: Any) -> Decorator:
    """Return a decorator that compiles a function that allocates nothing: `@kernel()`.

    Such a function needs no reference counts. numba would count all the same, atomically, for every
    array that one kernel passes to another: in the entropy coder that took four fifths of the time.
    """
    return compiled(_nrt=False, **options)


def compiled(**options: Any) -> Decorator:
    """Return a decorator that compiles a function that may allocate: `@compiled()`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return njit(nogil=True, cache=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            compilation.keep_in_memory()
            return njit(nogil=True, **options)(function)

    return decorate


def fused_copy(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a copy of a plain function that may fuse a product and a sum into one instruction.

    The copy has a name of its own: numba's cache tells functions apart by name and code, not by the
    options that they are compiled with.
    """
    assert isinstance(function, FunctionType)
    name = f"{function.__name__}_fused"
    copy = FunctionType(function.__code__, function.__globals__, name, function.__defaults__)
    copy.__qualname__ = name
    copy.__module__, copy.__doc__ = function.__module__, function.__doc__
    return kernel(fastmath={"contract"})(copy)


@kernel(forceinline=True)
def unsigned(index):
    """Make an index unsigned: numba then leaves out the check for one that counts from the end."""
    return np.uint64(index)


class _Listener(event.Listener):  # type: ignore[misc]  # numba has no types
    """Reports numba's compilations; it sends no event for functions loaded from the cache."""

    def on_start(self, event: event.Event) -> None:
        compilation.begin()

    def on_end(self, event: event.Event) -> None:
        compilation.end()


event.register("numba:compile", _Listener())
