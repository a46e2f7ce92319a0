"""The walk of a palette step: which child each position's entry splits into, entropy coded.

A position's label is guessed from its coded neighbours (west, north, north-west, north-east) that
have the same parent: the first guess, then the second, each confirmed or refused by one binary
symbol whose table depends on how many neighbours agree; a label that nobody guessed is written
plainly. The first step splits the single root.
"""

from __future__ import annotations

from underpaint.codec.entropy.rans import DECODE, IMPOSSIBLE, PLAIN_TABLE, code, plain
from underpaint.codec.runtime.jit import kernel

FIRST_GUESS_TABLES = 12
"""Contexts of the first guess: agreeing neighbours (1 to 4) times distinct guesses (1 to 3)."""

SECOND_GUESS_TABLES = 6
"""Contexts of the second guess: agreeing neighbours (1 to 3) times distinct guesses (2 to 3)."""

PALETTE_TABLES = FIRST_GUESS_TABLES + SECOND_GUESS_TABLES
"""Tables of one palette step."""


@kernel()
def bits_for(count):
    """Return the plain bits that tell `count` values apart."""
    bits = 0
    while (1 << bits) < count:
        bits += 1
    return bits


@kernel()
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
    for at in range(labels.size):
        first = starts[parents[at]]
        children = starts[parents[at] + 1] - first
        if children == 1:
            labels[at] = first
            continue
        x = at % width
        first_guess = second_guess = -1
        first_votes = second_votes = found = 0
        third_guess = -1
        for side in range(4):
            if side == 0 and x > 0:
                label = labels[at - 1]
            elif side == 1 and at >= width:
                label = labels[at - width]
            elif side == 2 and x > 0 and at >= width:
                label = labels[at - width - 1]
            elif side == 3 and at >= width and x < width - 1:
                label = labels[at - width + 1]
            else:
                continue
            if label < first or label >= first + children:
                continue
            if label == first_guess:
                first_votes += 1
            elif label == second_guess:
                second_votes += 1
            elif found == 0:
                first_guess, first_votes, found = label, 1, 1
            elif found == 1:
                second_guess, second_votes, found = label, 1, 2
            elif label != third_guess:
                third_guess, found = label, found + 1
        want = int(labels[at]) if mode != DECODE else 0
        hit = 0
        if found > 0:
            context = table + 3 * (first_votes - 1) + min(found, 3) - 1
            hit = code(
                mode, state, words, intervals, counts, cumulative, context, 2,
                1 if want == first_guess else 0,
            )  # fmt: skip
            coded += 1
            if hit:
                labels[at] = first_guess
        if hit == 0 and found > 1:
            context = table + FIRST_GUESS_TABLES + 2 * (second_votes - 1) + min(found, 3) - 2
            hit = code(
                mode, state, words, intervals, counts, cumulative, context, 2,
                1 if want == second_guess else 0,
            )  # fmt: skip
            coded += 1
            if hit:
                labels[at] = second_guess
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


@kernel()
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
