"""Codes one refinement step of the coefficients of a picture.

A step takes every coefficient from one state of the scalar chain to the next finer one. The symbol
of a coefficient is the child of its cell that it falls into. Its table is chosen by the *activity*
of its surroundings (`codec.entropy.activity`): neighbours coded earlier in this step count in the
finer state, all others, on every side, in the coarser one.

Bands are coded from the coarsest level to the finest. Blocks of the finest levels that stay zero
are skipped (`codec.entropy.significance`). The sign of a coefficient that leaves zero has a context
of its own (`codec.entropy.signs`). Most steps halve cells: `codec.entropy.halving`.
"""

from __future__ import annotations

import numpy as np

from underpaint.codec.entropy.activity import (
    BINS,
    W_EAST,
    W_LIGHTNESS,
    W_NORTH,
    W_NORTH_DIAGONALS,
    W_OTHER_CHROMA,
    W_PARENT,
    W_SIBLINGS,
    W_SOUTH,
    W_SOUTH_DIAGONALS,
    W_TWO_AWAY,
    W_WEST,
    bin_of_activity,
)
from underpaint.codec.entropy.estimates import SIGN_INPUTS
from underpaint.codec.entropy.halving import code_halves, set_relatives, start_estimates
from underpaint.codec.entropy.rans import COUNT, DECODE, code_bits, code_symbol
from underpaint.codec.entropy.significance import clear_flags, code_flags
from underpaint.codec.entropy.signs import SIGN_BINS, bin_of_sign_context, sign_context
from underpaint.codec.entropy.steps import Band, Row
from underpaint.codec.quantize.cells import BEYOND, FAR_BITS, FAR_GROUPS, NEAR_CELLS
from underpaint.codec.runtime.jit import kernel, unsigned
from underpaint.codec.transform.subbands import (
    BLOCK_SIDE,
    COMPONENT,
    COMPONENTS,
    DYADIC_LEVELS,
    FLAGGED_LEVELS,
    LEVEL,
    LEVELS,
    LIGHTNESS,
    OFFSET,
    ORIENTATION,
    ORIENTATIONS,
    OTHER_CHROMA,
    PARENT,
    SIBLING_1,
    SIBLING_2,
    STRIDE,
    extent,
)


@kernel()
def code_step(coder, picture, model, step, scratch, first, end):
    """Code one step of bands `first` to `end` - 1; return whether the step is possible.

    `coder` is a `rans.RansCoder`, the next four are the groups of `steps`. The bands are those of
    whole levels, and all coarser ones have taken the step before. A decoded step is impossible if
    it declares a group of bands empty that has coefficients outside the zero cell.
    """
    bands = picture.bands
    empty = False
    for band in range(first, end):
        group = _group_of(bands, band)
        if bands[band, ORIENTATION] == 0:
            occupied = 0
            if coder.mode != DECODE:
                for member in range(band, band + _members(bands, band)):
                    if picture.band_peaks[member] > step.zero:
                        occupied = 1
            occupied = code_symbol(coder, step.band_table + band, 2, occupied)
            empty = occupied == 0
            if empty and coder.mode == DECODE and _has_left_zero(picture, band, group):
                return False
            if group >= 0 and not empty:
                code_flags(coder, picture, model, step, group)
            elif group >= 0:
                clear_flags(picture, group)
        if not empty:
            opened = _open_band(bands, band, group, model, step)
            _code_band(coder, picture, model, step, opened, scratch)
    return True


@kernel(forceinline=True)
def _group_of(bands, band):
    """Return the row of a band in the table of block flags, or -1."""
    level = bands[band, LEVEL]
    if 0 < level <= FLAGGED_LEVELS:
        return COMPONENTS * (FLAGGED_LEVELS - level) + bands[band, COMPONENT]
    return -1


@kernel(forceinline=True)
def _members(bands, band):
    """Return how many bands share the band flag of the first of them."""
    return ORIENTATIONS if bands[band, LEVEL] else 1


@kernel(forceinline=True)
def _open_band(bands, band, group, model, step):
    level = bands[band, LEVEL]
    return Band(
        number=band,
        group=group,
        class_shift=(level if level else LEVELS) - DYADIC_LEVELS,
        weights=model.weights[band],
        sign_weights=model.sign_weights[band],
        zero_table=step.zero_table + band * BINS,
        first_table=step.first_table + band * BINS,
        other_table=step.other_table + band * BINS,
        sign_table=step.sign_table + band * SIGN_BINS,
        halves=step.width_before == 2 * step.width and step.zero_before - step.zero == step.width,
        mixes_splits=model.mixing.shape[1] > SIGN_INPUTS,
    )


