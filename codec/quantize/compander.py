"""The compander: quantisation steps that grow with magnitude."""

from __future__ import annotations

from dataclasses import dataclass

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
        grown = torch.expm1(torch.log1p(value.abs() / self.knee) * self.power)
        return grown * (self.knee / self.power) * value.sign()

    def expand(self, value: torch.Tensor) -> torch.Tensor:
        """Invert `compress`."""
        if self.power == 1:
            return value
        shrunk = (1 + value.abs() * (self.power / self.knee)) ** (1 / self.power) - 1
        return shrunk * self.knee * value.sign()
