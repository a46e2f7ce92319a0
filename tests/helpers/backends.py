"""The torch backend of a codec on a CPU, which the compiled backend must agree with."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from underpaint.codec.codec import Codec
from underpaint.codec.reconstruct.backend import Latents
from underpaint.codec.reconstruct.cpu.backend import CpuBackend
from underpaint.codec.reconstruct.torch_backend import TorchBackend
from underpaint.codec.transform.sizes import Size


def torch_backend(codec: Codec) -> TorchBackend:
    backend = codec._backend
    assert isinstance(backend, CpuBackend)
    return backend._tensors


def torch_pictures(
    codec: Codec,
    streams: Sequence[Sequence[bytes]],
    *,
    shrink: int = 1,
    refine: bool = True,
    texture: int | None = None,
) -> list[torch.Tensor]:
    """Decode streams to uint8 [3, H, W] with the torch backend."""
    states = codec._decoder.states(streams, Size.of(None, shrink))
    return torch_backend(codec).pictures(states, refine=refine, texture=texture)


def torch_latents(
    codec: Codec, streams: Sequence[Sequence[bytes]], *, levels: int, normalize: bool = False
) -> list[Latents]:
    """Decode streams to latents with the torch backend."""
    states = codec._decoder.states(streams)
    return torch_backend(codec).latents(states, levels=levels, normalize=normalize)
