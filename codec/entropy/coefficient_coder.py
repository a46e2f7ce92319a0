"""The walk: one refinement step of the scalar palettes of a picture, entropy coded in context.

A step takes every coefficient from one state of the chain to the next finer one. The symbol of a
coefficient is which child of its cell it falls into. Its distribution is one of the stored integer
tables, chosen by the *activity* of what is around it (`codec.entropy.activity`). Neighbours
already walked
in this step are known in the finer state, the others (on every side) in the coarser one.

Coefficients are walked band by band, from the coarsest level to the finest. Blocks of the finest
levels that stay zero are left out (`codec.entropy.significance`); the sign of a coefficient that
leaves zero
has a context of its own (`codec.entropy.signs`).
"""

from __future__ import annotations

import numpy as np

from underpaint.codec.entropy.activity import BINS, bin_of_activity
from underpaint.codec.entropy.rans import DECODE, IMPOSSIBLE, code, decode_bit, plain
from underpaint.codec.entropy.significance import walk_flags
from underpaint.codec.entropy.signs import SIGN_BINS, bin_of_lean, lean_of
from underpaint.codec.quantize.cells import BEYOND, FAR_BITS, FAR_GROUPS, NEAR_CELLS
from underpaint.codec.runtime.jit import kernel, unsigned
from underpaint.codec.transform.subbands import BANDS, BLOCK_SIDE, COMPONENTS, FLAGGED_LEVELS
from underpaint.codec.transform.wavelet import DYADIC_LEVELS, LEVELS, ORIENTATIONS


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
    blocks, weights, flag_weights, sign_weights, bin_of, tables, before, after,
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
    sign_weights int16 [BANDS, SIGN_FEATURES]
    tables       int64 [6]: first table of band flags, block flags, splits of zero, of the
                 first cell, and of the others, and of signs
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
                coded += walk_flags(
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
                weights[band], sign_weights[band], bin_of, tables, before, after,
            )  # fmt: skip
    return coded


@kernel()
def _walk_band(
    mode, state, words, intervals, counts, cumulative, q, m, cell, flags, sums,
    expected, laws, classes, class_width, law, bands, blocks, band, group,
    w, w_sign, bin_of, tables, before, after,
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
                while begin < columns and flags[unsigned(row_block + (begin >> 2))] == 0:
                    begin += BLOCK_SIDE
                end = begin
                while end < columns and flags[unsigned(row_block + (end >> 2))] != 0:
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
                    expected, row, stride, row_parent, row_light, row_other, row_block, flagged,
                    begin, end,
                    w[0], w[6], w_sign, bin_of, tables, band, before, after,
                )  # fmt: skip
            begin = end
    return coded


@kernel(forceinline=True)
def _expect_laws(laws, classes, law, band, first, w):
    """Write what its class and nothing else add to an activity, for one row of positions."""
    for x in range(laws.size):
        which = classes[unsigned(first + x)]
        laws[x] = w[11] * law[unsigned(which), unsigned(band)] + w[12]


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
            expected[unsigned(x)] = laws[unsigned(min(x << scale, laws.size - 1))]
    else:
        for x in range(begin, end):
            expected[unsigned(x)] = laws[unsigned(x >> -scale)]
    w_own = np.int32(0)
    if row_parent < 0:
        w_own = w[7]
    else:
        w_7 = w[7]
        for pair in range(begin >> 1, (end + 1) >> 1):
            above = np.int32(w_7 * m[unsigned(row_parent + pair)])
            expected[unsigned(2 * pair)] += above
            expected[unsigned(2 * pair + 1)] += above
    w_1, w_2, w_3, w_4, w_5, w_6 = w[1], w[2], w[3], w[4], w[5], w[6]
    north, south = row - stride, row + stride
    for x in range(begin, end):
        expected[unsigned(x)] += np.int32(
            w_1 * m[unsigned(row + x + 1)]
            + w_2 * m[unsigned(north + x)] + w_3 * m[unsigned(south + x)]
            + w_4 * (m[unsigned(north + x - 1)] + m[unsigned(north + x + 1)])
            + w_5 * (m[unsigned(south + x - 1)] + m[unsigned(south + x + 1)])
            + w_6 * m[unsigned(north - stride + x)]
        )  # fmt: skip
    w_8, w_9, w_10 = w[8], w[9], w[10]
    for x in range(begin, end):
        expected[unsigned(x)] += np.int32(
            w_own * m[unsigned(row + x)]
            + w_8 * (m[unsigned(row_1 + x)] + m[unsigned(row_2 + x)])
            + w_9 * m[unsigned(row_light + x)] + w_10 * m[unsigned(row_other + x)]
        )  # fmt: skip


