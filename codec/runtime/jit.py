"""How inner loops are compiled: once a machine, without Python's lock, without reference counts.

A kernel takes arrays and allocates none, so there is nothing to count references for; numba would
do so all the same, atomically, for every array that a kernel hands to another. In the
entropy coder that took four fifths of the time.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numba import njit

kernel = partial(njit, nogil=True, cache=True, _nrt=False)
"""Compile a function that allocates nothing: `@kernel()`."""


@kernel(forceinline=True)
def unsigned(index):
    """Make an index unsigned: numba then leaves out the check for one that counts from the end."""
    return np.uint64(index)
