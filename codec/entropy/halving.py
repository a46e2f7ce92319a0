"""Codes coefficients in a step that halves cells: with estimates that follow the picture.

A step halves cells if it splits every cell in two, and the zero cell in three: all but the first
step of the usual chain do. Splits of the zero cell and signs are coded with estimates
(`codec.entropy.estimates`), which start anew in each band; splits of other cells with tables.
"""

from __future__ import annotations

import numpy as np

from underpaint.codec.entropy.activity import BIN_OF, W_TWO_AWAY, W_WEST, fine_activity
from underpaint.codec.entropy.estimates import (
    CHANCES,
    SIGN_AROUND,
    SIGN_CONTEXT,
    SIGN_INPUTS,
    SIGN_NORTH,
    SIGN_WEST,
    SPLIT_ACTIVITY,
    SPLIT_INPUTS,
    SPLIT_NEAR,
    SPLIT_RELATIVES,
    STORED,
    chance_of,
    chance_of_mixed,
    follow,
    in_widths,
    learned,
    log_odds_of,
    near_context,
    see,
)
from underpaint.codec.entropy.rans import COUNT, DECODE, code_bit
from underpaint.codec.entropy.signs import bin_of_sign_context, sign_context, signs_as_numbers
from underpaint.codec.runtime.jit import kernel, unsigned


@kernel()
def start_estimates(model, band, scratch):
    """Set estimates and mixing weights to where they start in a band."""
    for place in range(model.shares.shape[1]):
        scratch.shares[place] = model.shares[band.number, place]
    for place in range(model.counts.shape[1]):
        scratch.counts[place] = model.counts[band.number, place]
    for place in range(model.mixing.shape[1]):
        scratch.mixing[place] = model.mixing[band.number, place]


@kernel(forceinline=True)
def set_relatives(m, row, width, scratch, begin, end):
    """Compute the contexts of splits by relatives, for a run of a row.

    They are known before the run is coded, so each loop is vectorised.
    """
    relatives = scratch.relatives
    if row.parent < 0:
        for x in range(begin, end):
            relatives[unsigned(x)] = 0
    else:
        for pair in range(begin >> 1, (end + 1) >> 1):
            term = np.uint8(in_widths(m[unsigned(row.parent + pair)], width) << 6)
            relatives[unsigned(2 * pair)] = term
            relatives[unsigned(2 * pair + 1)] = term
    sibling_1, sibling_2, lightness = row.sibling_1, row.sibling_2, row.lightness
    for x in range(begin, end):
        relatives[unsigned(x)] += np.uint8(
            in_widths(m[unsigned(sibling_1 + x)], width) << 4
            | in_widths(m[unsigned(sibling_2 + x)], width) << 2
            | in_widths(m[unsigned(lightness + x)], width)
        )


@kernel(forceinline=True)
def code_halves(mode, coder, picture, model, step, band, row, scratch, begin, end):
    """Code a run of a step that splits cells in two, and the zero cell in three.

    Splits of the zero cell and signs are coded with estimates, all other splits with tables. The
    state of the coder is kept in registers: decoders spend most of their time here.
    """
    m, cell, zero, width = picture.magnitude, picture.cell, step.zero, step.width
    w_west, w_two_away = band.weights[W_WEST], band.weights[W_TWO_AWAY]
    activity, ends = scratch.activity, coder.first_ends
    known, counting = mode != DECODE, mode == COUNT
    state, word = coder.state[0], coder.state[1]
    weights = (np.int64(0), np.int64(0), np.int64(0))
    if band.mixes_splits:
        weights = _split_weights(scratch.mixing)
    west, two_west = int(m[unsigned(row.own + begin - 1)]), int(m[unsigned(row.own + begin - 2)])
    for x in range(begin, end):
        at = row.own + x
        fine = fine_activity(activity[unsigned(x)] + w_west * west + w_two_away * two_west)
        context = np.int64(BIN_OF[unsigned(fine)])
        old = int(cell[unsigned(at)])
        value = int(picture.q[unsigned(at)]) if known else 0
        if old == 0:
            leaves = np.uint64(abs(value) > zero)
            if band.mixes_splits:
                leaves, state, word, weights = _code_mixed_split(
                    mode, coder, model, band, scratch, (context, x, fine, west, width),
                    (state, word, leaves), weights,
                )  # fmt: skip
            else:
                place = SPLIT_ACTIVITY + context
                edge = np.uint64(CHANCES - chance_of(scratch.shares[unsigned(place)]))
                leaves, state, word = code_bit(mode, coder, state, word, edge, leaves, True)
                follow(scratch.shares, place, leaves)
            if counting:
                coder.counts[band.zero_table + context, leaves] += 1
            two_west, west = west, 0
            if leaves == 0:
                continue
            positive = np.uint64(value > 0)
            positive, state, word = _code_sign(
                mode, coder, cell, model, band, row, x, scratch, (state, word, positive)
            )
            index = np.int64(1)
            signed = index if positive else -index
        else:
            size = abs(old)
            table = (band.first_table if size == 1 else band.other_table) + context
            upper = np.uint64(abs(value) > step.zero_before + (size - 1) * 2 * width + width)
            edge = np.uint64(ends[unsigned(table)])
            upper, state, word = code_bit(mode, coder, state, word, edge, upper, False)
            if counting:
                coder.counts[table, upper] += 1
            two_west = west
            index = 2 * size + np.int64(upper)
            signed = index if old > 0 else -index
        west = zero + index * width - (width >> 1)
        if band.group >= 0:
            picture.sums[unsigned(row.blocks + (x >> 2))] += west - m[unsigned(at)]
        m[unsigned(at)] = west
        cell[unsigned(at)] = signed
    coder.state[0], coder.state[1] = state, word
    if band.mixes_splits:
        for place in range(SPLIT_INPUTS):
            scratch.mixing[SIGN_INPUTS + place] = weights[place]


