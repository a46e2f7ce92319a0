"""The walk: one refinement step of the scalar palettes of a picture, entropy coded in context.

A step takes every coefficient from one state of the chain to the next finer one. The symbol of a
coefficient is which child of its cell it falls into. Its distribution is one of the stored
integer tables; the table is chosen by the *activity*: an integer weighted sum of magnitudes
around the coefficient, all of which the decoder knows. Neighbours already walked in this step
are known in the finer state, the others (on every side) in the coarser one.

Coefficients are walked band by band, from the coarsest level to the finest. In the three finest
levels, blocks of 4 x 4 coefficients of all three orientations that are still zero carry a flag
that says whether any of them leaves zero in this step, so that empty regions cost no time.

Sources: weighted activity contexts after Wu 1997 (ECECOW); zero blocks after Shapiro 1993.
"""

from __future__ import annotations

import numpy as np

from codec.bands import BANDS, BLOCK_SIDE, COMPONENTS, FLAGGED_LEVELS
from codec.cells import FAR_BITS, FAR_GROUPS, NEAR_CELLS
from codec.compiled import kernel
from codec.rans import DECODE, IMPOSSIBLE, code, plain
from codec.wavelet import DYADIC_LEVELS, LEVELS, ORIENTATIONS

FEATURES = 13
"""West, east, north, south, upper and lower diagonals, two away, parent, siblings, lightness,
other chroma, class law, one."""

FLAG_FEATURES = 9
BINS = 24
"""Activity bins: contexts that one band and step choose from."""

FINE = 1024
"""Entries of the table that turns an activity in 1/64 of a cell's width into a bin."""

BIN_EDGES = (
    2, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 29, 38, 50, 66, 87, 114, 150, 197, 259, 340, 448, 589,
)  # fmt: skip
"""A bin is the number of edges that an activity in 1/64 of a cell's width reaches.

Equal steps of its logarithm, about 0.4 octaves; written out, for tables may hang on integers only.
"""

_ACTIVITY_SHIFT = 10

LARGEST_ACTIVITY = (1 << 31) - 1
"""No picture may lead the weights of a codec to an activity beyond: it is 32-bit arithmetic."""

_SUMMANDS = np.array([1, 1, 1, 1, 2, 2, 2, 1, 2, 1, 1])
"""Magnitudes in each of the features that are made of magnitudes."""

BIN_OF = np.searchsorted(BIN_EDGES, np.arange(FINE), side="right").astype(np.int64)


def activity_reach(activity: np.ndarray, law: np.ndarray, magnitude: int) -> np.ndarray:
    """Bound the activities, either side of zero, that magnitudes up to `magnitude` can make.

    `activity` int32 [steps, BANDS, FEATURES], `law` int32 [classes, BANDS]; int64 [steps, BANDS].
    """
    size = np.abs(activity.astype(np.int64))
    near = size[..., : len(_SUMMANDS)] @ _SUMMANDS * magnitude
    return near + size[..., -2] * law.max(0).astype(np.int64) + size[..., -1]


@kernel(forceinline=True)
def _plain(index):
    """Make an index unsigned: numba then leaves out the check for one that counts from the end."""
    return np.uint64(index)


@kernel(forceinline=True)
def _bin(activity, bin_of):
    fine = activity >> _ACTIVITY_SHIFT
    fine = max(0, min(fine, FINE - 1))
    return bin_of[_plain(fine)]


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
                    peak = np.int32(peaks[_plain(row + block)])
                    for place in range(at, at + BLOCK_SIDE):
                        peak = max(peak, np.int32(abs(np.int32(q[_plain(place)]))))
                    peaks[_plain(row + block)] = peak
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
def _has_left_zero(cell, sums, bands, blocks, band, group):
    """Say whether a group of bands has a coefficient outside of the zero cell already."""
    if group >= 0:
        base, high, wide, stride = blocks[group, :4]
        for y in range(high):
            for x in range(wide):
                if sums[base + y * stride + x] > 0:
                    return True
        return False
    for member in range(band, band + (ORIENTATIONS if bands[band, 4] else 1)):
        offset, height, width, stride = bands[member, :4]
        for y in range(height):
            for x in range(width):
                if cell[offset + y * stride + x] != 0:
                    return True
    return False


