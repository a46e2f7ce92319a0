"""Latents of one picture of any size in compiled loops.

They equal those of tensors to the bit, except for the rounding of predicted details.
"""

from __future__ import annotations

import numpy as np

from underpaint.codec.entropy.state import CodedState
from underpaint.codec.reconstruct.cpu.state import StateArrays
from underpaint.codec.runtime.jit import kernel
from underpaint.codec.transform.colour_rotation import FINEST_ROTATED, ColourRotation
from underpaint.codec.transform.colours import mix_colours
from underpaint.codec.transform.lifting import HALVES, join_plane
from underpaint.codec.transform.subbands import (
    BLOCK_SIDE,
    COMPONENT,
    COMPONENTS,
    DYADIC_LEVELS,
    FLAGGED_LEVELS,
    LEVEL,
    LEVELS,
    ORIENTATIONS,
    extent,
    first_band,
)

_NO_ROTATION = np.empty((0, 0), np.float32)
"""In place of the matrix that undoes a rotation of colours, where there is none."""


def folded_coefficients(
    state: CodedState, arrays: StateArrays, levels: int, rotation: ColourRotation
) -> np.ndarray:
    """Return the expected coefficients of a picture, folded to one position: float32 [C, h, w].

    `arrays` are those of the state, `levels` the dyadic levels beside the low band, 0 to 4: C is
    3 * 4 ** levels. `rotation` of the picture's colours is undone. Levels that the state does not
    hold are zero.
    """
    folded = np.zeros((COMPONENTS << 2 * levels, *arrays.masks.shape), np.float32)
    back = rotation.inverse_matrix() if any(rotation) else _NO_ROTATION
    coarsest_left_out = max(DYADIC_LEVELS - levels, arrays.finest - 1)
    blocks = state.layout.blocks
    _fold(arrays, blocks, state.sums, coarsest_left_out, back, *_scratch(arrays), folded)
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
    _join_low_band(state, *_scratch(state), low)


def _scratch(state: StateArrays) -> tuple[np.ndarray, np.ndarray]:
    """Return the scratch memory of `_join_low_band`."""
    rows, columns = state.masks.shape
    planes = np.empty(5 * rows * columns + 64, np.float32)
    return planes, np.empty((HALVES, columns + 4), np.float32)


def embed(class_map: np.ndarray, embedding: np.ndarray) -> np.ndarray:
    """Return the embedding of each position's class, float32 [E, h, w].

    `class_map` int16 [h, w], `embedding` float32 [E, classes], contiguous.
    """
    embedded = np.empty((len(embedding), *class_map.shape), np.float32)
    _embed(class_map, embedding, embedded)
    return embedded


@kernel()
def _fold(state, blocks, sums, coarsest_left_out, back, planes, halves, folded):
    """Write the low band, and the channels of each level above `coarsest_left_out`.

    `blocks` and `sums` are those of `entropy.steps.Picture`; `folded` holds zeros.
    """
    _join_low_band(state, planes, halves, folded)
    if back.size:
        mix_colours(folded[:COMPONENTS], back, folded[:COMPONENTS])
    for level in range(DYADIC_LEVELS, coarsest_left_out, -1):
        rotated = back if level >= FINEST_ROTATED else back[:0]
        for component in range(COMPONENTS):
            group = COMPONENTS * (FLAGGED_LEVELS - level) + component
            first, rows, columns, stride = extent(blocks, group)
            for y in range(rows):
                for x in range(columns):
                    if sums[first + y * stride + x] != 0:
                        _fold_block(state, level, component, y, x, rotated, folded)


@kernel()
def _fold_block(state, level, component, block_y, block_x, back, folded):
    """Write one block of the three orientations to the channels of its level.

    Channels go by orientation, component, and place within a position. If `back`, float32 [3, 3],
    is not empty, colours were rotated: each coefficient is added to all three components, by its
    column. Zero cells are skipped: their point is zero, as `folded` is.
    """
    shift = DYADIC_LEVELS - level
    side = 1 << shift
    table = state.points[level, min(component, 1)]
    middle = table.size >> 1
    for orientation in range(ORIENTATIONS):
        band = first_band(level, component) + orientation
        offset, height, width, stride = extent(state.bands, band)
        step = state.steps[band]
        first = (COMPONENTS + COMPONENTS * orientation) * side * side
        for y in range(BLOCK_SIDE * block_y, min(BLOCK_SIDE * (block_y + 1), height)):
            start = offset + y * stride
            for x in range(BLOCK_SIDE * block_x, min(BLOCK_SIDE * (block_x + 1), width)):
                index = state.cell[np.uint64(start + x)]
                if index != 0:
                    row, column = y >> shift, x >> shift
                    value = table[index + middle] * (step * state.masks[row, column])
                    channel = first + (y & (side - 1)) * side + (x & (side - 1))
                    if back.size:
                        for other in range(COMPONENTS):
                            folded[channel, row, column] += back[other, component] * value
                            channel += side * side
                    else:
                        folded[channel + component * side * side, row, column] = value


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
    """Look each position's class up in each row of a table [E, classes]: [E, h, w]."""
    for e in range(embedded.shape[0]):
        values = embedding[e]
        for y in range(embedded.shape[1]):
            for x in range(embedded.shape[2]):
                embedded[e, y, x] = values[np.uint64(class_map[y, x])]
