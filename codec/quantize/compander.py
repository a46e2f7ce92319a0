"""The compander: quantisation steps that grow with magnitude."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Compander:
    """Maps coefficients to the scale on which cells are uniform: large coefficients hide errors.

    A magnitude of v finest steps becomes knee * ((1 + v / knee) ** power - 1) / power: one step
    wide at zero, wider beyond the knee. A power of 1 is plain uniform quantisation. Source: the
    self-contrast masking of JPEG 2000 part 2, with a knee.
    """

    knee: float
    power: float

    def compress(self, value: torch.Tensor) -> torch.Tensor:
        """Map values in finest steps to the scale on which cells are uniform."""
        if self.power == 1:
            return value
        grown = ((value.abs() / self.knee).log1p() * self.power).expm1()
        return grown * (self.knee / self.power) * value.sign()

    def expand(self, value: np.ndarray) -> np.ndarray:
        """Invert `compress`, for the few values of a table of cells."""
        if self.power == 1:
            return value
        shrunk = (1 + np.abs(value) * (self.power / self.knee)) ** (1 / self.power) - 1
        return np.asarray(shrunk * self.knee * np.sign(value))
