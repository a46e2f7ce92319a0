"""The backend in compiled loops on a CPU: one picture a thread, of any size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from underpaint.codec.decoder import States
from underpaint.codec.entropy.state import CodedState
from underpaint.codec.quantize.cell_tables import StateTables
from underpaint.codec.reconstruct.backend import Latents, Picture, network_in
from underpaint.codec.reconstruct.cpu.latents import (
    add_folded_details,
    embed,
    folded_coefficients,
)
from underpaint.codec.reconstruct.cpu.pixels import PictureSynthesis
from underpaint.codec.reconstruct.cpu.state import StateArrays, state_arrays
from underpaint.codec.reconstruct.last_layer import last_class_maps, last_layer
from underpaint.codec.reconstruct.network_shape import FINEST_REFINED
from underpaint.codec.runtime.imports import without_collection
from underpaint.codec.runtime.memory import keep_freed_memory
from underpaint.codec.runtime.threads import in_threads
from underpaint.codec.transform.colour_rotation import FINEST_ROTATED
from underpaint.codec.transform.colours import mix_colours
from underpaint.codec.transform.prediction_rows import DetailPredictor
from underpaint.codec.transform.subbands import DYADIC_LEVELS
from underpaint.codec.weights.model import Weights

if TYPE_CHECKING:
    import torch

    from underpaint.codec.reconstruct.cpu.network import NetworkSynthesis
    from underpaint.codec.reconstruct.network import BackwardNetwork
    from underpaint.codec.reconstruct.torch_backend import TorchBackend


class CpuBackend:
    """See `Backend`. Textures of coarse states are drawn by the torch backend.

    Only the network and textures need torch, which is imported at their first use.
    """

    def __init__(self, weights: Weights, dtype: torch.dtype | None = None) -> None:
        """Take weights; the network computes in `dtype`, by default one that is fast here."""
        self._weights, self._dtype = weights, dtype
        self._embedding = np.ascontiguousarray(weights.classes.embedding.T)
        self._tables: dict[int, StateTables] = {}
        self._networks: dict[int, NetworkSynthesis] = {}
        self._predictors: dict[int, DetailPredictor] = {}

    @cached_property
    def _network(self) -> BackwardNetwork:
        """The network in the dtype to compute in."""
        import torch

        keep_freed_memory()
        return network_in(self._weights, torch.device("cpu"), self._dtype)

    @cached_property
    def _tensors(self) -> TorchBackend:
        """The torch backend on the CPU."""
        import torch

        from underpaint.codec.reconstruct.torch_backend import TorchBackend

        return TorchBackend(self._weights, self._network, torch.device("cpu"))

    def pictures(
        self, states: States, *, refine: bool = True, texture: int | None = None
    ) -> Sequence[Picture]:
        """See `Backend`."""
        if texture is None and not refine:
            return states.map(self._plain_picture)
        return states.map_batches(partial(self._batch_pictures, refine=refine, texture=texture))

    def latents(self, states: States, *, levels: int, normalize: bool = False) -> list[Latents]:
        """See `Backend`."""
        return states.map(partial(self._latents, levels=levels, normalize=normalize))

    def _batch_pictures(
        self, states: Sequence[CodedState], *, refine: bool, texture: int | None
    ) -> Sequence[Picture]:
        """Return the pictures of states of one padded shape, size and number of layers."""
        layer = last_layer(self._weights.config, states[0].cell_step)
        if texture is not None and layer + 1 < len(self._weights.config.layers):
            return self._tensors.batch_pictures(states, refine=refine, texture=texture)
        if not refine or states[0].finest > FINEST_REFINED:
            return in_threads(self._plain_picture, states)
        return self._network_synthesis(states[0].cell_step).pictures(
            [self._synthesis(state) for state in states],
            last_class_maps(states),
            [(state.layout.height, state.layout.width) for state in states],
            states[0].finest - 1,
        )

    def _plain_picture(self, state: CodedState) -> np.ndarray:
        """Return the picture of a state without the network, uint8 [3, H, W]."""
        picture = np.empty((3, *state.sides), np.uint8)
        synthesis = self._synthesis(state)
        level = state.finest - 1
        low = synthesis.join(synthesis.low_band(), range(DYADIC_LEVELS, max(level, 1), -1))
        if level:
            sides = state.layout.height, state.layout.width
            synthesis.write_small_picture(low, sides, level, picture)
        else:
            synthesis.write_picture(low, picture)
        return picture

    def _latents(self, state: CodedState, *, levels: int, normalize: bool) -> Latents:
        """Return the latents of a state."""
        class_map = state.palettes[-1].class_map
        coefficients = folded_coefficients(state, self._arrays(state), levels, state.rotation)
        self._add_details(coefficients, state, levels)
        if normalize:
            layers = 1 + last_layer(self._weights.config, state.cell_step)
            self._weights.latents.normalize(coefficients, layers)
        embedded = embed(class_map, self._embedding)
        return Latents(class_map.astype(np.int64), embedded, coefficients)

    def _add_details(self, folded: np.ndarray, state: CodedState, levels: int) -> None:
        """Add predicted details to the coefficients of a state, see `folded_coefficients`."""
        if self._weights.prediction_shape is None:
            return
        synthesis = self._synthesis(state)
        low = synthesis.low_band()
        for level in range(DYADIC_LEVELS, max(DYADIC_LEVELS - levels, state.finest - 1), -1):
            if level < FINEST_ROTATED:
                mix_colours(low, state.rotation.inverse_matrix(), low)
            add_folded_details(synthesis.details(level, low), level, state.rotation, folded)
            if level > state.finest:
                low = synthesis.join(low, (level,))

    def _synthesis(self, state: CodedState) -> PictureSynthesis:
        predictor = self._predictor(state.cell_step)
        shear = self._weights.config.shear
        return PictureSynthesis(self._arrays(state), state.rotation, shear, predictor)

    def _arrays(self, state: CodedState) -> StateArrays:
        return state_arrays(self._weights, self._state_tables(state.cell_step), state)

    def _state_tables(self, step: int) -> StateTables:
        """Return the tables of the state after `step` steps, computed at their first use."""
        if step not in self._tables:
            config, centroids = self._weights.config, self._weights.centroids[step - 1]
            self._tables[step] = StateTables.of(config.chain, step, config.compander, centroids)
        return self._tables[step]

    def _predictor(self, step: int) -> DetailPredictor | None:
        """Return what predicts details in the state after `step` steps, made at its first use."""
        shape = self._weights.prediction_shape
        if shape is None:
            return None
        if step not in self._predictors:
            parameters = self._weights.prediction_parameters
            self._predictors[step] = DetailPredictor(shape, parameters, step)
        return self._predictors[step]

    def _network_synthesis(self, step: int) -> NetworkSynthesis:
        """Return the network for the state after `step` steps, prepared at its first use."""
        if step not in self._networks:
            with without_collection():
                from underpaint.codec.reconstruct.cpu.network import NetworkSynthesis

            self._networks[step] = NetworkSynthesis(
                self._network,
                self._state_tables(step),
                self._weights.steps,
                last_layer(self._weights.config, step),
            )
        return self._networks[step]
