"""Opponent colours: a linear transform of RGB, fixed for all pictures of a set of weights.

The axes are lightness, red against blue, and green against magenta. They are close to the principal
axes of photos; being orthonormal, they keep squared error equal to squared error in RGB.

Equal shares of red, green and blue are not what people see as lightness. A *shear* adds a part of
each chroma component to lightness, a lifting step between colours. With the shear (1/8, 1/2),
lightness is 0.27 red, 0.57 green and 0.16 blue, so what is lost of chroma changes little of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from underpaint.codec.runtime.jit import kernel

if TYPE_CHECKING:
    import torch

OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [-1, 2, -1]]) / np.sqrt([[3.0], [2.0], [6.0]])
"""Opponent colours of an RGB colour, float64 [3, 3]; the transpose is the inverse."""

Shear = tuple[float, float]
"""How much of the first and of the second chroma component lightness contains."""

NO_SHEAR: Shear = (0.0, 0.0)

MID_GREY = 128.0
_MID_LIGHTNESS = MID_GREY * 3.0**0.5


def to_opponent(rgb: torch.Tensor, shear: Shear = NO_SHEAR) -> torch.Tensor:
    """Transform RGB in 0..255, float [N, 3, H, W], to opponent colours, zero at mid-grey."""
    import torch

    matrix = torch.from_numpy(_sheared(shear) @ OPPONENT).to(rgb)
    if runs_compiled(rgb):
        opponent = torch.empty(rgb.shape)
        for picture, target in zip(rgb.detach().numpy(), opponent.numpy(), strict=True):
            mix_colours(picture, matrix.numpy(), target)
    else:
        opponent = torch.einsum("ij,njhw->nihw", matrix, rgb)
    opponent[:, 0] -= _MID_LIGHTNESS
    return opponent


def to_rgb(opponent: torch.Tensor, shear: Shear = NO_SHEAR) -> torch.Tensor:
    """Invert `to_opponent`."""
    import torch

    first, second = shear
    matrix = torch.from_numpy(OPPONENT.T @ _sheared((-first, -second))).to(opponent)
    return torch.einsum("ij,njhw->nihw", matrix, opponent) + MID_GREY


def _sheared(shear: Shear) -> np.ndarray:
    """Return the matrix that adds chroma to lightness, float64 [3, 3]."""
    matrix = np.eye(3)
    matrix[0, 1:] = shear
    return matrix


def runs_compiled(x: torch.Tensor) -> bool:
    """Tell whether compiled loops can process a tensor: on a CPU, float32, without gradient."""
    import torch

    learns = x.requires_grad and torch.is_grad_enabled()
    return x.device.type == "cpu" and x.dtype == torch.float32 and not learns


@kernel()
def mix_colours(planes, matrix, mixed):
    """Multiply each colour of float32 [3, H, W] by `matrix`, float32 [3, 3].

    `mixed` may be `planes` itself.
    """
    for y in range(planes.shape[1]):
        for x in range(planes.shape[2]):
            first, second, third = planes[0, y, x], planes[1, y, x], planes[2, y, x]
            for component in range(3):
                mixed[component, y, x] = (
                    matrix[component, 0] * first
                    + matrix[component, 1] * second
                    + matrix[component, 2] * third
                )
