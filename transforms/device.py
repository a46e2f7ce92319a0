"""The codec of one worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codec import Codec


def load_codec(weights: str | None, device: str) -> Codec:
    """The codec on one thread: workers are processes, as many as there are cores.

    `device` is a torch device or "auto": CUDA where there is one.
    """
    import torch

    from codec import Codec

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    return Codec.load(weights, device=device)