@kernel()
def walk(
    mode, state, words, intervals, counts, cumulative,
    q, peaks, block_peaks, m, cell, flags, sums, expected, laws, classes, class_width, law, bands,
    blocks, weights, flag_weights, bin_of, tables, before, after,
):  # fmt: skip
    """Walk one step of the chain; return the number of symbols coded, or IMPOSSIBLE.

    A decoded step is impossible if it calls a group of bands empty that was not before.

    q            int16 [size], finest indices: read when encoding or counting only
    peaks        int64 [BANDS], largest |q| of each band: likewise
    block_peaks  int32 [block_size], that of each flagged block: likewise
    m, cell      int16 [size], magnitude and signed cell index: in the coarser state on entry,
                 in the finer one on return
    flags, sums  int32 [block_size], whether a block has left zero and its sum of magnitudes:
                 carried from step to step
    expected     int32 [widest band + 4], laws int32 [w]: room to work in
    classes      int16 [h, w] flattened, class of each latent position; class_width = w
    law          int32 [classes, BANDS], sixteen times the mean magnitude a class expects
    weights      int32 [BANDS, FEATURES]; flag_weights int32 [FLAG_GROUPS, FLAG_FEATURES]
    tables       int64 [5]: first table of band flags, block flags, splits of zero, of the
                 first cell, and of the others
    before, after   int64 [2]: zero half-width and width of the two states
    """
    zero, width = after[0], after[1]
    coded = 0
    empty = False
    for band in range(BANDS):
        level, component, way = bands[band, 4], bands[band, 5], bands[band, 6]
        flagged = 0 < level <= FLAGGED_LEVELS
        group = COMPONENTS * (FLAGGED_LEVELS - level) + component if flagged else -1
        if way == 0:
            occupied = 0
            if mode != DECODE:
                for member in range(band, band + (ORIENTATIONS if level else 1)):
                    if peaks[member] > zero:
                        occupied = 1
            occupied = code(
                mode, state, words, intervals, counts, cumulative, tables[0] + band, 2, occupied
            )
            coded += 1
            empty = occupied == 0
            if empty and mode == DECODE and _has_left_zero(cell, sums, bands, blocks, band, group):
                return IMPOSSIBLE
            if flagged and not empty:
                coded += _walk_flags(
                    mode, state, words, intervals, counts, cumulative, block_peaks, flags, sums,
                    classes, class_width, law, bands, blocks, group, flag_weights, bin_of,
                    tables[1], zero, width,
                )  # fmt: skip
            elif flagged:
                base, high, wide, stride = blocks[group, :4]
                for y in range(high):
                    flags[base + y * stride : base + y * stride + wide] = 0
        if not empty:
            coded += _walk_band(
                mode, state, words, intervals, counts, cumulative, q, m, cell, flags, sums,
                expected, laws, classes, class_width, law, bands, blocks, band, group,
                weights[band], bin_of, tables, before, after,
            )  # fmt: skip
    return coded


