"""How inner loops are compiled: once a machine, without Python's lock, without reference counts.

A kernel takes arrays and allocates none, so there is nothing to count references for; numba would
do so all the same, atomically, for every array that a kernel hands to another. In the
entropy coder that took four fifths of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

import numpy as np
from numba import njit

kernel = partial(njit, nogil=True, cache=True, _nrt=False)
"""Compile a function that allocates nothing: `@kernel()`."""


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
