"""States straight to latents, in one compiled call a picture.

What `latent` and `wavelet` do for whole batches of pictures of one size on any device is done here
for one picture of any size on a CPU, to the same bits: training jobs read little more than this.
"""

from __future__ import annotations

import numpy as np

from underpaint.codec.runtime.jit import kernel
from underpaint.codec.transform.colour_rotation import FIRST_TURNED, Turn, matrix_back, mix_in_place
from underpaint.codec.transform.lifting import join_plane
from underpaint.codec.transform.subbands import COMPONENTS, Geometry
from underpaint.codec.transform.wavelet import DYADIC_LEVELS, LEVELS, ORIENTATIONS

_FIXED = np.empty((0, 0), np.float32)
"""Stands for the matrix that takes colours back where none have turned."""


def fold(
    cell: np.ndarray,
    layout: Geometry,
    places: np.ndarray,
    steps: np.ndarray,
    masks: np.ndarray,
    levels: int,
    turn: Turn,
) -> np.ndarray:
    """Return the expected coefficients of a picture, folded to one position: float32 [C, h, w].

    cell    int16 [size], signed cell indices as the walk leaves them
    places  float32 [LEVELS + 1, 2, 2 * reach + 1], place of each cell from -reach to reach, by
            level, lightness or chroma: see `latent.place_table`
    steps   float32 [BANDS]; masks float32 [h, w], factor on the steps of the dyadic levels
    levels  dyadic levels beside the low band: C is 3 * 4 ** levels
    turn    of the picture's colours, which is undone
    """
    folded = np.zeros((COMPONENTS << 2 * levels, *layout.positions), np.float32)
    fold_low(cell, layout, places, steps, folded)
    back = _FIXED
    if any(turn):
        back = matrix_back(turn)
        mix_in_place(folded[:COMPONENTS], back)
    for level in range(DYADIC_LEVELS, DYADIC_LEVELS - levels, -1):
        if level < FIRST_TURNED:
            back = _FIXED
        _fold_level(cell, layout.bands, level, places[level], steps, masks, back, folded)
    return folded


def fold_low(
    cell: np.ndarray, layout: Geometry, places: np.ndarray, steps: np.ndarray, folded: np.ndarray
) -> None:
    """Write the low band of a picture at one sample a position to float32 [3 or more, h, w]."""
    rows, columns = layout.positions
    room = np.empty(5 * rows * columns + 64, np.float32)
    work = np.empty((2, columns + 4), np.float32)
    _fold_low(cell, layout.bands, places, steps, room, work[0], work[1], folded)


@kernel()
def _fold_level(cell, bands, level, places, steps, masks, back, folded):
    """Write the channels of one level: those of one band and one place within a position together.

    Cells of zero are left out: their place is zero, as `folded` is. Where colours have turned, each
    coefficient goes to all three components, by its column of `back`, float32 [3, 3]; else that is
    empty.
    """
    shift = DYADIC_LEVELS - level
    side = 1 << shift
    reach = places.shape[1] >> 1
    for component in range(COMPONENTS):
        table = places[min(component, 1)]
        for way in range(ORIENTATIONS):
            band = COMPONENTS + ORIENTATIONS * (COMPONENTS * (LEVELS - level) + component) + way
            first = (COMPONENTS + COMPONENTS * way) * side * side
            offset, height, width, stride = bands[band, :4]
            step = steps[band]
            for y in range(height):
                start = offset + y * stride
                for x in range(width):
                    index = cell[np.uint64(start + x)]
                    if index != 0:
                        within = (y & (side - 1)) * side + (x & (side - 1))
                        scaled = step * masks[y >> shift, x >> shift]
                        value = table[index + reach] * scaled
                        channel = first + within
                        if back.size:
                            for other in range(COMPONENTS):
                                folded[channel, y >> shift, x >> shift] += (
                                    back[other, component] * value
                                )
                                channel += side * side
                        else:
                            channel += component * side * side
                            folded[channel, y >> shift, x >> shift] = value


@kernel()
def _fold_low(cell, bands, places, steps, room, even, odd, folded):
    """Write the three channels of the low band, joined with the two levels below a position."""
    for component in range(COMPONENTS):
        low, used = _plane(cell, bands, component, places[0], steps, room, 0, component)
        for level in range(LEVELS, DYADIC_LEVELS, -1):
            first = COMPONENTS + ORIENTATIONS * (COMPONENTS * (LEVELS - level) + component)
            across, used = _plane(cell, bands, first, places[level], steps, room, used, component)
            down, used = _plane(cell, bands, first + 1, places[level], steps, room, used, component)
            both, used = _plane(cell, bands, first + 2, places[level], steps, room, used, component)
            if level == DYADIC_LEVELS + 1:
                joined = folded[component]
            else:
                high, wide = low.shape[0] + down.shape[0], low.shape[1] + across.shape[1]
                joined = room[used : used + high * wide].reshape((high, wide))
                used += high * wide
            join_plane(low, across, down, both, joined, even, odd)
            low = joined


@kernel()
def _plane(cell, bands, band, places, steps, room, used, component):
    """Dequantise one band into `room` from `used` on; return it and what is used then."""
    offset, height, width, stride = bands[band, :4]
    plane = room[used : used + height * width].reshape((height, width))
    table = places[min(component, 1)]
    reach = table.size >> 1
    for y in range(height):
        for x in range(width):
            plane[y, x] = table[cell[offset + y * stride + x] + reach] * steps[band]
    return plane, used + height * width


@kernel()
def _embed(classes, table, embedded):
    """Write the row of a table [classes, E] that each position's class has to [E, h, w]."""
    for e in range(embedded.shape[0]):
        for y in range(embedded.shape[1]):
            for x in range(embedded.shape[2]):
                embedded[e, y, x] = table[classes[y, x], e]


def embed(classes: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return what a table float32 [classes, E] holds for classes int16 [h, w]: [E, h, w]."""
    embedded = np.empty((table.shape[1], *classes.shape), np.float32)
    _embed(classes, table, embedded)
    return embedded
