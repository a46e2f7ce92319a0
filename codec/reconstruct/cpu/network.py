"""The backward network on a CPU, with compiled loops around its matrix products.

The arithmetic is that of `BackwardNetwork.forward`, where two thirds of the time go into everything
but the matrix products. Here a table lookup turns cells into inputs, and corrections become rows of
coefficients where the wavelet needs them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import nn
from torch.nn.functional import linear, pixel_shuffle

from underpaint.codec.quantize.cell_tables import StateTables
from underpaint.codec.reconstruct.cpu.pixels import PictureSynthesis
from underpaint.codec.reconstruct.network import BackwardNetwork, Block, squash
from underpaint.codec.reconstruct.network_shape import (
    COARSE_CHANNELS,
    FINE_CHANNELS,
    LIGHT_SCALE,
)
from underpaint.codec.runtime.threads import in_threads
from underpaint.codec.transform.sizes import shrunk_sides

STRIP = 4096
"""Positions that pass through a block together."""


class _Join(NamedTuple):
    """One picture on its way through a level: low band [rows, columns, 3], corrections."""

    synthesis: PictureSynthesis
    low: torch.Tensor
    changes: torch.Tensor

    def planes(self) -> np.ndarray:
        """Return the low band, float32 [3, rows, columns]."""
        return self.low.permute(2, 0, 1).contiguous().numpy()

    def quarter(self) -> torch.Tensor:
        """Join levels 4 and 3: float32 [4 rows, 4 columns, 3]."""
        joined = self.synthesis.join(self.planes(), (4, 3), self.changes.numpy())
        return torch.from_numpy(joined).permute(1, 2, 0)

    def picture(self, height: int, width: int) -> torch.Tensor:
        """Join levels 2 and 1 and return the picture, uint8 [3, height, width]."""
        changes = self.changes.numpy()
        picture = torch.empty((3, height, width), dtype=torch.uint8)
        half = self.synthesis.join(self.planes(), (2,), changes)
        self.synthesis.write_picture(half, picture.numpy(), changes)
        return picture


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
        self._unit = torch.from_numpy(steps[:3]) * tables.width
        self._last_layer = torch.tensor([last_layer])

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
        low = torch.stack([torch.from_numpy(planes).permute(1, 2, 0) for planes in lows])
        changes, shared = self._coarse_trunk(syntheses, low, torch.from_numpy(class_maps))
        low += changes[..., :3] * self._unit
        joins = map(_Join, syntheses, low, changes)
        quarter = torch.stack(in_threads(_Join.quarter, list(joins)))
        if level:
            return in_threads(
                lambda job: _small_picture(*job, level),
                list(zip(syntheses, quarter, shapes, strict=True)),
            )
        changes = self._fine_trunk(syntheses, quarter, shared)
        quarter += changes[..., :3] * self._unit
        joins = map(_Join, syntheses, quarter, changes)
        return in_threads(
            lambda job: job[0].picture(*job[1]), list(zip(joins, shapes, strict=True))
        )

    def _coarse_trunk(
        self, syntheses: Sequence[PictureSynthesis], low: torch.Tensor, class_maps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return changes, float32 [N, h, w, 48], and features, [N, 4 h, 4 w, .]."""
        network = self._network
        embedded = network.class_embedding(class_maps)
        inputs = self._inputs(syntheses, (4, 3), low, COARSE_CHANNELS + 3 + embedded.shape[-1])
        inputs[..., COARSE_CHANNELS : COARSE_CHANNELS + 3] = low * LIGHT_SCALE
        inputs[..., COARSE_CHANNELS + 3 :] = embedded
        x = linear(inputs, network.coarse_in.weight, network.coarse_in.bias)
        x += network.coarse_state(self._last_layer)
        _apply_blocks(network.coarse, x)
        change = linear(x, network.coarse_out.weight, network.coarse_out.bias)
        shared = network.share(x.permute(0, 3, 1, 2))
        return change.float(), pixel_shuffle(shared, 4).permute(0, 2, 3, 1)

    def _fine_trunk(
        self, syntheses: Sequence[PictureSynthesis], quarter: torch.Tensor, shared: torch.Tensor
    ) -> torch.Tensor:
        """Return changes, float32 [N, 4 h, 4 w, 48]."""
        network = self._network
        inputs = self._inputs(syntheses, (2, 1), quarter, FINE_CHANNELS + shared.shape[-1])
        inputs[..., FINE_CHANNELS:] = shared
        y = linear(inputs, network.fine_in.weight, network.fine_in.bias)
        y += network.fine_state(self._last_layer)
        _apply_blocks(network.fine, y)
        return linear(y, network.fine_out.weight, network.fine_out.bias).float()

    def _inputs(
        self,
        syntheses: Sequence[PictureSynthesis],
        levels: tuple[int, int],
        low: torch.Tensor,
        channels: int,
    ) -> torch.Tensor:
        """Return a trunk's inputs [N, h, w, channels], the first 48 filled in."""
        inputs = torch.empty((*low.shape[:3], channels), dtype=self._dtype)
        in_threads(
            lambda job: job[0].write_inputs(levels, self._table, _numpy(job[1])),
            list(zip(syntheses, inputs, strict=True)),
        )
        inputs[..., :3] = squash(low / self._unit)
        return inputs


def _small_picture(
    synthesis: PictureSynthesis, quarter: torch.Tensor, shape: tuple[int, int], level: int
) -> torch.Tensor:
    """Return the picture at 1/4 or, by plain points of level 2, at 1/2, uint8; `shape` is full."""
    low = quarter.permute(2, 0, 1).contiguous().numpy()
    low = synthesis.join(low, range(2, level, -1))
    picture = torch.empty((3, *shrunk_sides(*shape, level)), dtype=torch.uint8)
    synthesis.write_small_picture(low, shape, level, picture.numpy())
    return picture


def _apply_blocks(blocks: nn.Sequential, x: torch.Tensor) -> None:
    """Apply blocks to x, [N, h, w, width], in place, with the hidden units of a strip at a time.

    A strip stays in the cache. Allocating all hidden units at once took a fifth of the time.
    """
    width = x.shape[-1]
    flat = x.view(-1, width)
    strips = range(0, len(flat), STRIP)
    hidden = torch.empty((min(STRIP, len(flat)), 2 * width), dtype=x.dtype)
    added = torch.empty((min(STRIP, len(flat)), width), dtype=x.dtype)
    for block in cast("Iterable[Block]", blocks):
        around = block.spatial(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).reshape(-1, width)
        widen, narrow = block.widen, block.narrow
        for start in strips:
            strip = slice(start, start + STRIP)
            count = len(flat[strip])
            torch.addmm(widen.bias, around[strip], widen.weight.t(), out=hidden[:count])
            hidden[:count].relu_()
            torch.addmm(narrow.bias, hidden[:count], narrow.weight.t(), out=added[:count])
            flat[strip] += added[:count]


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    """View a tensor as an array; bfloat16, which numpy does not know, as its 16 bits."""
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
