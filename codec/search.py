"""What effort 3 tries: other class maps of a picture, each judged by one decoded state.

A judge knows one picture, proposes what class maps are to be tried beside the plain one, and says
how bad the symbols of each are. Which judge there is follows from what the weights are for:

* by sight (`perceptual`): SSIMULACRA2. Classes move to finer steps where an error shows more than
  its bits are worth, and to coarser ones where it shows less: see `palette.step_choice`.
* by error (other weights): squared error. A price of class borders smaller and larger than the
  plain one is tried.

The plain class map is among those that are judged, so that the best is no worse than it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional

from underpaint.codec.analysis import Inspected, Proposal
from underpaint.codec.decoder import Decoder
from underpaint.codec.entropy.state import Symbols
from underpaint.codec.palette.step_choice import costs_by_sight
from underpaint.codec.reconstruct.dequantise import dequantise
from underpaint.codec.ssimulacra2 import Ssimulacra2
from underpaint.codec.transform.band_lists import band_group
from underpaint.codec.transform.colours import Shear
from underpaint.codec.transform.pictures import bands_picture
from underpaint.codec.transform.prediction import Predictions
from underpaint.codec.transform.subbands import DYADIC_LEVELS
from underpaint.codec.weights.model import Weights

SEEN_PROFILES = frozenset({"perceptual"})
"""Profiles of weights that are judged by sight."""

STRENGTHS = (2.5, 5.0)
"""How strongly classes move to other steps, one for each class map that is tried by sight."""

CALM = 2.5
"""Factor on the price of a class border in these class maps, whose borders cost more bits."""

SMOOTHINGS = (0.4, 2.5)
"""Factors on the price of a class border, one for each class map that is tried by error."""

ERROR_WEIGHT = 1.3
"""What the logarithm of the squared error weighs beside that of the bytes: the inverse of how
fast the one falls as the other grows, after three layers (3.4 dB for e times the bytes)."""

SCORE_WEIGHT = 1 / 30
"""The same for a point of SSIMULACRA2, after four layers."""

Pack = Callable[[Symbols, tuple[int, ...], int], Sequence[bytes]]
"""Takes symbols of a picture, its shape and a number of layers; returns these layers."""

Choose = Callable[[Sequence[Proposal]], list[Symbols]]
"""Takes a proposal for each picture; returns their symbols."""


class Judge(Protocol):
    """Judges class maps of one picture."""

    def opening(self, costs: np.ndarray, plain: Symbols) -> tuple[float, list[Proposal]]:
        """Return the merit of the plain symbols, which plain costs led to, and what else to try."""

    def merit(self, symbols: Symbols) -> float:
        """Return how bad symbols are, by bytes and quality of one state; less is better."""


class Search:
    """Judges pictures that are encoded with one set of weights on one torch device."""

    def __init__(self, weights: Weights, device: torch.device, pack: Pack) -> None:
        self._weights, self._device, self._pack = weights, device, pack
        self._decoder = Decoder(weights)
        self._prediction = weights.prediction_on(device)

    def best(
        self,
        images: Sequence[np.ndarray],
        inspected: Inspected,
        plain: list[Symbols],
        choose: Choose,
    ) -> list[Symbols]:
        """Return the best symbols of inspected images that are found; `plain` among them."""
        bands = inspected.spectrum.bands
        judges = [
            self.judge(image, [band[i : i + 1] for band in bands]) for i, image in enumerate(images)
        ]
        openings = [
            judge.opening(position.costs, symbols)
            for judge, position, symbols in zip(judges, inspected.positions, plain, strict=True)
        ]
        merits, best = [merit for merit, _ in openings], list(plain)
        for proposals in zip(*(found for _, found in openings), strict=True):
            for i, symbols in enumerate(choose(proposals)):
                merit = judges[i].merit(symbols)
                if merit < merits[i]:
                    merits[i], best[i] = merit, symbols
        return best

    def judge(self, image: np.ndarray, bands: list[torch.Tensor]) -> Judge:
        """Return the judge of a picture, uint8 [H, W, 3]; `bands` float32 [1, 3, ...]."""
        if self._weights.config.profile in SEEN_PROFILES:
            return _BySight(self, image)
        return _ByError(self, image.shape[:2], bands)

    @property
    def masks(self) -> np.ndarray:
        """The factor of each class on the steps, float32 [K]."""
        return self._weights.classes.mask

    def coded(self, symbols: Symbols, shape: tuple[int, ...], layers: int) -> Coded:
        """Code some layers of a picture, and decode them without the network."""
        stream = self._pack(symbols, shape, layers)
        state = self._decoder.state(stream)
        known = dequantise(self._weights, [state], self._device)
        predictions = Predictions(self._prediction, [state.rotation], state.cell_step)
        bands = predictions.complete(known.coefficients())
        return Coded(sum(map(len, stream)), known.cells, bands, self._weights.config.shear)

    def pixels(self, image: np.ndarray) -> torch.Tensor:
        """Return a picture as float32 [3, H, W] on the device."""
        return torch.from_numpy(image).to(self._device).permute(2, 0, 1).float()


@dataclass(frozen=True)
class Coded:
    """A decoded state of one picture: its bytes, cells int16 and bands float32 [1, 3, ...].

    `shear` is that of the colours of the bands.
    """

    size: int
    cells: list[torch.Tensor]
    bands: list[torch.Tensor]
    shear: Shear

    def pixels(self, symbols: Symbols, shape: tuple[int, ...]) -> torch.Tensor:
        """Return the picture, float32 [3, H, W] in 0..255."""
        (picture,) = bands_picture(self.bands, [symbols.rotation], self.shear)
        return picture[:, : shape[0], : shape[1]].clamp(0, 255)

    def count(self) -> torch.Tensor:
        """Return the number of coefficients outside the zero cell at each position, [h, w]."""
        counts = []
        for level in range(1, DYADIC_LEVELS + 1):
            cells = torch.stack(self.cells[band_group(level)])
            present = (cells != 0).float().sum((0, 2))
            side = 1 << (DYADIC_LEVELS - level)
            counts.append(functional.avg_pool2d(present, side, divisor_override=1)[0])
        return torch.stack(counts).sum(0)


class _ByError:
    """Judges by squared error after three layers."""

    LAYERS = 3

    def __init__(
        self, search: Search, shape: tuple[int, ...], bands: Sequence[torch.Tensor]
    ) -> None:
        self._search, self._shape, self._bands = search, shape, bands

    def opening(self, costs: np.ndarray, plain: Symbols) -> tuple[float, list[Proposal]]:
        """See `Judge`."""
        return self.merit(plain), [Proposal(costs, borders) for borders in SMOOTHINGS]

    def merit(self, symbols: Symbols) -> float:
        """See `Judge`."""
        coded = self._search.coded(symbols, self._shape, self.LAYERS)
        errors = [
            (found - band).square().sum()
            for found, band in zip(coded.bands, self._bands, strict=True)
        ]
        error = torch.stack(errors).sum().item()
        return math.log(coded.size) + ERROR_WEIGHT * math.log(error + 1.0)


class _BySight:
    """Judges by SSIMULACRA2 after four layers."""

    LAYERS = 4

    def __init__(self, search: Search, image: np.ndarray) -> None:
        self._search, self._shape = search, image.shape[:2]
        self._original = Ssimulacra2(search.pixels(image))

    def opening(self, costs: np.ndarray, plain: Symbols) -> tuple[float, list[Proposal]]:
        """See `Judge`."""
        coded = self._search.coded(plain, self._shape, self.LAYERS)
        pixels = coded.pixels(plain, self._shape)
        fields = self._original.sensitivity(pixels), coded.count()
        class_map = plain.palettes[0].class_map
        return self._merit(coded.size, pixels), [
            Proposal(costs_by_sight(costs, self._search.masks, class_map, fields, strength), CALM)
            for strength in STRENGTHS
        ]

    def merit(self, symbols: Symbols) -> float:
        """See `Judge`."""
        coded = self._search.coded(symbols, self._shape, self.LAYERS)
        return self._merit(coded.size, coded.pixels(symbols, self._shape))

    def _merit(self, size: int, pixels: torch.Tensor) -> float:
        return math.log(size) - SCORE_WEIGHT * self._original.score(pixels)
