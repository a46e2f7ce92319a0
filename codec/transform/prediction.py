"""A learned lifting step on top of the 9/7 wavelet: details predicted from the low band.

After each level of the wavelet, the details d of a level become d - P(low), where low is the low
band of the same level as a decoder knows it. An edge that the low band shows tells where its
details are, and with which signs; only what is left is coded.

P is four convolutions of 3 x 3 with few channels for each level, the same for all pictures. The
first has a bias for each state of the scalar chain: a coarse state knows a blurred low band, and
predicts with more caution.

A prediction moves pixels, and what an encoder has left to code, but never the probability of a
symbol; so streams decode to the same symbols on every machine.

Source: the lifting scheme (Sweldens 1996), with a network as a further predict step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from underpaint.codec.transform.colour_rotation import (
    FINEST_ROTATED,
    ColourRotation,
    rotate_colours,
)
from underpaint.codec.transform.prediction_shape import KERNEL, UNIT, PredictionShape
from underpaint.codec.transform.subbands import COMPONENTS, ORIENTATIONS
from underpaint.codec.transform.wavelet import synthesise


class _LevelPrediction(nn.Module):
    """Four convolutions; the first has a bias for each state in place of one of its own."""

    def __init__(self, channels: list[int], states: int) -> None:
        super().__init__()
        self.state = nn.Parameter(torch.zeros(states, channels[1]))
        for number, sides in enumerate(pairwise(channels)):
            layer = nn.Conv2d(
                *sides, KERNEL, padding=KERNEL // 2, padding_mode="replicate", bias=number > 0
            )
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            self.add_module(str(number), layer)
        nn.init.zeros_(layer.weight)

    def forward(self, low: torch.Tensor, step: int) -> torch.Tensor:
        first, *others = self.children()
        with torch.autocast(low.device.type, enabled=False):  # large and smooth: needs precision
            x = first(low) + self.state[step - 1][:, None, None]
        for layer in others:
            x = layer(functional.relu(x))
        return x


class DetailPrediction(nn.Module):
    """Predicts the details of levels from the low bands that they are joined to."""

    def __init__(self, shape: PredictionShape) -> None:
        """Start with random weights whose last layer is zero: it predicts no details."""
        super().__init__()
        self.shape = shape
        for level in range(1, shape.levels + 1):
            self.add_module(str(level), _LevelPrediction(shape.channels(level), shape.states))

    @classmethod
    def of(cls, shape: PredictionShape, parameters: Mapping[str, np.ndarray]) -> DetailPrediction:
        """Return a step, not to be trained, with float parameters; it computes in float32."""
        step = cls(shape)
        step.load_state_dict({name: torch.tensor(a).float() for name, a in parameters.items()})
        return step.eval().requires_grad_(False)

    def parameter_arrays(self) -> dict[str, np.ndarray]:
        """Return the parameters as `of` takes them, float32."""
        return {
            name: tensor.detach().float().cpu().numpy().copy()
            for name, tensor in self.state_dict().items()
        }

    def forward(self, level: int, low: torch.Tensor, step: int) -> list[torch.Tensor]:
        """Return the predicted details of a level, three bands float32 [N, 3, h, w].

        `low` float32 [N, 3, h, w], the low band of the level, in pixel units, as details are;
        `step` is the number of cell steps of the state, from 1.
        """
        seen = (low / UNIT).contiguous(memory_format=torch.channels_last)
        details = self.get_submodule(str(level))(seen, step)
        return list((details.float() * UNIT).split(COMPONENTS, 1))


@dataclass(frozen=True)
class Predictions:
    """The learned lifting step for a batch of pictures in one state; None predicts nothing.

    step  number of cell steps of the state, from 1
    """

    prediction: DetailPrediction | None
    rotations: Sequence[ColourRotation]
    step: int

    @property
    def needs_low_bands(self) -> bool:
        """Tell whether there is anything to predict."""
        return self.prediction is not None

    def details(self, level: int, low: torch.Tensor) -> list[torch.Tensor] | None:
        """Return the predicted details of a level, 0 to 6, or None if there are none.

        `low` float32 [N, 3, h, w], the low band of the level in the colours of its picture.
        """
        if self.prediction is None or not 0 < level <= self.prediction.shape.levels:
            return None
        if level < FINEST_ROTATED:
            (low,) = rotate_colours([low], self.rotations, FINEST_ROTATED, inverse=True)
        return self.prediction(level, low, self.step)

    def complete(self, bands: Sequence[torch.Tensor], finest: int = 1) -> list[torch.Tensor]:
        """Add predictions to what was coded of details, level by level, coarse to fine.

        `bands` in pixel units begin at level `finest` and end with the low band of their coarsest
        level, which need not be that of the wavelet.
        """
        complete = list(bands)
        if self.prediction is None:
            return complete
        low = complete[-1]
        for first in range(len(bands) - 1 - ORIENTATIONS, -1, -ORIENTATIONS):
            level, group = finest + first // ORIENTATIONS, slice(first, first + ORIENTATIONS)
            details = self.details(level, low)
            if details is not None:
                complete[group] = [
                    band + detail for band, detail in zip(complete[group], details, strict=True)
                ]
            if first:
                low = synthesise([*complete[group], low])
        return complete