@kernel()
def _walk_band(
    mode, state, words, intervals, counts, cumulative, q, m, cell, flags, sums,
    expected, laws, classes, class_width, law, bands, blocks, band, group,
    w, bin_of, tables, before, after,
):  # fmt: skip
    """Code the cells of one band; return the number of symbols."""
    offset, height, columns, stride, level = bands[band, :5]
    parent, sib_1, sib_2, light, other = bands[band, 7:12]
    flagged = group >= 0
    scale = (level if level else LEVELS) - DYADIC_LEVELS
    law_row = -1
    coded = 0
    for y in range(height):
        row = offset + y * stride
        row_parent = bands[parent, 0] + (y >> 1) * bands[parent, 3] if parent >= 0 else -1
        row_1 = bands[sib_1, 0] + y * bands[sib_1, 3] if sib_1 >= 0 else row
        row_2 = bands[sib_2, 0] + y * bands[sib_2, 3] if sib_2 >= 0 else row_1
        row_light = bands[light, 0] + y * bands[light, 3] if light >= 0 else row
        row_other = bands[other, 0] + y * bands[other, 3] if other >= 0 else row
        row_class = y << scale if scale >= 0 else y >> -scale
        row_block = blocks[group, 0] + (y >> 2) * blocks[group, 3] if flagged else 0
        begin = 0
        while begin < columns:
            end = columns
            if flagged:
                while begin < columns and flags[_plain(row_block + (begin >> 2))] == 0:
                    begin += BLOCK_SIDE
                end = begin
                while end < columns and flags[_plain(row_block + (end >> 2))] != 0:
                    end += BLOCK_SIDE
                end = min(end, columns)
            if begin < end:
                if row_class != law_row:
                    law_row = row_class
                    _expect_laws(laws, classes, law, band, row_class * class_width, w)
                _expect(
                    expected, laws, scale, m, stride, row, row_parent, row_1, row_2, row_light,
                    row_other, begin, end, w,
                )  # fmt: skip
                coded += _walk_run(
                    mode, state, words, intervals, counts, cumulative, q, m, cell, sums,
                    expected, row, row_block, flagged, begin, end,
                    w[0], w[6], bin_of, tables, band, before, after,
                )  # fmt: skip
            begin = end
    return coded


@kernel(forceinline=True)
def _expect_laws(laws, classes, law, band, first, w):
    """Write what its class and nothing else add to an activity, for one row of positions."""
    for x in range(laws.size):
        which = classes[_plain(first + x)]
        laws[x] = w[11] * law[_plain(which), _plain(band)] + w[12]


@kernel(forceinline=True)
def _expect(
    expected, laws, scale, m, stride, row, row_parent, row_1, row_2, row_light, row_other,
    begin, end, w,
):  # fmt: skip
    """Write the activities of a run of a row, but for what the western neighbours add.

    All that is read here is known before the run is coded, so that each loop is a few vectors.
    """
    if scale >= 0:
        for x in range(begin, end):
            expected[_plain(x)] = laws[_plain(min(x << scale, laws.size - 1))]
    else:
        for x in range(begin, end):
            expected[_plain(x)] = laws[_plain(x >> -scale)]
    w_own = np.int32(0)
    if row_parent < 0:
        w_own = w[7]
    else:
        w_7 = w[7]
        for pair in range(begin >> 1, (end + 1) >> 1):
            above = np.int32(w_7 * m[_plain(row_parent + pair)])
            expected[_plain(2 * pair)] += above
            expected[_plain(2 * pair + 1)] += above
    w_1, w_2, w_3, w_4, w_5, w_6 = w[1], w[2], w[3], w[4], w[5], w[6]
    north, south = row - stride, row + stride
    for x in range(begin, end):
        expected[_plain(x)] += np.int32(
            w_1 * m[_plain(row + x + 1)]
            + w_2 * m[_plain(north + x)] + w_3 * m[_plain(south + x)]
            + w_4 * (m[_plain(north + x - 1)] + m[_plain(north + x + 1)])
            + w_5 * (m[_plain(south + x - 1)] + m[_plain(south + x + 1)])
            + w_6 * m[_plain(north - stride + x)]
        )  # fmt: skip
    w_8, w_9, w_10 = w[8], w[9], w[10]
    for x in range(begin, end):
        expected[_plain(x)] += np.int32(
            w_own * m[_plain(row + x)]
            + w_8 * (m[_plain(row_1 + x)] + m[_plain(row_2 + x)])
            + w_9 * m[_plain(row_light + x)] + w_10 * m[_plain(row_other + x)]
        )  # fmt: skip


