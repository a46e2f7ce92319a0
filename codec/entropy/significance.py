"""Block flags: blocks of coefficients that stay zero in a step cost one symbol, and no time.

A block is 4 x 4 coefficients of all three orientations of a level and component. Whether any of
them leaves zero is coded in the context of the blocks around it, above it and in lightness.

Source: zero blocks after Shapiro 1993.
"""

from __future__ import annotations

import numpy as np

from underpaint.codec.entropy.activity import BINS, bin_of_activity
from underpaint.codec.entropy.rans import DECODE, code
from underpaint.codec.runtime.jit import kernel, unsigned
from underpaint.codec.transform.subbands import BANDS, BLOCK_SIDE, COMPONENTS, FLAGGED_LEVELS
from underpaint.codec.transform.wavelet import DYADIC_LEVELS, ORIENTATIONS

FLAG_FEATURES = 9


@kernel()
def find_block_peaks(q, bands, blocks, peaks):
    """Write the largest |q| of each flagged block, over the three orientations, to `peaks`.

    int32 [block_size], laid out like the flags.
    """
    for group in range(len(blocks)):
        base, across = blocks[group, 0], blocks[group, 3]
        for way in range(ORIENTATIONS):
            offset, height, width, stride = bands[blocks[group, 7] + way, :4]
            for y in range(height):
                row, line = base + (y >> 2) * across, offset + y * stride
                for block in range(width >> 2):
                    at = line + (block << 2)
                    peak = np.int32(peaks[unsigned(row + block)])
                    for place in range(at, at + BLOCK_SIDE):
                        peak = max(peak, np.int32(abs(np.int32(q[unsigned(place)]))))
                    peaks[unsigned(row + block)] = peak
                for x in range(width & -BLOCK_SIDE, width):
                    at = row + (x >> 2)
                    peaks[at] = max(peaks[at], abs(np.int32(q[line + x])))


@kernel()
def forget(m, cell, flags, sums, bands, blocks):
    """Clear what walks have written: all bands without flags, and blocks that have left zero."""
    for band in range(BANDS):
        offset, height, width, stride, level = bands[band, :5]
        if level == 0 or level > FLAGGED_LEVELS:
            for y in range(height):
                m[offset + y * stride : offset + y * stride + width] = 0
                cell[offset + y * stride : offset + y * stride + width] = 0
    for group in range(len(blocks)):
        base, high, wide, across = blocks[group, :4]
        for y in range(high):
            for x in range(wide):
                if sums[base + y * across + x] != 0:
                    for way in range(ORIENTATIONS):
                        _clear_block(m, cell, bands, blocks[group, 7] + way, y, x)
    flags[:] = 0
    sums[:] = 0


@kernel()
def _clear_block(m, cell, bands, band, y, x):
    offset, height, width, stride = bands[band, :4]
    end = min(BLOCK_SIDE * (x + 1), width)
    for row in range(BLOCK_SIDE * y, min(BLOCK_SIDE * (y + 1), height)):
        m[offset + row * stride + BLOCK_SIDE * x : offset + row * stride + end] = 0
        cell[offset + row * stride + BLOCK_SIDE * x : offset + row * stride + end] = 0


@kernel()
def walk_flags(
    mode, state, words, intervals, counts, cumulative, block_peaks, flags, sums,
    classes, class_width, law, bands, blocks, group, flag_weights, bin_of, table, zero, width,
):  # fmt: skip
    """Code the flags of the blocks of one level and component; return the number coded."""
    base, high, wide, stride, level, component, coarser, first = blocks[group]
    w = flag_weights[group]
    light = COMPONENTS * (FLAGGED_LEVELS - level)
    coded = 0
    shift = DYADIC_LEVELS - level - 2
    for y in range(high):
        for x in range(wide):
            at = base + y * stride + x
            if sums[at] > 0:
                flags[at] = 2
                continue
            flag = 0
            if mode != DECODE:
                flag = 1 if block_peaks[at] > zero else 0
            above = 0
            if coarser >= 0:
                up = blocks[coarser, 0] + (y >> 1) * blocks[coarser, 3] + (x >> 1)
                above = min(flags[up], 1) * width + (sums[up] >> 2)
            lit = 0
            if component > 0:
                lit = blocks[light, 0] + y * stride + x
                lit = min(flags[lit], 1) * width + (sums[lit] >> 2)
            sides = (sums[at - 1] + sums[at + 1] + sums[at - stride] + sums[at + stride]) >> 2
            corners = (
                sums[at - stride - 1] + sums[at - stride + 1]
                + sums[at + stride - 1] + sums[at + stride + 1]
            ) >> 2  # fmt: skip
            place = min(
                ((y >> shift) if shift >= 0 else (y << -shift)) * class_width
                + ((x >> shift) if shift >= 0 else min(x << -shift, class_width - 1)),
                classes.size - 1,
            )
            which = classes[place]
            expected = (law[which, first] + law[which, first + 1] + law[which, first + 2]) // 3
            activity = (
                w[0] * (min(flags[at - 1], 1) * width)
                + w[1] * (min(flags[at - stride], 1) * width)
                + w[2] * ((min(flags[at - stride - 1], 1) + min(flags[at - stride + 1], 1)) * width)
                + w[3] * sides + w[4] * corners + w[5] * above + w[6] * lit
                + w[7] * expected + w[8]
            )  # fmt: skip
            flag = code(
                mode, state, words, intervals, counts, cumulative,
                table + group * BINS + bin_of_activity(activity, bin_of), 2, flag,
            )  # fmt: skip
            flags[at] = flag
            coded += 1
    return coded
