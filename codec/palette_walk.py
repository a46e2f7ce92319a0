"""The walk of a palette step: which child each position's entry splits into, entropy coded.

A position's label is guessed from its coded neighbours (west, north, north-west, north-east) that
have the same parent: the first guess, then the second, each confirmed or refused by one binary
symbol whose table depends on how many neighbours agree; a label that nobody guessed is written
plainly. The first step splits the single root.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from codec.rans import DECODE, IMPOSSIBLE, PLAIN_TABLE, code, plain

FIRST_GUESS_TABLES = 12
"""Contexts of the first guess: agreeing neighbours (1 to 4) times distinct guesses (1 to 3)."""

SECOND_GUESS_TABLES = 6
"""Contexts of the second guess: agreeing neighbours (1 to 3) times distinct guesses (2 to 3)."""

PALETTE_TABLES = FIRST_GUESS_TABLES + SECOND_GUESS_TABLES
"""Tables of one palette step."""


@njit(nogil=True, cache=True)
def bits_for(count):
    """Return the plain bits that tell `count` values apart."""
    bits = 0
    while (1 << bits) < count:
        bits += 1
    return bits


@njit(nogil=True, cache=True)
def walk_palette(
    mode, state, words, intervals, counts, cumulative, table, parents, starts, labels, width
):  # fmt: skip
    """Walk one split of the palette; return the number of symbols coded, or IMPOSSIBLE.

    A decoded label is impossible if it names a child beyond the last of its parent.

    parents  int16 [positions], entry of each position in the coarser state
    starts   int64 [parents + 1], first child of each parent
    labels   int16 [positions]: read when encoding or counting, written when decoding; `width`
             positions a row
    table    first table of this step
    """
    coded = 0
    guesses = np.empty(4, np.int64)
    votes = np.empty(4, np.int64)
    for at in range(labels.size):
        first = starts[parents[at]]
        children = starts[parents[at] + 1] - first
        if children == 1:
            labels[at] = first
            continue
        y, x = at // width, at % width
        found = 0
        for side in range(4):
            if side == 0 and x > 0:
                label = labels[at - 1]
            elif side == 1 and y > 0:
                label = labels[at - width]
            elif side == 2 and x > 0 and y > 0:
                label = labels[at - width - 1]
            elif side == 3 and y > 0 and x < width - 1:
                label = labels[at - width + 1]
            else:
                continue
            if label < first or label >= first + children:
                continue
            known = False
            for g in range(found):
                if guesses[g] == label:
                    votes[g] += 1
                    known = True
            if not known:
                guesses[found] = label
                votes[found] = 1
                found += 1
        want = int(labels[at]) if mode != DECODE else 0
        hit = 0
        if found > 0:
            context = table + 3 * (votes[0] - 1) + min(found, 3) - 1
            hit = code(
                mode, state, words, intervals, counts, cumulative, context, 2,
                1 if want == guesses[0] else 0,
            )  # fmt: skip
            coded += 1
            if hit:
                labels[at] = guesses[0]
        if hit == 0 and found > 1:
            context = table + FIRST_GUESS_TABLES + 2 * (votes[1] - 1) + min(found, 3) - 2
            hit = code(
                mode, state, words, intervals, counts, cumulative, context, 2,
                1 if want == guesses[1] else 0,
            )  # fmt: skip
            coded += 1
            if hit:
                labels[at] = guesses[1]
        if hit == 0:
            bits = bits_for(children)
            value = plain(
                mode, state, words, intervals, counts, cumulative, bits, want - int(first)
            )  # fmt: skip
            coded += bits
            if value >= children:
                return IMPOSSIBLE
            labels[at] = first + value
    return coded


@njit(nogil=True, cache=True)
def walk_entries(
    mode, state, words, intervals, counts, cumulative, class_bits, parent_count, classes, parents
):  # fmt: skip
    """Code the class and the parent of each entry of a state; return the number of symbols.

    `classes`, `parents` int16 [entries], parents sorted. A parent is written as one bit an entry:
    whether the entry is the first child of the next parent; the caller checks what was decoded.
    """
    coded = 0
    parent = -1
    for entry in range(classes.size):
        classes[entry] = plain(
            mode, state, words, intervals, counts, cumulative, class_bits, int(classes[entry])
        )
        coded += class_bits
        fresh = 1
        if parent >= 0 and parent_count > 1:
            fresh = code(
                mode, state, words, intervals, counts, cumulative, PLAIN_TABLE, 2,
                int(parents[entry]) - parent if mode != DECODE else 0,
            )  # fmt: skip
            coded += 1
        elif parent >= 0:
            fresh = 0
        parent += fresh
        parents[entry] = parent
    return coded