@kernel(forceinline=True)
def _walk_run(
    mode, state, words, intervals, counts, cumulative, q, m, cell, sums,
    expected, row, stride, row_parent, row_light, row_other, row_block, flagged, begin, end,
    w_west, w_far, w_sign, bin_of, tables, band, before, after,
):  # fmt: skip
    """Code the cells of a run of a row; return the number of symbols.

    `row_parent` is -1 where there is none; `row_light`, `row_other` are then `row`.
    """
    zero_before, width_before = before[0], before[1]
    zero, width = after[0], after[1]
    spread = (zero_before - zero) // width
    parts = width_before // width
    if mode == DECODE and parts == 2 and spread == 1:
        return _decode_halves(
            state, words, cumulative, m, cell, sums,
            expected, row, stride, row_parent, row_light, row_other, row_block, flagged, begin, end,
            w_west, w_far, w_sign, bin_of, tables, band, zero, width,
        )  # fmt: skip
    root = spread > 2
    leaves = 1 + (BEYOND if root else spread)
    zero_table = tables[2] + band * BINS
    one_table = tables[3] + band * BINS
    more_table = tables[4] + band * BINS
    sign_table = tables[5] + band * SIGN_BINS
    coded = 0
    west, far = int(m[unsigned(row + begin - 1)]), int(m[unsigned(row + begin - 2)])
    for x in range(begin, end):
        at = row + x
        chosen = bin_of_activity(expected[unsigned(x)] + w_west * west + w_far * far, bin_of)
        old = int(cell[unsigned(at)])
        value = int(q[unsigned(at)])
        size = abs(value)
        far, west = west, 0
        if old == 0:
            index = 0
            if mode != DECODE and size > zero:
                index = 1
                while size > zero + index * width and index + 1 < leaves:
                    index += 1
            index = code(
                mode, state, words, intervals, counts, cumulative,
                zero_table + chosen, leaves, index,
            )  # fmt: skip
            coded += 1
            positive = value > 0
            if index:
                if root and index == BEYOND:
                    index, more = _first_cell(
                        mode, state, words, intervals, counts, cumulative,
                        one_table + chosen, more_table + chosen,
                        (size - zero + width - 1) // width,
                    )  # fmt: skip
                    coded += more
                lean = lean_of(
                    cell, at, stride, row_light + x, row_other + x,
                    row_parent + (x >> 1) if row_parent >= 0 else at, w_sign,
                )  # fmt: skip
                unlike = code(
                    mode, state, words, intervals, counts, cumulative,
                    sign_table + bin_of_lean(lean), 2, int((lean >= 0) != positive),
                )  # fmt: skip
                positive = (lean >= 0) != (unlike == 1)
                coded += 1
        else:
            base = zero_before + (abs(old) - 1) * width_before
            symbol = 0
            if mode != DECODE:
                edge = base + width
                while size > edge and symbol + 1 < parts:
                    symbol += 1
                    edge += width
            table = (one_table if abs(old) == 1 else more_table) + chosen
            if parts > 1:
                symbol = code(
                    mode, state, words, intervals, counts, cumulative, table, parts, symbol
                )
                coded += 1
            index = spread + (abs(old) - 1) * parts + 1 + symbol
            positive = old > 0
        if index:
            west = zero + index * width - (width >> 1)
            if flagged:
                sums[unsigned(row_block + (x >> 2))] += west - m[unsigned(at)]
            m[unsigned(at)] = west
            cell[unsigned(at)] = index if positive else -index
    return coded


@kernel(forceinline=True)
def _decode_halves(
    state, words, cumulative, m, cell, sums,
    expected, row, stride, row_parent, row_light, row_other, row_block, flagged, begin, end,
    w_west, w_far, w_sign, bin_of, tables, band, zero, width,
):  # fmt: skip
    """Decode a run where cells split in two, and zero in three.

    What `_walk_run` does, with the coder in registers: a decoder spends its time here.
    """
    zero_table = tables[2] + band * BINS
    one_table = tables[3] + band * BINS
    more_table = tables[4] + band * BINS
    sign_table = tables[5] + band * SIGN_BINS
    coder, word = state[0], state[1]
    coded = end - begin
    west, far = int(m[unsigned(row + begin - 1)]), int(m[unsigned(row + begin - 2)])
    first = unsigned(1)
    for column in range(begin, end):
        at = row + column
        chosen = bin_of_activity(expected[unsigned(column)] + w_west * west + w_far * far, bin_of)
        old = int(cell[unsigned(at)])
        far, west = west, 0
        if old == 0:
            edge = unsigned(cumulative[unsigned(zero_table + chosen), first])
            leaves, coder, word = decode_bit(coder, word, words, edge, True)
            if leaves == 0:
                continue
            lean = lean_of(
                cell, at, stride, row_light + column, row_other + column,
                row_parent + (column >> 1) if row_parent >= 0 else at, w_sign,
            )  # fmt: skip
            edge = unsigned(cumulative[unsigned(sign_table + bin_of_lean(lean)), first])
            unlike, coder, word = decode_bit(coder, word, words, edge, False)
            new = 1 if (lean >= 0) == (unlike == 0) else -1
            coded += 1
            west = zero + width - (width >> 1)
        else:
            size = abs(old)
            table = (one_table if size == 1 else more_table) + chosen
            edge = unsigned(cumulative[unsigned(table), first])
            upper, coder, word = decode_bit(coder, word, words, edge, False)
            size = 2 * size + np.int64(upper)
            new = size if old > 0 else -size
            west = zero + size * width - (width >> 1)
        if flagged:
            sums[unsigned(row_block + (column >> 2))] += west - m[unsigned(at)]
        m[unsigned(at)] = west
        cell[unsigned(at)] = new
    state[0], state[1] = coder, word
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
