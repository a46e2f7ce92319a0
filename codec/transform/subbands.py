"""Memory layout of the subbands of a picture: one flat array that coder and backends share.

A picture of any size is padded to whole blocks of 16 x 16 pixels, so levels 1 to 4 halve exactly.
Bands are stored in coding order: the low bands, then level 6 to level 1; within a level the three
components; within a component the three orientations.

Kernels receive the layout as two integer tables, one row for each band and one for each group of
block flags. The constants below name their columns: `bands[band, OFFSET]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from underpaint.codec.runtime.jit import kernel
from underpaint.codec.transform.levels import DYADIC_LEVELS as DYADIC_LEVELS

BLOCK = 16
"""Pixels a side of one latent position: pictures are padded to a multiple of it."""

LEVELS = 6
"""All levels: the last two split the low band at 1/16 resolution further."""

ORIENTATIONS = 3
"""Detail bands a level: high along x, high along y, high along both."""

COMPONENTS = 3
"""Colour components: lightness and two of chroma."""

MARGIN = 2
"""Zeros around each band, so that neighbours need no bounds check."""

BANDS = COMPONENTS * (1 + ORIENTATIONS * LEVELS)
"""Bands of a picture: three low bands, then three orientations of three components a level."""

FLAGGED_LEVELS = 4
"""The finest levels, 1 to 4, are coded in blocks with flags."""

FLAG_GROUPS = FLAGGED_LEVELS * COMPONENTS
BLOCK_SIDE = 4
"""Coefficients a side of a flagged block, in each of the three orientations."""

OFFSET, HEIGHT, WIDTH, STRIDE, LEVEL, COMPONENT = range(6)
"""Columns of both tables: index of the first sample in the flat array, rows, columns, distance of
two rows in the flat array, wavelet level (0 for the low band), colour component."""

ORIENTATION, PARENT, SIBLING_1, SIBLING_2, LIGHTNESS, OTHER_CHROMA = range(6, 12)
"""Further columns of the table of bands: the orientation, then the rows of related bands, -1 where
there is none: same component and orientation one level coarser; the other orientations coded before
it; same orientation in lightness, and in the first chroma component."""

COARSER_GROUP, FIRST_BAND = range(6, 8)
"""Further columns of the table of block flags: the group of the same component one level coarser
(-1 where there is none), and the first of the three bands whose blocks the flags describe."""

BAND_COLUMNS, GROUP_COLUMNS = 12, 8


@dataclass(frozen=True)
class Geometry:
    """Where each band of a padded picture lies in one flat array, and which bands are related.

    height, width  sides of the picture in pixels, without padding
    bands          int64 [BANDS, BAND_COLUMNS], columns `OFFSET` to `OTHER_CHROMA`
    blocks         int64 [FLAG_GROUPS, GROUP_COLUMNS]: the maps of block flags, one for each flagged
                   level and component; columns `OFFSET` to `COMPONENT`, `COARSER_GROUP` and
                   `FIRST_BAND`
    size           length of the flat array of coefficients, margins included
    block_size     length of the flat array of block flags
    """

    height: int
    width: int
    bands: np.ndarray
    blocks: np.ndarray
    size: int
    block_size: int

    @cached_property
    def positions(self) -> tuple[int, int]:
        """Rows and columns of latent positions."""
        return -(-self.height // BLOCK), -(-self.width // BLOCK)

    def sizes_from(self, finest: int) -> tuple[int, int]:
        """Return how much of both flat arrays the levels from `finest`, 1 to 6, on take: a
        beginning.
        """
        return self._sizes_from[finest - 1]

    @cached_property
    def _sizes_from(self) -> list[tuple[int, int]]:
        sizes = [(self.size, self.block_size)]
        for finest in range(2, LEVELS + 1):
            row = self.bands[bands_end(finest)]  # the first band that is left out
            size = row[OFFSET] - MARGIN * (row[STRIDE] + 1)
            group = self.blocks[flag_groups(finest)]
            sizes.append((int(size), int(group[OFFSET] - group[STRIDE] - 1)))
        return sizes

    @property
    def coefficients(self) -> int:
        """Number of coefficients of the padded picture."""
        return int((self.bands[:, HEIGHT] * self.bands[:, WIDTH]).sum())

    @property
    def most_symbols(self) -> int:
        """Most symbols that one step may code, but for signs and all but the first of a cell."""
        return self.coefficients + self.block_size + BANDS


def band_index(level: int, component: int, orientation: int) -> int:
    """Return the row of a band in coding order; level 0 is the low band."""
    if level == 0:
        return component
    return COMPONENTS + ORIENTATIONS * (COMPONENTS * (LEVELS - level) + component) + orientation


def bands_end(finest: int) -> int:
    """Return the number of bands, in coding order, from the low band to level `finest`, 1 to 6."""
    return COMPONENTS + ORIENTATIONS * COMPONENTS * (LEVELS + 1 - finest)


def flag_groups(finest: int) -> int:
    """Return the number of groups of block flags from level 4 to level `finest`, 1 to 6."""
    return COMPONENTS * max(FLAGGED_LEVELS + 1 - finest, 0)


@lru_cache(maxsize=1024)
def geometry(height: int, width: int) -> Geometry:
    """Lay out the bands of a picture of `height` x `width` pixels, padded to whole blocks.

    A corpus of photos has hundreds of sizes: layouts are kept, 6 KB for each padded size.
    """
    return Geometry(height, width, *_layout(-(-height // BLOCK), -(-width // BLOCK)))


@lru_cache(maxsize=1024)
def _layout(block_rows: int, block_columns: int) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Return `bands`, `blocks`, `size` and `block_size` for so many blocks of 16 x 16 pixels."""
    padded = [block_rows * BLOCK, block_columns * BLOCK]
    shapes: dict[int, tuple[tuple[int, int], ...]] = {}
    rows, columns = padded
    for level in range(1, LEVELS + 1):
        high_rows, high_columns = rows // 2, columns // 2
        rows, columns = rows - high_rows, columns - high_columns
        shapes[level] = ((rows, high_columns), (high_rows, columns), (high_rows, high_columns))
    bands = np.full((BANDS, BAND_COLUMNS), -1, np.int64)
    offset = 0

    def place(
        index: int, shape: tuple[int, int], level: int, component: int, orientation: int
    ) -> None:
        nonlocal offset
        stride = shape[1] + 2 * MARGIN
        first = offset + MARGIN * stride + MARGIN
        bands[index, : ORIENTATION + 1] = first, *shape, stride, level, component, orientation
        if component:
            bands[index, LIGHTNESS] = band_index(level, 0, orientation)
        if component == 2:
            bands[index, OTHER_CHROMA] = band_index(level, 1, orientation)
        offset += stride * (shape[0] + 2 * MARGIN)

    for component in range(COMPONENTS):
        place(component, (rows, columns), 0, component, 0)
    for level in range(LEVELS, 0, -1):
        for component in range(COMPONENTS):
            for orientation in range(ORIENTATIONS):
                index = band_index(level, component, orientation)
                place(index, shapes[level][orientation], level, component, orientation)
                if level < LEVELS:
                    bands[index, PARENT] = band_index(level + 1, component, orientation)
                if orientation > 0:
                    bands[index, SIBLING_1] = index - 1
                if orientation > 1:
                    bands[index, SIBLING_2] = index - 2
    blocks = np.full((FLAG_GROUPS, GROUP_COLUMNS), -1, np.int64)
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
    return geometry(BLOCK, BLOCK).bands[:, LEVEL : COMPONENT + 1]


@kernel(forceinline=True)
def first_band(level, component):
    """Return the row of the first of the three bands of a level and component, in a kernel."""
    return COMPONENTS + ORIENTATIONS * (COMPONENTS * (LEVELS - level) + component)


@kernel(forceinline=True)
def extent(table, row):
    """Return offset, height, width and stride of a row of either table, inside a kernel."""
    return table[row, OFFSET], table[row, HEIGHT], table[row, WIDTH], table[row, STRIDE]


def view(flat: np.ndarray, layout: Geometry, band: int) -> np.ndarray:
    """Return band `band` of the flat array as a view [height, width] without its margin."""
    offset, height, width, stride = layout.bands[band, : STRIDE + 1]
    strides = (int(stride) * flat.itemsize, flat.itemsize)
    return np.lib.stride_tricks.as_strided(flat[offset:], (height, width), strides)
