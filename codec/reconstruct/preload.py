"""Load the compiled loops of the decoder ahead of their use.

A process that loads a compiled loop registers its unwind tables under a lock of the C runtime. A
thread that ends takes the same lock; if another thread forks the process just then, the lock stays
taken in the child for ever, and the first loop that the child loads waits for it. So what forked
workers will call is loaded before they are forked; they share its memory, too.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from underpaint.codec.codec import Codec


@cache
def load_kernels() -> None:
    """Load what decoding to pictures and latents on a CPU calls; half a second, once a process."""
    codec = Codec.load("fidelity")
    bright = np.indices((64, 64)).sum(0) // 4 % 2
    orange = bright[..., None] * np.array([255, 128, 0])  # colours turn, in this profile
    [stream] = codec.encode([orange.astype(np.uint8)])
    for layers in (stream[:1], stream):
        codec.decode([layers])
        codec.decode([layers], refine=False)
        codec.latents([layers])
