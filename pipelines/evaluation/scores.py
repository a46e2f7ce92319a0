"""Scores of a decoded picture against its original, by their names on the command line.

Higher is better for each. The score of a corpus is the mean over pictures, as is usual in the
literature on learned codecs; MS-SSIM is averaged first and then converted to decibels.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from underpaint.codec.errors import UsageError
from underpaint.codec.metrics import ms_ssim_decibels, ms_ssim_of_pictures, psnr
from underpaint.codec.storage.extras import install_hint

PSNR_OF_EQUAL_PICTURES = 100.0
"""PSNR of equal pictures in dB, in place of infinity, so that means are finite."""

SMALLEST_SIDE = 8
"""Least side in pixels: SSIMULACRA2 needs at least one scale."""


@dataclass(frozen=True)
class Score:
    """A measure of a decoded picture against its original."""

    name: str
    label: str
    """Axis label with its unit."""
    digits: int
    """Digits after the decimal point in tables."""
    of_pictures: Callable[[np.ndarray, np.ndarray], float]
    """Maps original and decoded picture, uint8 [H, W, 3], to the score."""
    for_curves: Callable[[float], float]
    """Maps the score to the scale on which curves are drawn and integrated."""


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
    """Return SSIMULACRA2 (Cloudinary, 2022): about 90 for no visible loss, 30 for low quality.

    Its weights are made for six scales. A photo with a side below 256 pixels has fewer, so that its
    score compares only with scores of the same photo, as in the original implementation. The
    package reads files; a PPM in memory is lossless.
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
    """Return each score once, in the given order; raises UsageError for an unknown one."""
    for name in names:
        if name not in SCORES:
            raise UsageError(f"no metric {name!r}; there are {', '.join(SCORES)}")
        if name == "ssimulacra2":
            try:
                import ssimulacra2  # noqa: F401
            except ImportError as error:
                raise UsageError(f"{name} needs {install_hint('evaluate')}") from error
    return [SCORES[name] for name in dict.fromkeys(names)]