@kernel()
def _has_left_zero(picture, band, group):
    """Return whether a coefficient of the group of bands lies outside the zero cell."""
    if group >= 0:
        first, height, width, stride = extent(picture.blocks, group)
        for y in range(height):
            for x in range(width):
                if picture.sums[first + y * stride + x] > 0:
                    return True
        return False
    for member in range(band, band + _members(picture.bands, band)):
        first, height, width, stride = extent(picture.bands, member)
        for y in range(height):
            for x in range(width):
                if picture.cell[first + y * stride + x] != 0:
                    return True
    return False


@kernel()
def _code_band(coder, picture, model, step, band, scratch):
    """Code the cells of one band."""
    _, height, width, _ = extent(picture.bands, band.number)
    flagged = band.group >= 0
    flags = picture.flags
    if band.halves:
        start_estimates(model, band, scratch)
    terms_of = -1
    for y in range(height):
        row = _open_row(picture, band, y)
        class_row = y << band.class_shift if band.class_shift >= 0 else y >> -band.class_shift
        begin = 0
        while begin < width:
            end = width
            if flagged:  # the next run of blocks that are not all zero
                while begin < width and flags[unsigned(row.blocks + (begin >> 2))] == 0:
                    begin += BLOCK_SIDE
                end = begin
                while end < width and flags[unsigned(row.blocks + (end >> 2))] != 0:
                    end += BLOCK_SIDE
                end = min(end, width)
            if begin < end:
                if class_row != terms_of:
                    terms_of = class_row
                    _set_class_terms(picture, model, band, scratch, class_row)
                _set_activities(picture.magnitude, band, row, scratch, begin, end)
                if band.halves and band.mixes_splits:
                    set_relatives(picture.magnitude, row, step.width, scratch, begin, end)
                if band.halves and coder.mode == DECODE:  # its own copy, without other modes
                    code_halves(DECODE, coder, picture, model, step, band, row, scratch, begin, end)
                elif band.halves:
                    code_halves(
                        coder.mode, coder, picture, model, step, band, row, scratch, begin, end
                    )
                else:
                    _code_run(coder, picture, step, band, row, scratch.activity, begin, end)
            begin = end
    if band.halves and coder.mode == COUNT:
        for place in range(model.mixing.shape[1]):
            model.mixing[band.number, place] = scratch.mixing[place]


@kernel(forceinline=True)
def _open_row(picture, band, y):
    bands = picture.bands
    parent, sibling_1, sibling_2 = (
        bands[band.number, PARENT], bands[band.number, SIBLING_1], bands[band.number, SIBLING_2],
    )  # fmt: skip
    own = _start_of_row(bands, band.number, y, 0)
    first_sibling = _start_of_row(bands, sibling_1, y, own)
    return Row(
        own=own,
        stride=bands[band.number, STRIDE],
        parent=_start_of_row(bands, parent, y >> 1, -1),
        sibling_1=first_sibling,
        sibling_2=_start_of_row(bands, sibling_2, y, first_sibling),
        lightness=_start_of_row(bands, bands[band.number, LIGHTNESS], y, own),
        other_chroma=_start_of_row(bands, bands[band.number, OTHER_CHROMA], y, own),
        blocks=_start_of_row(picture.blocks, band.group, y >> 2, 0),
    )


@kernel(forceinline=True)
def _start_of_row(table, index, y, otherwise):
    """Return the flat index of the start of row `y` of a band or group, if there is one."""
    return table[index, OFFSET] + y * table[index, STRIDE] if index >= 0 else otherwise


@kernel(forceinline=True)
def _set_class_terms(picture, model, band, scratch, class_row):
    """Look up the class term of the activities, for one row of latent positions."""
    terms, of_class = scratch.class_terms, model.class_terms[band.number]
    first = class_row * picture.class_columns
    for x in range(terms.size):
        terms[x] = of_class[unsigned(picture.classes[unsigned(first + x)])]


