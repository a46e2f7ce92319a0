"""SSIMULACRA2 without its finest scale, in torch: how visible errors are, and where.

An encoder's search asks this often. The finest of six scales takes three quarters of the time and
is left out, and so are the terms that weigh less than 0.01, among them all of the coarsest scale.
Scores are therefore higher than those of the metric, and compare with each other only; evaluations
take the metric itself (`pipelines/evaluation/scores.py`).

Source: SSIMULACRA2 2.1 (Cloudinary, 2022), with the edges of pictures as in the Python package
`ssimulacra2` 0.3: windows see a mirrored picture above and below, and zeros at both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

from underpaint.codec.transform.subbands import BLOCK

SMALLEST_SIDE = 8
"""A scale with a side below so many pixels does not count, nor do those after it."""

_X, _Y, _B = range(3)

_WEIGHTS: dict[int, dict[int, tuple[tuple[float, float, float], tuple[float, float, float]]]] = {
    1: {
        _X: ((0, 0, 0), (1.1041726426657346, 0, 0)),
        _Y: ((0, 0, 0), (6.683678146179332, 0, 1.027889937768264)),
    },
    2: {
        _X: ((0, 0, 0), (1.8422455520539298, 11.441172603757666, 0)),
        _Y: ((225.20515300849274, 0, 0), (19.213238186143016, 0, 0)),
    },
    3: {
        _X: ((0, 0, 0), (1.8787594979546387, 10.94906990605142, 0)),
        _Y: ((176.39317598450694, 0, 0), (24.43300999870476, 0.28520802612117757, 0)),
        _B: ((0, 0, 0), (8.826982764996862, 23.19243343998926, 0)),
    },
    4: {
        _X: ((0, 0.9677937080626833, 0), (0, 0.9981766977854967, 0)),
        _Y: ((0, 0, 0), (34.77906344483772, 44.835625328877896, 0)),
        _B: (
            (95.1080498811086, 0.9863978034400682, 0.9834382792465353),
            (0, 171.2667255897307, 0.9807858872435379),
        ),
    },
}
"""Weights by scale (0 has all pixels) and plane: of the mean and of the 4-norm of three maps: lost
structure, added edges, lost edges."""

_TOTAL = 0.9562382616834844
_CUBIC = (2.326765642916932, -0.020884521182843837, 6.248496625763138e-05)
_POWER = 0.6276336467831387
"""From the weighted sum to the score."""

_ABSORBANCE = (
    (0.30, 0.622, 0.078),
    (0.23, 0.692, 0.078),
    (0.24342268924547819, 0.20476744424496821, 0.5518098665095536),
)
_BIAS = 0.0037930732552754493
_STRUCTURE = 0.0009
_TAPS = 11
_SIGMA = 1.5
_TINY = 1e-30


@dataclass(frozen=True)
class _Scale:
    """What one scale needs of the original: linear light, and mean and variance of its planes.

    light float32 [1, 3, h, w]; planes, mean and variance float32 [1, P, h, w]
    """

    number: int
    light: torch.Tensor
    planes: torch.Tensor
    mean: torch.Tensor
    variance: torch.Tensor

    def recorded(self) -> _Scale:
        """Return a copy that may take part in a gradient, wherever this one was made."""
        arrays = (self.light, self.planes, self.mean, self.variance)
        return _Scale(self.number, *(array.clone() for array in arrays))

    def distance(self, light: torch.Tensor) -> torch.Tensor:
        """Return the weighted sum of the terms of a decoded picture in linear light, a scalar."""
        weights = _WEIGHTS[self.number]
        planes = _opponent(light, list(weights))
        products = torch.cat([planes, planes.square(), self.planes * planes], 1)
        mean, square, product = _blurred(products).chunk(3, 1)
        contrast = 2 * (product - self.mean * mean) + _STRUCTURE
        contrast = contrast / (self.variance + square - mean.square() + _STRUCTURE)
        structure = (1 - (1 - (self.mean - mean).square()) * contrast).clamp(min=0)
        edges = (1 + (planes - mean).abs()) / (1 + (self.planes - self.mean).abs()) - 1
        sums = []
        for kind, field in enumerate((structure, edges.clamp(min=0), (-edges).clamp(min=0))):
            for place, (of_mean, of_norm) in enumerate(weights.values()):
                plane = field[:, place]
                if of_mean[kind]:
                    sums.append(of_mean[kind] * plane.mean())
                if of_norm[kind]:
                    norm = (plane.square().square().mean() + _TINY).sqrt().sqrt()
                    sums.append(of_norm[kind] * norm)
        return torch.stack(sums).sum()


class Ssimulacra2:
    """SSIMULACRA2 against one original, from the second scale on."""

    def __init__(self, original: torch.Tensor) -> None:
        """Take the original, float RGB [3, H, W] in 0..255, of any size."""
        self._scales = [self._scale(number, light) for number, light in _scales(original)]

    @staticmethod
    def _scale(number: int, light: torch.Tensor) -> _Scale:
        planes = _opponent(light, list(_WEIGHTS[number]))
        mean, square = _blurred(torch.cat([planes, planes.square()], 1)).chunk(2, 1)
        return _Scale(number, light, planes, mean, square - mean.square())

    def score(self, decoded: torch.Tensor) -> float:
        """Return the score of a decoded picture, as the original is: 100 where they are equal.

        A picture with a side below 15 pixels has no scale, and always this score.
        """
        pairs = zip(self._scales, _scales(decoded), strict=True)
        total = _TOTAL * sum(float(scale.distance(light)) for scale, (_, light) in pairs)
        cubic = sum(factor * total**power for power, factor in enumerate(_CUBIC, 1))
        return 100.0 - 10.0 * max(cubic, 0.0) ** _POWER

    @torch.inference_mode(False)
    @torch.enable_grad()
    def sensitivity(self, decoded: torch.Tensor) -> torch.Tensor:
        """Return how much the weighted sum grows when the error at a position grows e-fold.

        float32 [h, w], one for each 16 x 16 pixels, in units of the sum; by the gradient. What a
        position adds is at least 0: more error does not count as better.
        """
        height, width = (-(-side // BLOCK) for side in decoded.shape[-2:])
        total = torch.zeros(height, width, device=decoded.device)
        for scale, (number, light) in zip(self._scales, _scales(decoded), strict=True):
            seen = light.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(scale.recorded().distance(seen), seen)
            grown = (gradient * (light - scale.light)).sum(1)
            side = BLOCK >> number
            missing = (0, width * side - grown.shape[-1], 0, height * side - grown.shape[-2])
            total += functional.avg_pool2d(
                functional.pad(grown, missing), side, divisor_override=1
            )[0]
        return total.clamp_(min=0)


def _scales(pixels: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the scales that count, finest first: number, and linear light float32 [1, 3, h, w]."""
    gamma = pixels[None].float() / 255
    curved = ((gamma.clamp(min=0.04) + 0.055) / 1.055) ** 2.4
    light = torch.where(gamma <= 0.04045, gamma / 12.92, curved)
    for number in range(1, max(_WEIGHTS) + 1):
        light = functional.avg_pool2d(light, 2, ceil_mode=True, count_include_pad=False)
        if min(light.shape[-2:]) < SMALLEST_SIDE:
            return
        yield number, light


