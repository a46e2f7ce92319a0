"""Pictures by way of the backward network on a CPU, with compiled loops around it.

What `network.BackwardNetwork.forward` does with tensors, of which two thirds of the time went into
everything but its matrix products: here cells become inputs by one look into a table, and changes
become rows of coefficients where the wavelet asks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn.functional import linear, pixel_shuffle

from underpaint.codec.quantize.quantizer import StateTables
from underpaint.codec.reconstruct.cpu_pixels import Painter
from underpaint.codec.reconstruct.network import (
    COARSE_CHANNELS,
    FINE_CHANNELS,
    LIGHT_SCALE,
    BackwardNetwork,
    Block,
    squash,
)
from underpaint.codec.runtime.threads import in_threads

STRIP = 4096
"""Positions that go through a block together."""


class Refiner:
    """A backward network and what it sees of each cell of one state."""

    def __init__(
        self, network: BackwardNetwork, tables: StateTables, steps: np.ndarray, last_layer: int
    ) -> None:
        """Take a network on the CPU, tables and layer of a state, and `steps` float32 [BANDS]."""
        self._network = network
        self._dtype = network.coarse_in.weight.dtype
        seen = squash(torch.from_numpy(tables.places) / tables.width).to(self._dtype)
        self._seen = _numpy(seen)
        self._unit = torch.from_numpy(steps[:3]) * tables.width
        self._last_layer = torch.tensor([last_layer])

    def paint(
        self, painters: Sequence[Painter], classes: torch.Tensor, pictures: Sequence[np.ndarray]
    ) -> None:
        """Write the pictures of states of one padded size, uint8 [3, H, W] each.

        `classes` int64 [N, h, w], the last class maps.
        """
        lows = [torch.from_numpy(low).permute(1, 2, 0) for low in in_threads(Painter.low, painters)]
        low = torch.stack(lows)
        changes, shared = self._look_coarse(painters, low, classes)
        low += changes[..., :3] * self._unit

        def join(job: tuple[Painter, torch.Tensor, torch.Tensor]) -> torch.Tensor:
            painter, below, change = job
            planes = below.permute(2, 0, 1).contiguous().numpy()
            return torch.from_numpy(painter.join(planes, (4, 3), change.numpy())).permute(1, 2, 0)

        quarter = torch.stack(in_threads(join, list(zip(painters, low, changes, strict=True))))
        changes = self._look_fine(painters, quarter, shared)
        quarter += changes[..., :3] * self._unit

        def paint(job: tuple[Painter, torch.Tensor, torch.Tensor, np.ndarray]) -> None:
            painter, below, change, picture = job
            planes = below.permute(2, 0, 1).contiguous().numpy()
            painter.paint(painter.join(planes, (2,), change.numpy()), picture, change.numpy())

        in_threads(paint, list(zip(painters, quarter, changes, pictures, strict=True)))

    def _look_coarse(
        self, painters: Sequence[Painter], low: torch.Tensor, classes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return changes, float32 [N, h, w, 48], and features, [N, 4 h, 4 w, .]."""
        embedded = self._network.class_embedding(classes)
        channels = COARSE_CHANNELS + 3 + embedded.shape[-1]
        inputs = torch.empty((*classes.shape, channels), dtype=self._dtype)
        in_threads(
            lambda job: job[0].see((4, 3), self._seen, _numpy(job[1])),
            list(zip(painters, inputs, strict=True)),
        )
        inputs[..., :3] = squash(low / self._unit)
        inputs[..., COARSE_CHANNELS : COARSE_CHANNELS + 3] = low * LIGHT_SCALE
        inputs[..., COARSE_CHANNELS + 3 :] = embedded
        network = self._network
        x = linear(inputs, network.coarse_in.weight, network.coarse_in.bias)
        x += network.coarse_state(self._last_layer)
        _go_through(network.coarse, x)
        change = linear(x, network.coarse_out.weight, network.coarse_out.bias)
        shared = network.share(x.permute(0, 3, 1, 2))
        return change.float(), pixel_shuffle(shared, 4).permute(0, 2, 3, 1)

    def _look_fine(
        self, painters: Sequence[Painter], quarter: torch.Tensor, shared: torch.Tensor
    ) -> torch.Tensor:
        """Return changes, float32 [N, 4 h, 4 w, 48]."""
        channels = FINE_CHANNELS + shared.shape[-1]
        inputs = torch.empty((*quarter.shape[:3], channels), dtype=self._dtype)
        in_threads(
            lambda job: job[0].see((2, 1), self._seen, _numpy(job[1])),
            list(zip(painters, inputs, strict=True)),
        )
        inputs[..., :3] = squash(quarter / self._unit)
        inputs[..., FINE_CHANNELS:] = shared
        network = self._network
        y = linear(inputs, network.fine_in.weight, network.fine_in.bias)
        y += network.fine_state(self._last_layer)
        _go_through(network.fine, y)
        return linear(y, network.fine_out.weight, network.fine_out.bias).float()


def _go_through(blocks: nn.Sequential, x: torch.Tensor) -> None:
    """Take x, [N, h, w, width], through blocks in place, their hidden units a strip at a time.

    A strip stays in the cache, and no large memory is taken and given back again and again, which
    cost a fifth of the time.
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
