"""Sizes of the learned lifting step and shapes of its parameters, without torch.

`transform.prediction` describes the step itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from underpaint.codec.transform.levels import DYADIC_LEVELS

KERNEL = 3
"""Side of the convolutions."""

CONVOLUTIONS = 4
"""Convolutions of a level, one after the other."""

INPUTS = 3
"""Channels that a prediction sees: the three components of the low band."""

OUTPUTS = 9
"""Channels that it predicts: three orientations of three components."""

UNIT = 64.0
"""Predictions see low bands, and tell details, in this unit: pixel units divided by it."""


@dataclass(frozen=True)
class PredictionShape:
    """Sizes of the learned lifting step, stored beside its weights.

    widths  channels between the convolutions, for level 1 (the finest) and those above it
    states  number of states of the scalar chain: each has its own biases
    """

    widths: tuple[int, ...]
    states: int

    @property
    def levels(self) -> int:
        """The coarsest level whose details are predicted."""
        return len(self.widths)

    def channels(self, level: int) -> list[int]:
        """Return the numbers of channels before, between and after the convolutions of a level."""
        return [INPUTS, *[self.widths[level - 1]] * (CONVOLUTIONS - 1), OUTPUTS]

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each parameter by its name."""
        shapes: dict[str, tuple[int, ...]] = {}
        for level in range(1, self.levels + 1):
            channels = self.channels(level)
            shapes[f"{level}.state"] = (self.states, channels[1])
            for number, (inputs, outputs) in enumerate(pairwise(channels)):
                shapes[f"{level}.{number}.weight"] = (outputs, inputs, KERNEL, KERNEL)
                if number:
                    shapes[f"{level}.{number}.bias"] = (outputs,)
        return shapes


MOST_LEVELS = DYADIC_LEVELS
"""Most levels whose details may be predicted: coarser ones do not halve exactly."""