def _opponent(light: torch.Tensor, planes: list[int]) -> torch.Tensor:
    """Return some planes of positive XYB of linear light, float32 [1, P, h, w]."""
    mixed = torch.einsum("ij,njhw->nihw", light.new_tensor(_ABSORBANCE), light) + _BIAS
    long, middle, short = (mixed ** (1 / 3) - _BIAS ** (1 / 3)).unbind(1)
    lightness = (long + middle) / 2
    made = {
        _X: lambda: (long - middle) * 7 + 0.42,
        _Y: lambda: lightness + 0.01,
        _B: lambda: short - lightness + 0.55,
    }
    return torch.stack([made[plane]() for plane in planes], 1)


def _blurred(planes: torch.Tensor) -> torch.Tensor:
    """Return Gaussian means [1, P, h, w] around each pixel."""
    count, reach = planes.shape[1], _TAPS // 2
    at = torch.arange(-reach, reach + 1, dtype=torch.float64)
    taps = torch.exp(-at.square() / (2 * _SIGMA**2))
    taps = (taps / taps.sum()).to(planes)
    above, below = planes[:, :, :reach].flip(2), planes[:, :, -reach:].flip(2)
    planes = functional.pad(torch.cat([above, planes, below], 2), (reach, reach))
    down = taps.reshape(1, 1, -1, 1).repeat(count, 1, 1, 1)
    planes = functional.conv2d(planes, down, groups=count)
    return functional.conv2d(planes, down.transpose(2, 3), groups=count)
