"""The scores a decoded picture gets against its original, by the names of the command line.

Each is higher for better. A corpus figure is the mean of the per-image figures, which is what the
literature on learned codecs plots; MS-SSIM is averaged as it is and only then put in decibels.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from underpaint.codec.errors import UsageError
from underpaint.codec.metrics import ms_ssim_decibels, ms_ssim_of_pictures, psnr

PSNR_OF_EQUAL_PICTURES = 100.0
"""Stands in for infinity, in dB, so that a mean over pictures exists."""

SMALLEST_SIDE = 8
"""Below this many pixels a side SSIMULACRA2 has no scale to look at."""


@dataclass(frozen=True)
class Score:
    """One way to compare a decoded picture with its original."""

    name: str
    label: str
    """Axis label with its unit."""
    digits: int
    """Digits after the point that are worth printing."""
    of_pictures: Callable[[np.ndarray, np.ndarray], float]
    """Original and decoded, uint8 [H, W, 3] each, to a figure that is higher for better."""
    for_curves: Callable[[float], float]
    """The figure on the scale on which curves are drawn and integrated."""


def _same(value: float) -> float:
    return value


def _psnr(original: np.ndarray, decoded: np.ndarray) -> float:
    return min(psnr(original, decoded), PSNR_OF_EQUAL_PICTURES)


def _as_file(pixels: np.ndarray) -> io.BytesIO:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PPM")
    buffer.seek(0)
    return buffer


def _ssimulacra2(original: np.ndarray, decoded: np.ndarray) -> float:
    """SSIMULACRA2 (Cloudinary, 2022), about 90 for no visible loss, 30 for low quality.

    Its weights are meant for six scales; a photo whose smaller side is under 256 px has fewer, and
    the weights then fall on other terms (as in the original), so its figure stands only beside
    others of the same photo. The package reads files; a PPM in memory is one without loss.
    """
    import ssimulacra2

    return float(ssimulacra2.compute_ssimulacra2(_as_file(original), _as_file(decoded)))


SCORES = {
    score.name: score
    for score in (
        Score("psnr", "PSNR, dB", 2, _psnr, _same),
        Score("ms-ssim", "MS-SSIM, dB", 4, ms_ssim_of_pictures, ms_ssim_decibels),
        Score("ssimulacra2", "SSIMULACRA2", 1, _ssimulacra2, _same),
    )
}


def scores_named(names: Sequence[str]) -> list[Score]:
    """Each score once, in the order asked for. Raises UsageError where one is unknown or absent."""
    for name in names:
        if name not in SCORES:
            raise UsageError(f"no metric {name!r}; there are {', '.join(SCORES)}")
        if name == "ssimulacra2":
            try:
                import ssimulacra2  # noqa: F401
            except ImportError as error:
                raise UsageError(f"{name} needs pip install 'underpaint[evaluate]'") from error
    return [SCORES[name] for name in dict.fromkeys(names)]
