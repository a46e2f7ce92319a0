"""Peaks of a picture's finest indices: they tell an encoder which bands and blocks stay zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from underpaint.codec.runtime.jit import kernel, unsigned
from underpaint.codec.transform.subbands import (
    BANDS,
    BLOCK_SIDE,
    FIRST_BAND,
    HEIGHT,
    OFFSET,
    ORIENTATIONS,
    STRIDE,
    Geometry,
    extent,
    view,
)


@dataclass(frozen=True)
class Peaks:
    """Largest |q| of each band, int64 [BANDS], and of each flagged block, int32 [block_size].

    The bands of a level with flags share the largest value of the three orientations.
    """

    bands: np.ndarray
    blocks: np.ndarray


NO_PEAKS = Peaks(np.zeros(BANDS, np.int64), np.zeros(0, np.int32))
"""What a decoder passes: it reads none."""


def find_peaks(q: np.ndarray, layout: Geometry) -> Peaks:
    """Return the peaks of finest indices, int16 [size]."""
    peaks = Peaks(np.zeros(BANDS, np.int64), np.zeros(layout.block_size, np.int32))
    _find_block_peaks(q, layout.bands, layout.blocks, peaks.blocks)
    for group in layout.blocks.tolist():
        first, band = group[OFFSET], group[FIRST_BAND]
        blocks = peaks.blocks[first : first + group[HEIGHT] * group[STRIDE]]
        peaks.bands[band : band + ORIENTATIONS] = blocks.max(initial=0)
    for band in range(int(layout.blocks[0, FIRST_BAND])):
        values = view(q, layout, band)
        if values.size:
            peaks.bands[band] = max(int(values.max()), -int(values.min()))
    return peaks


@kernel()
def _find_block_peaks(q, bands, blocks, peaks):
    """Write the largest |q| of each flagged block, over the three orientations, to `peaks`."""
    for group in range(len(blocks)):
        first_block, across = blocks[group, OFFSET], blocks[group, STRIDE]
        for orientation in range(ORIENTATIONS):
            first, height, width, stride = extent(bands, blocks[group, FIRST_BAND] + orientation)
            for y in range(height):
                row_of_blocks, row = first_block + (y >> 2) * across, first + y * stride
                for block in range(width >> 2):
                    at = row + (block << 2)
                    peak = np.int32(peaks[unsigned(row_of_blocks + block)])
                    for x in range(at, at + BLOCK_SIDE):
                        peak = max(peak, np.int32(abs(np.int32(q[unsigned(x)]))))
                    peaks[unsigned(row_of_blocks + block)] = peak
                for x in range(width & -BLOCK_SIDE, width):
                    at = row_of_blocks + (x >> 2)
                    peaks[at] = max(peaks[at], abs(np.int32(q[row + x])))
