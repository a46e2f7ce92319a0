"""Block flags: a block of coefficients that stays zero in a step costs one symbol and no time.

A block is 4 x 4 coefficients of all three orientations of a level and component. The flag that
says whether any of them leaves zero is coded in the context of the blocks around it, of its parent
block and of lightness.

Source: zero blocks after Shapiro 1993.
"""

from __future__ import annotations

from underpaint.codec.entropy.activity import BINS, bin_of_activity
from underpaint.codec.entropy.rans import DECODE, code_symbol
from underpaint.codec.runtime.jit import kernel, unsigned
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
    coarser, level = blocks[group, COARSER_GROUP], blocks[group, LEVEL]
    lightness = COMPONENTS * (FLAGGED_LEVELS - level)
    shift = DYADIC_LEVELS - level - 2
    w, width = model.flag_weights[group], step.width
    tables = step.block_table + group * BINS
    for y in range(height):
        row = first + y * stride
        row_of_parent = row_of_lightness = -1
        if coarser >= 0:
            row_of_parent = blocks[coarser, OFFSET] + (y >> 1) * blocks[coarser, STRIDE]
        if blocks[group, COMPONENT] > 0:
            row_of_lightness = blocks[lightness, OFFSET] + y * stride
        for x in range(columns):
            at = row + x
            if sums[unsigned(at)] > 0:
                flags[unsigned(at)] = 2
                continue
            flag = 0
            if coder.mode != DECODE:
                flag = 1 if picture.block_peaks[unsigned(at)] > step.zero else 0
            of_parent = of_lightness = 0
            if row_of_parent >= 0:
                of_parent = _flag_and_sum(flags, sums, row_of_parent + (x >> 1), width)
            if row_of_lightness >= 0:
                of_lightness = _flag_and_sum(flags, sums, row_of_lightness + x, width)
            north, south = at - stride, at + stride
            sides = (
                sums[unsigned(at - 1)] + sums[unsigned(at + 1)]
                + sums[unsigned(north)] + sums[unsigned(south)]
            ) >> 2  # fmt: skip
            corners = (
                sums[unsigned(north - 1)] + sums[unsigned(north + 1)]
                + sums[unsigned(south - 1)] + sums[unsigned(south + 1)]
            ) >> 2  # fmt: skip
            texture_class = _class_of_block(picture, shift, y, x)
            activity = (
                w[F_WEST] * (_flag(flags, at - 1) * width)
                + w[F_NORTH] * (_flag(flags, north) * width)
                + w[F_NORTH_DIAGONALS]
                * ((_flag(flags, north - 1) + _flag(flags, north + 1)) * width)
                + w[F_SIDES] * sides
                + w[F_CORNERS] * corners
                + w[F_PARENT] * of_parent
                + w[F_LIGHTNESS] * of_lightness
                + model.flag_class_terms[unsigned(group), unsigned(texture_class)]
            )
            flags[unsigned(at)] = code_symbol(coder, tables + bin_of_activity(activity), 2, flag)


@kernel(forceinline=True)
def _flag(flags, at):
    """Return whether a block is not all zero, 0 or 1."""
    return min(flags[unsigned(at)], 1)


@kernel(forceinline=True)
def _flag_and_sum(flags, sums, at, width):
    return _flag(flags, at) * width + (sums[unsigned(at)] >> 2)


@kernel(forceinline=True)
def _class_of_block(picture, shift, y, x):
    """Return the texture class of a block.

    A block is `1 << shift` latent positions wide; with a negative shift a position holds several.
    """
    columns = picture.class_columns
    row = (y >> shift) if shift >= 0 else (y << -shift)
    column = (x >> shift) if shift >= 0 else min(x << -shift, columns - 1)
    return picture.classes[unsigned(min(row * columns + column, picture.classes.size - 1))]


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
