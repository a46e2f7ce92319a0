"""The backward network: estimates wavelet coefficients from any state of the chain.

                 class map, state
                        |
    levels 3, 4, low -- coarse trunk (1/16) --> corrections of levels 3, 4, low
                        |  features, 4 x 4 each
    levels 1, 2 ------- fine trunk (1/4) -----> corrections of levels 1, 2

Both trunks see the coefficients in units of the state's cell width, so one set of weights serves
every state, and both end in a layer that starts at zero: untrained, the network changes nothing.
Its estimates are clipped to the cells that the stream names, so it can never contradict the data.

Blocks after Liu et al. 2022 (ConvNeXt, arXiv 2201.03545), without normalisation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from underpaint.codec.quantize.reconstruction_points import Dequantised, cell_bounds
from underpaint.codec.reconstruct.network_shape import (
    COARSE_CHANNELS,
    FINE_CHANNELS,
    KERNEL,
    LIGHT_SCALE,
    NetworkShape,
)
from underpaint.codec.transform.prediction import Predictions
from underpaint.codec.transform.subbands import DYADIC_LEVELS
from underpaint.codec.transform.wavelet import synthesise


class Pointwise(nn.Linear):
    """A 1 x 1 convolution of [N, C, h, w] in channels-last memory, as one matrix product."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, in, h, w] to [N, out, h, w]."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """Depthwise 5 x 5, then a pointwise network of one hidden layer, added to the input."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(width, width, KERNEL, padding=KERNEL // 2, groups=width)
        self.widen = Pointwise(width, hidden)
        self.narrow = Pointwise(hidden, width, bias=False)
        nn.init.normal_(self.narrow.weight, std=0.2 / hidden**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, width, h, w] to the same shape."""
        return x + self.narrow(functional.relu_(self.widen(self._around(x))))

    def _around(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the depthwise filters; in training in float32, which is four times as fast."""
        if not self.training:
            return self.spatial(x)
        with torch.autocast(x.device.type, enabled=False):
            return self.spatial(x.float())


def _blocks(width: int, hidden: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(Block(width, hidden) for _ in range(depth)))


def squash(x: torch.Tensor) -> torch.Tensor:
    """Return asinh(x), in elementary functions that are vectorised where torch's own is not."""
    return torch.log(x.abs() + torch.sqrt(x * x + 1)).copysign(x)


class _Unfilled(TorchFunctionMode):
    """Skips normal draws: on the meta device, the first one imports torch's compiler (0.7 s)."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is nn.init.normal_:
            return None
        return func(*args, **(kwargs or {}))


class BackwardNetwork(nn.Module):
    """Estimate the wavelet bands of a picture from one state of its chain."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        coarse, fine = shape.coarse_width, shape.fine_width
        self.class_embedding = nn.Embedding(shape.classes, shape.embedding)
        self.coarse_state = nn.Embedding(shape.layers, coarse)
        self.fine_state = nn.Embedding(shape.layers, fine)
        nn.init.normal_(self.coarse_state.weight, std=0.02)
        nn.init.normal_(self.fine_state.weight, std=0.02)
        self.coarse_in = Pointwise(COARSE_CHANNELS + 3 + shape.embedding, coarse)
        self.coarse = _blocks(coarse, shape.coarse_hidden, shape.coarse_depth)
        self.coarse_out = Pointwise(coarse, COARSE_CHANNELS)
        self.share = Pointwise(coarse, 16 * shape.shared)
        self.fine_in = Pointwise(FINE_CHANNELS + shape.shared, fine)
        self.fine = _blocks(fine, shape.fine_hidden, shape.fine_depth)
        self.fine_out = Pointwise(fine, FINE_CHANNELS)
        for last in (self.coarse_out, self.fine_out):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    @classmethod
    def of(cls, shape: NetworkShape, parameters: Mapping[str, np.ndarray]) -> BackwardNetwork:
        """Return a network with float parameters of any dtype; it computes in float32."""
        with torch.device("meta"), _Unfilled():
            network = cls(shape)
        tensors = {name: torch.tensor(array).float() for name, array in parameters.items()}
        network.load_state_dict(tensors, assign=True)
        return network.eval()

    def parameter_arrays(self) -> dict[str, np.ndarray]:
        """Return the parameters as `of` takes them, float32."""
        state = self.state_dict()
        return {
            name: tensor.detach().float().cpu().numpy().copy() for name, tensor in state.items()
        }

    def forward(
        self,
        decoded: Dequantised,
        classes: torch.Tensor,
        last_layer: torch.Tensor,
        predictions: Predictions,
    ) -> list[torch.Tensor]:
        """Return the estimated bands in pixel units: levels 1 and 2 and the low band at 1/4.

        The low band includes predicted details; levels 1 and 2 are still without theirs, and only
        those that were decoded are returned. The fine trunk needs both.
        `decoded` from level 1, 2 or 3 on, `classes` int64 [N, h, w], `last_layer` int64 [N], the
        index of the last layer that was read.
        """
        dtype = self.coarse_in.weight.dtype
        low_unit = decoded.steps[decoded.group(0)][0] * decoded.state.width
        below = slice(decoded.group(DYADIC_LEVELS).stop, None)
        coarsest = zip(decoded.points[below], decoded.steps[below], strict=True)
        low = synthesise([point * step for point, step in coarsest])

        seen = _trunk_inputs(low / low_unit, decoded, 4)
        embedded = self.class_embedding(classes).permute(0, 3, 1, 2)
        x = torch.cat([seen.to(dtype), (low * LIGHT_SCALE).to(dtype), embedded], 1)
        x = x.contiguous(memory_format=torch.channels_last)
        change, shared = self.coarse_trunk(x, last_layer)
        change = change.float()
        low = low + change[:, :3] * low_unit
        quarter = synthesise(predictions.complete([*_corrected(decoded, 3, change), low], 3))
        if decoded.finest > 1:
            known = slice(0, decoded.group(2).stop) if decoded.finest == 2 else slice(0)
            known_bands = zip(decoded.points[known], decoded.steps[known], strict=True)
            return [*(point * step for point, step in known_bands), quarter]

        seen = _trunk_inputs(quarter / low_unit, decoded, 2).to(dtype)
        y = torch.cat([seen, shared], 1).contiguous(memory_format=torch.channels_last)
        change = self.fine_trunk(y, last_layer).float()
        quarter = quarter + change[:, :3] * low_unit
        return [*_corrected(decoded, 1, change), quarter]

    def coarse_trunk(
        self, x: torch.Tensor, last_layer: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Map the coarse trunk's inputs to changes [N, 48, h, w] and features [N, ., 4 h, 4 w]."""
        x = self.coarse_in(x) + self.coarse_state(last_layer)[:, :, None, None]
        x = self.coarse(x)
        return self.coarse_out(x), functional.pixel_shuffle(self.share(x), 4)

    def fine_trunk(self, y: torch.Tensor, last_layer: torch.Tensor) -> torch.Tensor:
        """Map the fine trunk's inputs to changes [N, 48, 4 h, 4 w]."""
        y = self.fine_in(y) + self.fine_state(last_layer)[:, :, None, None]
        return self.fine_out(self.fine(y))


def _trunk_inputs(low: torch.Tensor, decoded: Dequantised, level: int) -> torch.Tensor:
    """Return what a trunk sees, [N, 48, h, w]: `low`, `level`, and the finer level folded 2 x 2.

    `low` is in units of the cell width, as the levels are here.
    """
    width = decoded.state.width
    same, finer = (
        [point / width for point in decoded.points[decoded.group(number)]]
        for number in (level, level - 1)
    )
    folded = functional.pixel_unshuffle(torch.cat(finer, 1), 2)
    return squash(torch.cat([low, *same, folded], 1))


def _corrected(decoded: Dequantised, finest: int, change: torch.Tensor) -> list[torch.Tensor]:
    """Return the bands of level `finest` and the next coarser one in pixel units.

    The points are moved by `change` [N, 48, h, w], in units of the cell width, within their cells.
    """
    finer = functional.pixel_shuffle(change[:, 12:], 2)
    changes = [*finer.split(3, 1), *change[:, 3:12].split(3, 1)]
    levels = slice(decoded.group(finest).start, decoded.group(finest + 1).stop)
    bands = []
    for point, cell, step, moved in zip(
        decoded.points[levels], decoded.cells[levels], decoded.steps[levels], changes, strict=True
    ):
        low, high = cell_bounds(cell, decoded.state, decoded.compander)
        point = point + moved * decoded.state.width
        bands.append(torch.maximum(torch.minimum(point, high), low) * step)
    return bands
