"""Latents of one picture of any size in compiled loops.

They equal those of tensors to the bit, except for the rounding of predicted details.
"""

from __future__ import annotations

import numpy as np

from underpaint.codec.reconstruct.cpu.state import StateArrays
from underpaint.codec.runtime.jit import kernel
from underpaint.codec.transform.colour_rotation import FINEST_ROTATED, ColourRotation
from underpaint.codec.transform.colours import mix_colours
from underpaint.codec.transform.lifting import HALVES, join_plane
from underpaint.codec.transform.subbands import (
    COMPONENT,
    COMPONENTS,
    DYADIC_LEVELS,
    LEVEL,
    LEVELS,
    ORIENTATIONS,
    extent,
    first_band,
)

_NO_ROTATION = np.empty((0, 0), np.float32)
"""In place of the matrix that undoes a rotation of colours, where there is none."""


def folded_coefficients(state: StateArrays, levels: int, rotation: ColourRotation) -> np.ndarray:
    """Return the expected coefficients of a picture, folded to one position: float32 [C, h, w].

    `levels` dyadic levels beside the low band, 0 to 4: C is 3 * 4 ** levels. `rotation` of the
    picture's colours is undone. Levels that the state does not hold are zero.
    """
    folded = np.zeros((COMPONENTS << 2 * levels, *state.masks.shape), np.float32)
    write_low_band(state, folded)
    back = _NO_ROTATION
    if any(rotation):
        back = rotation.inverse_matrix()
        mix_colours(folded[:COMPONENTS], back, folded[:COMPONENTS])
    for level in range(DYADIC_LEVELS, max(DYADIC_LEVELS - levels, state.finest - 1), -1):
        _fold_level(state, level, back if level >= FINEST_ROTATED else _NO_ROTATION, folded)
    return folded


def add_folded_details(
    details: np.ndarray, level: int, rotation: ColourRotation, folded: np.ndarray
) -> None:
    """Add predicted details of a level, float32 [9, ...] or empty, to folded coefficients."""
    if not details.size:
        return
    side = 1 << (DYADIC_LEVELS - level)
    rows, columns = folded.shape[1:]
    cut = details.reshape(ORIENTATIONS, COMPONENTS, rows, side, columns, side)
    cut = cut.transpose(0, 1, 3, 5, 2, 4)
    if level >= FINEST_ROTATED and any(rotation):
        cut = np.einsum("ij,oj...->oi...", rotation.inverse_matrix(), cut)
    first = COMPONENTS * side * side
    channels = folded[first : first + ORIENTATIONS * COMPONENTS * side * side]
    channels += cut.reshape(channels.shape)


def write_low_band(state: StateArrays, low: np.ndarray) -> None:
    """Write the low band of a picture, one sample a position, to float32 [3 or more, h, w]."""
    rows, columns = state.masks.shape
    planes = np.empty(5 * rows * columns + 64, np.float32)
    halves = np.empty((HALVES, columns + 4), np.float32)
    _join_low_band(state, planes, halves, low)


def embed(class_map: np.ndarray, embedding: np.ndarray) -> np.ndarray:
    """Return the embedding of each position's class, float32 [E, h, w].

    `class_map` int16 [h, w], `embedding` float32 [classes, E].
    """
    embedded = np.empty((embedding.shape[1], *class_map.shape), np.float32)
    _embed(class_map, embedding, embedded)
    return embedded


@kernel()
def _fold_level(state, level, back, folded):
    """Write the channels of one level: by orientation, component, and place within a position.

    Zero cells are skipped: their point is zero, as `folded` is. If `back`, float32 [3, 3], is not
    empty, colours were rotated: each coefficient is added to all three components, by its column.
    """
    shift = DYADIC_LEVELS - level
    side = 1 << shift
    points = state.points[level]
    middle = points.shape[1] >> 1
    for component in range(COMPONENTS):
        table = points[min(component, 1)]
        for orientation in range(ORIENTATIONS):
            band = (
                COMPONENTS
                + ORIENTATIONS * (COMPONENTS * (LEVELS - level) + component)
                + orientation
            )
            first = (COMPONENTS + COMPONENTS * orientation) * side * side
            offset, height, width, stride = extent(state.bands, band)
            step = state.steps[band]
            for y in range(height):
                start = offset + y * stride
                for x in range(width):
                    index = state.cell[np.uint64(start + x)]
                    if index != 0:
                        within = (y & (side - 1)) * side + (x & (side - 1))
                        scaled = step * state.masks[y >> shift, x >> shift]
                        value = table[index + middle] * scaled
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
def _join_low_band(state, planes, halves, low):
    """Write the three components of the low band, joined from the two levels below a position.

    `planes` is scratch memory for all bands of one component, `halves` see `join_plane`.
    """
    for component in range(COMPONENTS):
        joined, used = _dequantise_plane(state, component, planes, 0)
        for level in range(LEVELS, DYADIC_LEVELS, -1):
            first = first_band(level, component)
            across, used = _dequantise_plane(state, first, planes, used)
            down, used = _dequantise_plane(state, first + 1, planes, used)
            both, used = _dequantise_plane(state, first + 2, planes, used)
            coarser = joined
            if level == DYADIC_LEVELS + 1:
                joined = low[component]
            else:
                high, wide = coarser.shape[0] + down.shape[0], coarser.shape[1] + across.shape[1]
                joined = planes[used : used + high * wide].reshape((high, wide))
                used += high * wide
            join_plane(coarser, across, down, both, joined, halves)


@kernel()
def _dequantise_plane(state, band, planes, used):
    """Dequantise one band into `planes` from `used` on; return it and what is used then."""
    offset, height, width, stride = extent(state.bands, band)
    plane = planes[used : used + height * width].reshape((height, width))
    level, component = state.bands[band, LEVEL], state.bands[band, COMPONENT]
    table = state.points[level, min(component, 1)]
    middle = table.size >> 1
    for y in range(height):
        for x in range(width):
            index = state.cell[offset + y * stride + x]
            plane[y, x] = table[index + middle] * state.steps[band]
    return plane, used + height * width


@kernel()
def _embed(class_map, embedding, embedded):
    """Write each position's row of a table [classes, E] to [E, h, w]."""
    for e in range(embedded.shape[0]):
        for y in range(embedded.shape[1]):
            for x in range(embedded.shape[2]):
                embedded[e, y, x] = embedding[class_map[y, x], e]
