"""The backward network on a CPU, with compiled loops around its matrix products.

The arithmetic is that of `BackwardNetwork.forward`, where two thirds of the time go into everything
but the matrix products. Here a table lookup turns cells into inputs, and corrections become rows of
coefficients where the wavelet needs them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn.functional import linear

from underpaint.codec.quantize.cell_tables import StateTables
from underpaint.codec.reconstruct.cpu.pixels import PictureSynthesis, write_features
from underpaint.codec.reconstruct.network import BackwardNetwork, Block, Pointwise, squash
from underpaint.codec.reconstruct.network_shape import (
    COARSE_CHANNELS,
    FINE_CHANNELS,
    LIGHT_SCALE,
)
from underpaint.codec.runtime.threads import in_threads
from underpaint.codec.transform.sizes import shrunk_sides

STRIP = 12288
"""Positions that pass through a block together: their hidden units stay in the cache."""


class NetworkSynthesis:
    """Pictures of one state of the chain by way of the backward network."""

    def __init__(
        self, network: BackwardNetwork, tables: StateTables, steps: np.ndarray, last_layer: int
    ) -> None:
        """Take a network on the CPU, tables and layer of a state, and `steps` float32 [BANDS]."""
        self._network = network
        self._dtype = network.coarse_in.weight.dtype
        seen = squash(torch.from_numpy(tables.points) / tables.width).to(self._dtype)
        self._table = _numpy(seen)
        self._unit = (torch.from_numpy(steps[:3]) * tables.width)[:, None, None]
        with torch.inference_mode():
            self._coarse_bias = network.coarse_in.bias + network.coarse_state.weight[last_layer]
            self._fine_bias = network.fine_in.bias + network.fine_state.weight[last_layer]
            self._share = [_by_place(part, network.shape.shared) for part in _parts(network.share)]

    @torch.inference_mode()
    def pictures(
        self,
        syntheses: Sequence[PictureSynthesis],
        class_maps: np.ndarray,
        shapes: Sequence[tuple[int, int]],
        level: int = 0,
    ) -> list[torch.Tensor]:
        """Return the pictures of states of one padded shape, uint8 [3, height, width] each.

        `class_maps` int64 [N, h, w], the last ones; `shapes` (height, width) of each full
        picture; `level` 0 to 2, how many of the finest levels they do without.
        """
        lows = in_threads(PictureSynthesis.low_band, syntheses)
        low = torch.from_numpy(np.stack(lows))
        changes, features = self._coarse_trunk(syntheses, low, torch.from_numpy(class_maps))
        low += changes[:, :3] * self._unit
        quarters = in_threads(
            lambda job: job[0].join(job[1], (4, 3), job[2]),
            list(zip(syntheses, low.numpy(), changes.numpy(), strict=True)),
        )
        if level:
            return in_threads(
                lambda job: _small_picture(*job, level),
                list(zip(syntheses, quarters, shapes, strict=True)),
            )
        quarter = torch.from_numpy(np.stack(quarters))
        changes = self._fine_trunk(syntheses, quarter, features)
        quarter += changes[:, :3] * self._unit
        return in_threads(
            lambda job: _picture(*job),
            list(zip(syntheses, quarter.numpy(), changes.numpy(), shapes, strict=True)),
        )

    def _coarse_trunk(
        self, syntheses: Sequence[PictureSynthesis], low: torch.Tensor, class_maps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return changes, float32 [N, 48, h, w], and features, [N, h, w, 4, 4, .]."""
        network = self._network
        embedded = network.class_embedding(class_maps)
        inputs = self._inputs(syntheses, (4, 3), low, COARSE_CHANNELS + 3 + embedded.shape[-1])
        lights = (low * LIGHT_SCALE).permute(0, 2, 3, 1)
        inputs[..., COARSE_CHANNELS : COARSE_CHANNELS + 3] = lights
        inputs[..., COARSE_CHANNELS + 3 :] = embedded
        x = linear(inputs, network.coarse_in.weight, self._coarse_bias)
        _apply_blocks(network.coarse, x)
        features = linear(x, *self._share).unflatten(-1, (4, 4, network.shape.shared))
        return _changes(network.coarse_out, x), features

    def _fine_trunk(
        self, syntheses: Sequence[PictureSynthesis], quarter: torch.Tensor, features: torch.Tensor
    ) -> torch.Tensor:
        """Return changes, float32 [N, 48, 4 h, 4 w]."""
        network = self._network
        inputs = self._inputs(syntheses, (2, 1), quarter, FINE_CHANNELS + features.shape[-1])
        in_threads(
            lambda job: write_features(_numpy(job[0]), _numpy(job[1])),
            list(zip(features, inputs, strict=True)),
        )
        y = linear(inputs, network.fine_in.weight, self._fine_bias)
        _apply_blocks(network.fine, y)
        return _changes(network.fine_out, y)

    def _inputs(
        self,
        syntheses: Sequence[PictureSynthesis],
        levels: tuple[int, int],
        low: torch.Tensor,
        channels: int,
    ) -> torch.Tensor:
        """Return a trunk's inputs [N, h, w, channels], the first 48 filled in, others 0."""
        count, _, rows, columns = low.shape
        inputs = torch.zeros((count, rows, columns, channels), dtype=self._dtype)
        squashed = squash(low / self._unit).to(self._dtype)
        in_threads(
            lambda job: job[0].write_inputs(levels, self._table, *map(_numpy, job[1:])),
            list(zip(syntheses, squashed, inputs, strict=True)),
        )
        return inputs