@kernel(forceinline=True)
def _set_activities(m, band, row, scratch, begin, end):
    """Compute the activities of a run of a row, but for the terms of the western neighbours.

    All that is read here is known before the run is coded, so each loop is vectorised.
    """
    activity, terms, w = scratch.activity, scratch.class_terms, band.weights
    shift = band.class_shift
    if shift >= 0:
        for x in range(begin, end):
            activity[unsigned(x)] = terms[unsigned(min(x << shift, terms.size - 1))]
    else:
        for x in range(begin, end):
            activity[unsigned(x)] = terms[unsigned(x >> -shift)]
    w_own = np.int32(0)
    if row.parent < 0:
        w_own = w[W_PARENT]
    else:
        w_parent = w[W_PARENT]
        for pair in range(begin >> 1, (end + 1) >> 1):
            term = np.int32(w_parent * m[unsigned(row.parent + pair)])
            activity[unsigned(2 * pair)] += term
            activity[unsigned(2 * pair + 1)] += term
    w_east, w_north, w_south, w_two_away = w[W_EAST], w[W_NORTH], w[W_SOUTH], w[W_TWO_AWAY]
    w_north_diagonals, w_south_diagonals = w[W_NORTH_DIAGONALS], w[W_SOUTH_DIAGONALS]
    own, north, south = row.own, row.own - row.stride, row.own + row.stride
    two_north = north - row.stride
    for x in range(begin, end):
        activity[unsigned(x)] += np.int32(
            w_east * m[unsigned(own + x + 1)]
            + w_north * m[unsigned(north + x)] + w_south * m[unsigned(south + x)]
            + w_north_diagonals * (m[unsigned(north + x - 1)] + m[unsigned(north + x + 1)])
            + w_south_diagonals * (m[unsigned(south + x - 1)] + m[unsigned(south + x + 1)])
            + w_two_away * m[unsigned(two_north + x)]
        )  # fmt: skip
    w_siblings, w_lightness, w_other_chroma = w[W_SIBLINGS], w[W_LIGHTNESS], w[W_OTHER_CHROMA]
    sibling_1, sibling_2 = row.sibling_1, row.sibling_2
    lightness, other_chroma = row.lightness, row.other_chroma
    for x in range(begin, end):
        activity[unsigned(x)] += np.int32(
            w_own * m[unsigned(own + x)]
            + w_siblings * (m[unsigned(sibling_1 + x)] + m[unsigned(sibling_2 + x)])
            + w_lightness * m[unsigned(lightness + x)]
            + w_other_chroma * m[unsigned(other_chroma + x)]
        )


@kernel(forceinline=True)
def _code_run(coder, picture, step, band, row, activity, begin, end):
    """Code the cells of a run of a row."""
    spread = (step.zero_before - step.zero) // step.width
    parts = step.width_before // step.width
    m, cell, zero, width = picture.magnitude, picture.cell, step.zero, step.width
    w_west, w_two_away = band.weights[W_WEST], band.weights[W_TWO_AWAY]
    first_step = spread > 2
    leaves = 1 + (BEYOND if first_step else spread)
    west, two_west = int(m[unsigned(row.own + begin - 1)]), int(m[unsigned(row.own + begin - 2)])
    for x in range(begin, end):
        at = row.own + x
        context = bin_of_activity(activity[unsigned(x)] + w_west * west + w_two_away * two_west)
        old = int(cell[unsigned(at)])
        value = int(picture.q[unsigned(at)])
        size = abs(value)
        two_west, west = west, 0
        if old == 0:
            index = 0
            if coder.mode != DECODE and size > zero:
                index = 1
                while size > zero + index * width and index + 1 < leaves:
                    index += 1
            index = code_symbol(coder, band.zero_table + context, leaves, index)
            positive = value > 0
            if index:
                if first_step and index == BEYOND:
                    index = _code_far_cell(coder, band, context, (size - zero + width - 1) // width)
                likely = sign_context(cell, row, x, band.sign_weights)
                table = band.sign_table + bin_of_sign_context(likely)
                wrong = code_symbol(coder, table, 2, int((likely >= 0) != positive))
                positive = (likely >= 0) != (wrong == 1)
        else:
            base = step.zero_before + (abs(old) - 1) * step.width_before
            symbol = 0
            if coder.mode != DECODE:
                edge = base + width
                while size > edge and symbol + 1 < parts:
                    symbol += 1
                    edge += width
            table = (band.first_table if abs(old) == 1 else band.other_table) + context
            if parts > 1:
                symbol = code_symbol(coder, table, parts, symbol)
            index = spread + (abs(old) - 1) * parts + 1 + symbol
            positive = old > 0
        if index:
            west = zero + index * width - (width >> 1)
            if band.group >= 0:
                picture.sums[unsigned(row.blocks + (x >> 2))] += west - m[unsigned(at)]
            m[unsigned(at)] = west
            cell[unsigned(at)] = index if positive else -index


@kernel()
def _code_far_cell(coder, band, context, index):
    """Code the cell of the first state, from the second on, that a coefficient lies in.

    Returns its index. Cells near zero have one symbol each; those beyond lie in groups that double
    in size.
    """
    near = code_symbol(
        coder, band.first_table + context, NEAR_CELLS, min(index - 2, NEAR_CELLS - 1)
    )
    if near < NEAR_CELLS - 1:
        return near + 2
    beyond = index - NEAR_CELLS - 1
    group = 0
    if coder.mode != DECODE:
        while beyond >= ((2 << group) - 1) << FAR_BITS:
            group += 1
    group = code_symbol(coder, band.other_table + context, FAR_GROUPS, group)
    before = ((1 << group) - 1) << FAR_BITS
    within = code_bits(coder, FAR_BITS + group, beyond - before)
    return NEAR_CELLS + 1 + before + within
