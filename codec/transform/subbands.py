"""How the bands of a picture lie in memory: one flat array that the walks of the coder share.

A picture of any size is padded to whole blocks of 16 x 16 pixels, so levels 1 to 4 halve exactly.
Bands are ordered as they are walked: low bands, then level 6 to level 1, within a level the
three components, within a component the three orientations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from underpaint.codec.transform.wavelet import BLOCK, LEVELS, ORIENTATIONS

COMPONENTS = 3
MARGIN = 2
"""Zeros around each band, so that neighbours need no bounds check."""

BANDS = COMPONENTS * (1 + ORIENTATIONS * LEVELS)
"""Bands of a picture: three low bands, then three orientations of three components a level."""

FLAGGED_LEVELS = 4
"""The finest levels, 1 to 4, are walked by blocks with flags."""

FLAG_GROUPS = FLAGGED_LEVELS * COMPONENTS
BLOCK_SIDE = 4
"""Coefficients a side of a flagged block, in each of the three orientations."""


@dataclass(frozen=True)
class Geometry:
    """Where each band of a padded picture lies in one flat array, with its relatives.

    `bands` int64 [BANDS, 12]: offset of its first sample, height, width, stride, level (0 for the
    low band), component, orientation, and the indices of its parent (coarser level), the two
    siblings and the two lighter components of its level, or -1.
    `blocks` int64 [FLAG_GROUPS, 8]: the same for the maps of block flags: offset, height, width,
    stride, level, component, index of the group of the next coarser level, first band.
    """

    height: int
    width: int
    bands: np.ndarray
    blocks: np.ndarray
    size: int
    block_size: int

    @property
    def positions(self) -> tuple[int, int]:
        """Rows and columns of latent positions."""
        return -(-self.height // BLOCK), -(-self.width // BLOCK)

    @property
    def coefficients(self) -> int:
        """Number of coefficients of the padded picture."""
        return int((self.bands[:, 1] * self.bands[:, 2]).sum())

    @property
    def most_symbols(self) -> int:
        """Most symbols that one step may code, but for signs and all but the first of a cell."""
        return self.coefficients + self.block_size + BANDS


def band_index(level: int, component: int, orientation: int) -> int:
    """Return the place of a band in walking order; level 0 is the low band."""
    if level == 0:
        return component
    return COMPONENTS + ORIENTATIONS * (COMPONENTS * (LEVELS - level) + component) + orientation


def geometry(height: int, width: int) -> Geometry:
    """Lay out the bands of a picture of `height` x `width` pixels, padded to whole blocks."""
    return Geometry(height, width, *_layout(-(-height // BLOCK), -(-width // BLOCK)))


@lru_cache(maxsize=1024)
def _layout(block_rows: int, block_columns: int) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Return `bands`, `blocks`, `size` and `block_size` for so many blocks of 16 x 16 pixels.

    A corpus of photos has hundreds of sizes; what is kept of one takes 6 KB.
    """
    padded = [block_rows * BLOCK, block_columns * BLOCK]
    shapes: dict[int, tuple[tuple[int, int], ...]] = {}
    rows, columns = padded
    for level in range(1, LEVELS + 1):
        high_rows, high_columns = rows // 2, columns // 2
        rows, columns = rows - high_rows, columns - high_columns
        shapes[level] = ((rows, high_columns), (high_rows, columns), (high_rows, high_columns))
    bands = np.full((BANDS, 12), -1, np.int64)
    offset = 0

    def place(index: int, shape: tuple[int, int], level: int, component: int, way: int) -> None:
        nonlocal offset
        stride = shape[1] + 2 * MARGIN
        bands[index, :7] = (
            offset + MARGIN * stride + MARGIN,
            *shape,
            stride,
            level,
            component,
            way,
        )
        offset += stride * (shape[0] + 2 * MARGIN)

    for component in range(COMPONENTS):
        place(component, (rows, columns), 0, component, 0)
        if component:
            bands[component, 10] = 0
        if component == 2:
            bands[component, 11] = 1
    for level in range(LEVELS, 0, -1):
        for component in range(COMPONENTS):
            for way in range(ORIENTATIONS):
                index = band_index(level, component, way)
                place(index, shapes[level][way], level, component, way)
                if level < LEVELS:
                    bands[index, 7] = band_index(level + 1, component, way)
                bands[index, 8 : 8 + way] = [index - 1 - other for other in range(way)]
                if component:
                    bands[index, 10] = band_index(level, 0, way)
                if component == 2:
                    bands[index, 11] = band_index(level, 1, way)
    blocks = np.full((FLAG_GROUPS, 8), -1, np.int64)
    block_offset = 0
    for level in range(FLAGGED_LEVELS, 0, -1):
        for component in range(COMPONENTS):
            group = COMPONENTS * (FLAGGED_LEVELS - level) + component
            high, wide = (-(-side // (BLOCK_SIDE << level)) for side in padded)
            stride = wide + 2
            coarser = group - COMPONENTS if level < FLAGGED_LEVELS else -1
            blocks[group] = (
                block_offset + stride + 1, high, wide, stride, level, component, coarser,
                band_index(level, component, 0),
            )  # fmt: skip
            block_offset += stride * (high + 2)
    return bands, blocks, offset, block_offset


def band_levels() -> np.ndarray:
    """Return level (0 the low band) and component of each band, int64 [BANDS, 2]."""
    return geometry(BLOCK, BLOCK).bands[:, 4:6]


def view(flat: np.ndarray, layout: Geometry, band: int) -> np.ndarray:
    """Return band `band` of the flat array as a view [height, width] without its margin."""
    offset, height, width, stride = layout.bands[band, :4]
    strides = (int(stride) * flat.itemsize, flat.itemsize)
    return np.lib.stride_tricks.as_strided(flat[offset:], (height, width), strides)