def _parts(layer: Pointwise) -> tuple[torch.Tensor, torch.Tensor]:
    return layer.weight, layer.bias


def _by_place(parameter: torch.Tensor, channels: int) -> torch.Tensor:
    """Reorder the outputs of `share` from [channels, 4, 4] to [4, 4, channels]."""
    return parameter.unflatten(0, (channels, 16)).transpose(0, 1).flatten(0, 1).contiguous()


def _changes(last: Pointwise, x: torch.Tensor) -> torch.Tensor:
    """Apply the last layer of a trunk to x, [N, h, w, width]: float32 [N, 48, h, w]."""
    changes = torch.empty((len(x), last.out_features, *x.shape[1:3]))
    for seen, result in zip(x.flatten(1, 2), changes.flatten(2), strict=True):
        result.copy_(torch.addmm(last.bias[:, None], last.weight, seen.t()))
    return changes


def _picture(
    synthesis: PictureSynthesis, quarter: np.ndarray, changes: np.ndarray, shape: tuple[int, int]
) -> torch.Tensor:
    """Join levels 2 and 1 and return the picture, uint8 [3, height, width]."""
    picture = torch.empty((3, *shape), dtype=torch.uint8)
    half = synthesis.join(quarter, (2,), changes)
    synthesis.write_picture(half, picture.numpy(), changes)
    return picture


def _small_picture(
    synthesis: PictureSynthesis, quarter: np.ndarray, shape: tuple[int, int], level: int
) -> torch.Tensor:
    """Return the picture at 1/4 or, by plain points of level 2, at 1/2, uint8; `shape` is full."""
    low = synthesis.join(quarter, range(2, level, -1))
    picture = torch.empty((3, *shrunk_sides(*shape, level)), dtype=torch.uint8)
    synthesis.write_small_picture(low, shape, level, picture.numpy())
    return picture


def _apply_blocks(blocks: nn.Sequential, x: torch.Tensor) -> None:
    """Apply blocks to x, [N, h, w, width], in place, with the hidden units of a strip at a time."""
    width = x.shape[-1]
    strips = x.view(-1, width).split(STRIP)
    units = max(block.widen.out_features for block in _each(blocks))
    memory = torch.empty((len(strips[0]), units), dtype=x.dtype)
    for block in _each(blocks):
        around = block.spatial(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).reshape(-1, width)
        widen, narrow = block.widen, block.narrow.weight.t()
        for seen, strip in zip(around.split(STRIP), strips, strict=True):
            hidden = memory[: len(strip), : widen.out_features]
            torch.addmm(widen.bias, seen, widen.weight.t(), out=hidden)
            _rectify(hidden)
            strip.addmm_(hidden, narrow)


def _each(blocks: nn.Sequential) -> Iterable[Block]:
    return cast("Iterable[Block]", blocks)


def _rectify(x: torch.Tensor) -> None:
    """Set negative numbers to zero, in place.

    They are negative as integers of the same bits, too, and torch is three times as fast with
    those: it converts each bfloat16 to float32 and back.
    """
    x.view(torch.int32 if x.dtype == torch.float32 else torch.int16).clamp_min_(0)


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    """View a tensor as an array; bfloat16, which numpy does not know, as its 16 bits."""
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
