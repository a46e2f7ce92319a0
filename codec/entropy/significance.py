"""Block flags: a block of coefficients that stays zero in a step costs one symbol and no time.

A block is 4 x 4 coefficients of all three orientations of a level and component. The flag that
says whether any of them leaves zero is coded in the context of the blocks around it, of its parent
block and of lightness.

Source: zero blocks after Shapiro 1993.
"""

from __future__ import annotations

from underpaint.codec.entropy.activity import BINS, bin_of_activity
from underpaint.codec.entropy.rans import DECODE, code_symbol
from underpaint.codec.runtime.jit import kernel
from underpaint.codec.transform.subbands import (
    BANDS,
    BLOCK_SIDE,
    COARSER_GROUP,
    COMPONENT,
    COMPONENTS,
    DYADIC_LEVELS,
    FIRST_BAND,
    FLAGGED_LEVELS,
    LEVEL,
    OFFSET,
    ORIENTATIONS,
    STRIDE,
    extent,
)

(
    F_WEST, F_NORTH, F_NORTH_DIAGONALS, F_SIDES, F_CORNERS, F_PARENT, F_LIGHTNESS, F_EXPECTED,
    F_CONSTANT,
) = range(9)  # fmt: skip
"""Index of each weight of the activity of a block flag, by what it multiplies: the flags of the
western, the northern and both northern diagonal blocks, times the width of a cell; a quarter of the
sums of magnitudes of the four neighbours and of the four diagonal neighbours; flag and sum of the
parent block; those of the same block in lightness; the mean magnitude that the texture class
expects; and 1."""

FLAG_FEATURES = 9
"""Number of weights of the activity of a block flag."""


@kernel()
def code_flags(coder, picture, model, step, group):
    """Code the block flags of one level and component."""
    blocks, flags, sums = picture.blocks, picture.flags, picture.sums
    first, height, columns, stride = extent(blocks, group)
    component, coarser, band = (
        blocks[group, COMPONENT], blocks[group, COARSER_GROUP], blocks[group, FIRST_BAND],
    )  # fmt: skip
    level = blocks[group, LEVEL]
    lightness = COMPONENTS * (FLAGGED_LEVELS - level)
    shift = DYADIC_LEVELS - level - 2
    w, width = model.flag_weights[group], step.width
    for y in range(height):
        for x in range(columns):
            at = first + y * stride + x
            if sums[at] > 0:
                flags[at] = 2
                continue
            flag = 0
            if coder.mode != DECODE:
                flag = 1 if picture.block_peaks[at] > step.zero else 0
            of_parent = 0
            if coarser >= 0:
                parent = blocks[coarser, OFFSET] + (y >> 1) * blocks[coarser, STRIDE] + (x >> 1)
                of_parent = _flag_and_sum(flags, sums, parent, width)
            of_lightness = 0
            if component > 0:
                same = blocks[lightness, OFFSET] + y * stride + x
                of_lightness = _flag_and_sum(flags, sums, same, width)
            north, south = at - stride, at + stride
            sides = (sums[at - 1] + sums[at + 1] + sums[north] + sums[south]) >> 2
            corners = (
                sums[north - 1] + sums[north + 1] + sums[south - 1] + sums[south + 1]
            ) >> 2  # fmt: skip
            expected = _expected_magnitude(picture, model, band, shift, y, x)
            activity = (
                w[F_WEST] * (min(flags[at - 1], 1) * width)
                + w[F_NORTH] * (min(flags[north], 1) * width)
                + w[F_NORTH_DIAGONALS]
                * ((min(flags[north - 1], 1) + min(flags[north + 1], 1)) * width)
                + w[F_SIDES] * sides
                + w[F_CORNERS] * corners
                + w[F_PARENT] * of_parent
                + w[F_LIGHTNESS] * of_lightness
                + w[F_EXPECTED] * expected
                + w[F_CONSTANT]
            )
            table = step.block_table + group * BINS + bin_of_activity(activity)
            flags[at] = code_symbol(coder, table, 2, flag)


@kernel(forceinline=True)
def _flag_and_sum(flags, sums, at, width):
    return min(flags[at], 1) * width + (sums[at] >> 2)


@kernel(forceinline=True)
def _expected_magnitude(picture, model, band, shift, y, x):
    """Return the mean magnitude, over the three orientations, that a block's class expects.

    A block is `1 << shift` latent positions wide; with a negative shift a position holds several.
    """
    columns = picture.class_columns
    row = (y >> shift) if shift >= 0 else (y << -shift)
    column = (x >> shift) if shift >= 0 else min(x << -shift, columns - 1)
    texture_class = picture.classes[min(row * columns + column, picture.classes.size - 1)]
    expected = model.expected_magnitude
    return (
        expected[band, texture_class]
        + expected[band + 1, texture_class]
        + expected[band + 2, texture_class]
    ) // 3


@kernel(forceinline=True)
def clear_flags(picture, group):
    """Mark all blocks of a level and component as zero."""
    first, height, columns, stride = extent(picture.blocks, group)
    for y in range(height):
        picture.flags[first + y * stride : first + y * stride + columns] = 0


@kernel()
def clear_coded(picture):
    """Reset what steps have written: bands without flags, and blocks that have left zero.

    Far less work than clearing the whole arrays where few blocks have left zero.
    """
    for band in range(BANDS):
        first, height, width, stride = extent(picture.bands, band)
        level = picture.bands[band, LEVEL]
        if level == 0 or level > FLAGGED_LEVELS:
            for y in range(height):
                picture.magnitude[first + y * stride : first + y * stride + width] = 0
                picture.cell[first + y * stride : first + y * stride + width] = 0
    for group in range(len(picture.blocks)):
        first, height, columns, stride = extent(picture.blocks, group)
        band = picture.blocks[group, FIRST_BAND]
        for y in range(height):
            for x in range(columns):
                if picture.sums[first + y * stride + x] != 0:
                    for orientation in range(ORIENTATIONS):
                        _clear_block(picture, band + orientation, y, x)
    picture.flags[:] = 0
    picture.sums[:] = 0


@kernel()
def _clear_block(picture, band, y, x):
    first, height, width, stride = extent(picture.bands, band)
    end = min(BLOCK_SIDE * (x + 1), width)
    for row in range(BLOCK_SIDE * y, min(BLOCK_SIDE * (y + 1), height)):
        begin_of_row = first + row * stride
        picture.magnitude[begin_of_row + BLOCK_SIDE * x : begin_of_row + end] = 0
        picture.cell[begin_of_row + BLOCK_SIDE * x : begin_of_row + end] = 0
