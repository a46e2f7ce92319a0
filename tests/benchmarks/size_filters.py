"""Fits the filter that turns low bands into small pictures, from photos.

python -m tests.benchmarks.size_filters PHOTOS...

Prints, for each level, the coefficients of `codec.transform.resampling.NEAR_AND_FAR`, how far those
in the code are from them, and PSNRs over all places between two samples.

The weight of a sample is a cubic polynomial of its distance d in samples for 0 <= d < 1, and
another one of d - 1 for 1 <= d < 2: 8 coefficients a level. Along each axis of each photo, in grey,
the low band of level l is computed along this axis alone. The target is the photo scaled along the
axis by 1 / 2**l, the mean of Pillow's Lanczos and bicubic filters, at one of `PLACES` offsets: each
pixel then lies at the same fraction between two samples. The pixel is modelled by the four samples
around it, so a target is linear in the coefficients. The least-squares solution over all photos,
axes and offsets follows from the sums of products of samples and targets. Pixels near the ends are
left out, where the extension of the wavelet and of the filters differ.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from underpaint.codec.errors import UnderpaintError
from underpaint.codec.training.photos import find_photos, load_photos
from underpaint.codec.transform.resampling import NEAR_AND_FAR, TAPS
from underpaint.codec.transform.subbands import DYADIC_LEVELS
from underpaint.codec.transform.wavelet import analyse

PLACES = 16
"""Offsets of a pixel between two samples."""

END = 6
"""Pixels at each end of a row that are left out."""

COEFFICIENTS = 4
"""Coefficients of a cubic polynomial."""

MOST_SIDES = 512, 1024
"""Most rows and columns of a photo that are used."""

FILTERS = Image.Resampling.LANCZOS, Image.Resampling.BICUBIC


@dataclass(frozen=True)
class Products:
    """Sums over the pixels at one offset: of samples by samples [4, 4], of samples by targets [4],
    of squared targets, and the number of pixels."""

    samples: np.ndarray
    targets: np.ndarray
    energy: float
    count: int

    def psnr(self, weights: np.ndarray) -> float:
        """Return the PSNR in dB of the targets modelled by the weights of the four samples."""
        error = weights @ self.samples @ weights - 2 * weights @ self.targets + self.energy
        return float(10 * np.log10(255**2 * self.count / error))


def fit(photos: Sequence[np.ndarray], level: int) -> tuple[np.ndarray, list[Products]]:
    """Return the coefficients of a level, float64 [2, 4], and the products at each offset.

    `photos` are float32 [H, W] in 0..255, with sides that are multiples of 2**level.
    """
    products = [_products(photos, level, place / PLACES) for place in range(PLACES)]
    normal = np.zeros((2 * COEFFICIENTS, 2 * COEFFICIENTS))
    moments = np.zeros(2 * COEFFICIENTS)
    for place, sums in enumerate(products):
        powers = tap_powers(place / PLACES)
        normal += powers.T @ sums.samples @ powers
        moments += powers.T @ sums.targets
    solution = np.linalg.lstsq(normal, moments, rcond=None)[0]
    return solution.reshape(2, COEFFICIENTS), products


def tap_powers(place: float) -> np.ndarray:
    """Return what each coefficient adds to the weight of each sample, float64 [4, 8].

    `place` is the pixel's distance from the second of its four samples, 0 to 1.
    """
    powers = np.zeros((TAPS, 2, COEFFICIENTS))
    for tap, distance in enumerate(np.abs(place - np.arange(-1, TAPS - 1))):
        if distance < 2:
            powers[tap, int(distance)] = (distance % 1) ** np.arange(COEFFICIENTS)
    return powers.reshape(TAPS, -1)


def _products(photos: Sequence[np.ndarray], level: int, place: float) -> Products:
    """Sum up both axes of photos; `place` as in `tap_powers`."""
    samples, targets = np.zeros((TAPS, TAPS)), np.zeros(TAPS)
    energy, count = 0.0, 0
    for rows in _both_axes(photos, level):
        low = _low_band(rows, level)
        pixels = low.shape[1] - 2 * END
        target = _scaled(rows, level, place, pixels)
        taps = range(END - 1, END - 1 + TAPS)
        around = np.stack([low[:, tap : tap + pixels].ravel() for tap in taps])
        samples += around @ around.T
        targets += around @ target.ravel()
        energy += float(np.square(target).sum())
        count += target.size
    return Products(samples, targets, energy, count)


def _both_axes(photos: Sequence[np.ndarray], level: int) -> Iterator[np.ndarray]:
    for photo in photos:
        for rows in (photo, np.ascontiguousarray(photo.T)):
            if rows.shape[1] >> level >= 3 * END:
                yield rows


def _low_band(rows: np.ndarray, level: int) -> np.ndarray:
    """Return the low band along rows alone, in units of pixels, float64 [H, W / 2**level]."""
    low = analyse(torch.from_numpy(rows)[:, None], level)[-1][:, 0]
    return low.double().numpy() / 2 ** (level / 2)


def _scaled(rows: np.ndarray, level: int, place: float, pixels: int) -> np.ndarray:
    """Scale rows so that pixel i lies at sample `END` + i + `place`, float64 [H, pixels]."""
    step = 1 << level
    left = END * step + step * place - (step - 1) / 2
    box = (left, 0, left + pixels * step, rows.shape[0])
    size = pixels, rows.shape[0]
    image = Image.fromarray(rows)
    scaled = [np.asarray(image.resize(size, kind, box=box), np.float64) for kind in FILTERS]
    return np.mean(scaled, 0)


def _grey_photos(folders: Sequence[str], most: int) -> Iterator[np.ndarray]:
    """Yield photos in grey, float32 [H, W], cropped to whole positions."""
    paths = find_photos(folders)
    order = np.random.default_rng(0).permutation(len(paths))[:most]
    for photo in load_photos([paths[number] for number in order]):
        grey = np.asarray(Image.fromarray(photo).convert("L"), np.float32)
        height, width = (min(n // 64 * 64, m) for n, m in zip(grey.shape, MOST_SIDES, strict=True))
        if min(height, width) >= 2 * 64:
            yield np.ascontiguousarray(grey[:height, :width])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the fit; 0, or 2 after a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.size_filters", description=__doc__.splitlines()[0]
    )
    parser.add_argument("photos", nargs="+", help="photos to fit to")
    parser.add_argument("--most", type=int, default=40, help="number of photos (default: 40)")
    chosen = parser.parse_args(arguments)
    try:
        photos = list(_grey_photos(chosen.photos, chosen.most))
    except UnderpaintError as error:
        print(f"size_filters: {error}", file=sys.stderr)
        return 2
    print(f"{len(photos)} photos")
    for level in range(1, DYADIC_LEVELS + 1):
        fitted, products = fit(photos, level)
        known = NEAR_AND_FAR[level - 1]
        print(f"level {level}: {fitted.round(4).tolist()}")
        print(f"  in the code, at most {np.abs(fitted - known).max():.4f} from it")
        for name, coefficients in (("fitted", fitted), ("in the code", known)):
            print(f"  {name}: {_mean_psnr(coefficients, products):.2f} dB")
        best = np.mean(
            [sums.psnr(np.linalg.solve(sums.samples, sums.targets)) for sums in products]
        )
        print(f"  free weights at each offset: {best:.2f} dB")
    return 0


def _mean_psnr(coefficients: np.ndarray, products: Sequence[Products]) -> float:
    """Return the mean over all offsets, with weights whose sum is 1."""
    found = []
    for place, sums in enumerate(products):
        weights = tap_powers(place / PLACES) @ coefficients.ravel()
        found.append(sums.psnr(weights / weights.sum()))
    return float(np.mean(found))


if __name__ == "__main__":
    sys.exit(main())