@kernel(forceinline=True)
def _walk_run(
    mode, state, words, intervals, counts, cumulative, q, m, cell, sums,
    expected, row, row_block, flagged, begin, end,
    w_west, w_far, bin_of, tables, band, before, after,
):  # fmt: skip
    """Code the cells of a run of a row; return the number of symbols."""
    zero_before, width_before = before[0], before[1]
    zero, width = after[0], after[1]
    spread = (zero_before - zero) // width
    children = 1 + 2 * spread
    parts = width_before // width
    root = spread > 2
    zero_table = tables[2] + band * BINS
    one_table = tables[3] + band * BINS
    more_table = tables[4] + band * BINS
    coded = 0
    west, far = int(m[_plain(row + begin - 1)]), int(m[_plain(row + begin - 2)])
    for x in range(begin, end):
        at = row + x
        chosen = _bin(expected[_plain(x)] + w_west * west + w_far * far, bin_of)
        old = int(cell[_plain(at)])
        value = int(q[_plain(at)])
        size = abs(value)
        far, west = west, 0
        if old == 0 and root:
            index = (size - zero + width - 1) // width if size > zero else 0
            symbol = min(index, 2) * 2 - (1 if value > 0 and index else 0)
            symbol = code(
                mode, state, words, intervals, counts, cumulative,
                zero_table + chosen, 5, symbol,
            )  # fmt: skip
            coded += 1
            positive = symbol & 1
            if symbol > 2:
                index, more = _first_cell(
                    mode, state, words, intervals, counts, cumulative,
                    one_table + chosen, more_table + chosen, index,
                )  # fmt: skip
                coded += more
            else:
                index = (symbol + 1) >> 1
        elif old == 0:
            symbol = 0
            if mode != DECODE and size > zero:
                symbol = 1 if value > 0 else 2
                edge = zero + width
                while size > edge and symbol + 2 < children:
                    symbol += 2
                    edge += width
            symbol = code(
                mode, state, words, intervals, counts, cumulative,
                zero_table + chosen, children, symbol,
            )  # fmt: skip
            coded += 1
            index = (symbol + 1) >> 1
            positive = symbol & 1
        else:
            base = zero_before + (abs(old) - 1) * width_before
            symbol = 0
            if mode != DECODE:
                edge = base + width
                while size > edge and symbol + 1 < parts:
                    symbol += 1
                    edge += width
            if parts > 1:
                symbol = code(
                    mode, state, words, intervals, counts, cumulative,
                    (one_table if abs(old) == 1 else more_table) + chosen, parts, symbol,
                )  # fmt: skip
                coded += 1
            index = spread + (abs(old) - 1) * parts + 1 + symbol
            positive = old > 0
        if index:
            west = zero + index * width - (width >> 1)
            if flagged:
                sums[_plain(row_block + (x >> 2))] += west - m[_plain(at)]
            m[_plain(at)] = west
            cell[_plain(at)] = index if positive else -index
    return coded


@kernel()
def _first_cell(
    mode, state, words, intervals, counts, cumulative, near_table, far_table, index
):  # fmt: skip
    """Code which cell of the first state, from the second on, a coefficient lies in.

    Return its index and the number of symbols: cells near zero have one each, those beyond lie in
    groups that double in size.
    """
    near = code(
        mode, state, words, intervals, counts, cumulative,
        near_table, NEAR_CELLS, min(index - 2, NEAR_CELLS - 1),
    )  # fmt: skip
    if near < NEAR_CELLS - 1:
        return near + 2, 1
    beyond = index - NEAR_CELLS - 1
    group = 0
    if mode != DECODE:
        while beyond >= ((2 << group) - 1) << FAR_BITS:
            group += 1
    group = code(mode, state, words, intervals, counts, cumulative, far_table, FAR_GROUPS, group)
    before = ((1 << group) - 1) << FAR_BITS
    bits = FAR_BITS + group
    within = plain(mode, state, words, intervals, counts, cumulative, bits, beyond - before)
    return NEAR_CELLS + 1 + before + within, 2 + bits


@kernel()
def _walk_flags(
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
                table + group * BINS + _bin(activity, bin_of), 2, flag,
            )  # fmt: skip
            flags[at] = flag
            coded += 1
    return coded
