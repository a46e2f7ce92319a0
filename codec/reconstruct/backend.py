"""Backends: from decoded states to pictures and latents.

There are two. `TorchBackend` works on batches of tensors on any torch device; it is the simpler one
to read, and the reference. `CpuBackend` does the same in compiled loops, one picture a thread.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, Union

import numpy as np

from underpaint.codec.decoder import States
from underpaint.codec.weights.model import Weights

if TYPE_CHECKING:
    import torch

    from underpaint.codec.reconstruct.network import BackwardNetwork

Picture: TypeAlias = Union[np.ndarray, "torch.Tensor"]
"""A picture, uint8 [3, H, W]: an array if it was made without torch."""

KERNELS_KEPT = 128
"""Limit of each of the two kernel caches of oneDNN in torch. Each size of picture has several
kernels of its own: with the default of 1,024, a process that decodes 300 sizes grows to 1.2 GB, and
is no faster than with 0.6 GB."""


@dataclass(frozen=True)
class Latents:
    """A state of a picture as tensors at 1/16 of its sides, without synthesis.

    class_map     int64 [h, w]
    embedding     float32 [E, h, w], unit vectors: the meaning of each position's class
    coefficients  float32 [C, h, w], expected wavelet coefficients in pixel units, folded to one
                  position, low band and coarse levels first; zero where the state knows nothing; in
                  opponent colours, whether or not the picture's colours were rotated; normalised
                  on request, see `LatentStatistics`
    """

    class_map: np.ndarray
    embedding: np.ndarray
    coefficients: np.ndarray

    def _repr_html_(self) -> str:
        """Return how a notebook shows the state: its class map, and the shapes of its arrays."""
        from underpaint.codec.archive.tools.notebook import latents_html

        return latents_html(self)

    def _repr_png_(self) -> bytes:
        """Return the class map as PNG, for tools that show no HTML."""
        from underpaint.codec.archive.tools.notebook import latents_png

        return latents_png(self)


class Backend(Protocol):
    """Reconstructs what states describe. Errors of decoding pass through: see `States`."""

    def pictures(
        self, states: States, *, refine: bool = True, texture: int | None = None
    ) -> Sequence[Picture]:
        """Return the picture of each state; tensors are on the device of the backend.

        refine   estimate coefficients with the backward network
        texture  seed of the fine texture to draw, see `reconstruct.texture`; None draws none
        """
        ...

    def latents(self, states: States, *, levels: int, normalize: bool = False) -> list[Latents]:
        """Return each state as tensors; `levels` dyadic levels beside the low band, 0 to 4."""
        ...


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 where the device computes in it natively, else float32.

    The network only estimates means, so its precision changes pixels by less than rounding does,
    and symbols not at all.
    """
    import torch

    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


def limit_kernel_caches() -> None:
    """Limit the kernel caches of oneDNN, unless the environment does.

    It has an effect until torch first computes with oneDNN in this process.
    """
    for variable in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(variable, str(KERNELS_KEPT))


def network_in(
    weights: Weights, device: torch.device, dtype: torch.dtype | None
) -> BackwardNetwork:
    """Return a copy of the network on a device; it computes in `dtype`, by default a fast one."""
    return copy.deepcopy(weights.network).to(device, dtype or fast_dtype(device)).eval()


def choose_backend(
    weights: Weights, device: torch.device | None, dtype: torch.dtype | None = None
) -> Backend:
    """Return the backend for a device, None for the CPU; see `network_in` for `dtype`."""
    limit_kernel_caches()
    if device is None or device.type == "cpu":
        from underpaint.codec.reconstruct.cpu.backend import CpuBackend

        return CpuBackend(weights, dtype)
    from underpaint.codec.reconstruct.torch_backend import TorchBackend

    return TorchBackend(weights, network_in(weights, device, dtype), device)