@kernel(forceinline=True)
def _split_weights(mixing):
    return (
        np.int64(mixing[SIGN_INPUTS]),
        np.int64(mixing[SIGN_INPUTS + 1]),
        np.int64(mixing[SIGN_INPUTS + 2]),
    )


@kernel(forceinline=True)
def _code_mixed_split(mode, coder, model, band, scratch, surroundings, coding, weights):
    """Code whether a coefficient leaves zero, with three estimates.

    `surroundings` are the bin of its activity, its place in the row, its activity in 1/64 of a
    cell, the magnitude to the west and the width of a cell; `coding` the state of the coder, the
    next word and, for an encoder, the symbol. Returns (leaves, state, next word, mixing weights).
    """
    context, x, fine, west, width = surroundings
    state, word, leaves = coding
    weight_1, weight_2, weight_3 = weights
    shares, counts, shift = scratch.shares, scratch.counts, model.learning_shift
    by_activity = SPLIT_ACTIVITY + context
    by_relatives = SPLIT_RELATIVES + np.int64(scratch.relatives[unsigned(x)])
    by_near = SPLIT_NEAR + near_context(fine, west, width)
    odds_1 = log_odds_of(shares[unsigned(by_activity)])
    odds_2 = log_odds_of(shares[unsigned(by_relatives)])
    odds_3 = log_odds_of(shares[unsigned(by_near)])
    chance = chance_of_mixed(weight_1 * odds_1 + weight_2 * odds_2 + weight_3 * odds_3)
    leaves, state, word = code_bit(
        mode, coder, state, word, np.uint64(CHANCES - chance), leaves, True
    )
    error = (CHANCES if leaves else 0) - chance
    weight_1 = learned(weight_1, odds_1, error, shift)
    weight_2 = learned(weight_2, odds_2, error, shift)
    weight_3 = learned(weight_3, odds_3, error, shift)
    follow(shares, by_activity, leaves)
    see(shares, counts, by_relatives, leaves)
    see(shares, counts, by_near, leaves)
    if mode == COUNT:
        model.seen[band.number, by_relatives - STORED, leaves] += 1
        model.seen[band.number, by_near - STORED, leaves] += 1
    return leaves, state, word, (weight_1, weight_2, weight_3)


@kernel(forceinline=True)
def _code_sign(mode, coder, cell, model, band, row, x, scratch, coding):
    """Code whether a coefficient that leaves zero is positive: (positive, state, next word).

    `coding` as in `_code_mixed_split`.
    """
    state, word, positive = coding
    shares, counts, mixing = scratch.shares, scratch.counts, scratch.mixing
    weight_1, weight_2 = np.int64(mixing[unsigned(0)]), np.int64(mixing[unsigned(1)])
    weight_3, weight_4 = np.int64(mixing[unsigned(2)]), np.int64(mixing[unsigned(3)])
    likely = sign_context(cell, row, x, band.sign_weights)
    context = bin_of_sign_context(likely)
    by_context = SIGN_CONTEXT + context
    around, beside_west, beside_north = signs_as_numbers(cell, row, x)
    by_around = SIGN_AROUND + around
    by_west = SIGN_WEST + beside_west
    by_north = SIGN_NORTH + beside_north
    odds_1 = log_odds_of(shares[unsigned(by_context)])
    if likely >= 0:
        odds_1 = -odds_1
    odds_2 = log_odds_of(shares[unsigned(by_around)])
    odds_3 = log_odds_of(shares[unsigned(by_west)])
    odds_4 = log_odds_of(shares[unsigned(by_north)])
    chance = chance_of_mixed(
        weight_1 * odds_1 + weight_2 * odds_2 + weight_3 * odds_3 + weight_4 * odds_4
    )
    positive, state, word = code_bit(
        mode, coder, state, word, np.uint64(CHANCES - chance), positive, False
    )
    error = (CHANCES if positive else 0) - chance
    shift = model.learning_shift
    mixing[unsigned(0)] = learned(weight_1, odds_1, error, shift)
    mixing[unsigned(1)] = learned(weight_2, odds_2, error, shift)
    mixing[unsigned(2)] = learned(weight_3, odds_3, error, shift)
    mixing[unsigned(3)] = learned(weight_4, odds_4, error, shift)
    wrong = np.uint64((likely >= 0) != (positive == 1))
    follow(shares, by_context, wrong)
    see(shares, counts, by_around, positive)
    see(shares, counts, by_west, positive)
    see(shares, counts, by_north, positive)
    if mode == COUNT:
        coder.counts[band.sign_table + context, wrong] += 1
        model.seen[band.number, by_around - STORED, positive] += 1
        model.seen[band.number, by_west - STORED, positive] += 1
        model.seen[band.number, by_north - STORED, positive] += 1
    return positive, state, word
