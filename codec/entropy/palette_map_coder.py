"""Codes one step of the palette chain: the entries, and the child that each position takes.

The label of a position is predicted from the coded neighbours (west, north, north-west, north-east)
that have the same parent. One binary symbol confirms or refuses the most voted label, a second one
the next; its table depends on the number of neighbours that agree. A label that neither predicts is
written in plain bits. The first step splits the single root.
"""

from __future__ import annotations

from underpaint.codec.entropy.rans import DECODE, IMPOSSIBLE, PLAIN_TABLE, code_bits, code_symbol
from underpaint.codec.palette.merging import MOST_ENTRIES
from underpaint.codec.runtime.jit import kernel, unsigned

FIRST_GUESS_TABLES = 12
"""Contexts of the first guess: agreeing neighbours (1 to 4) times distinct guesses (1 to 3)."""

SECOND_GUESS_TABLES = 6
"""Contexts of the second guess: agreeing neighbours (1 to 3) times distinct guesses (2 to 3)."""

ENTRY_BITS = (MOST_ENTRIES - 1).bit_length()
"""Plain bits of the number of entries of a palette state, minus 1."""

PALETTE_TABLES = FIRST_GUESS_TABLES + SECOND_GUESS_TABLES
"""Tables of one palette step."""


@kernel()
def bits_for(count):
    """Return the number of plain bits that distinguish `count` values."""
    bits = 0
    while (1 << bits) < count:
        bits += 1
    return bits


@kernel()
def code_labels(coder, table, parents, starts, labels, columns):
    """Code the labels of one palette step; return the number of symbols, or IMPOSSIBLE.

    A decoded label is impossible if it names a child beyond the last one of its parent.

    table     first table of this step
    parents   int16 [positions], entry of each position in the coarser state
    starts    int64 [parents + 1], first child of each parent
    labels    int16 [positions], entry in the finer state: read when encoding or counting, written
              when decoding
    columns   positions in a row
    """
    coded = 0
    x = -1
    for at in range(labels.size):
        x = x + 1 if x + 1 < columns else 0
        first = starts[unsigned(parents[at])]
        children = starts[unsigned(parents[at] + 1)] - first
        if children == 1:
            labels[at] = first
            continue
        guesses, first_guess, first_votes, second_guess, second_votes = _guess(
            labels, at, x, columns, first, first + children
        )
        label = int(labels[at]) if coder.mode != DECODE else 0
        hit = 0
        if guesses > 0:
            context = table + 3 * (first_votes - 1) + min(guesses, 3) - 1
            hit = code_symbol(coder, context, 2, 1 if label == first_guess else 0)
            coded += 1
            if hit:
                labels[at] = first_guess
        if hit == 0 and guesses > 1:
            context = table + FIRST_GUESS_TABLES + 2 * (second_votes - 1) + min(guesses, 3) - 2
            hit = code_symbol(coder, context, 2, 1 if label == second_guess else 0)
            coded += 1
            if hit:
                labels[at] = second_guess
        if hit == 0:
            bits = bits_for(children)
            value = code_bits(coder, bits, label - int(first))
            coded += bits
            if value >= children:
                return IMPOSSIBLE
            labels[at] = first + value
    return coded


@kernel(forceinline=True)
def _guess(labels, at, x, columns, first, end):
    """Guess a label from `first` to `end` - 1 from its neighbours; `x` is its column.

    Returns the number of distinct guesses, the first guess and its votes, the second and its votes.
    """
    first_guess = second_guess = third_guess = -1
    first_votes = second_votes = guesses = 0
    for side in range(4):
        if side == 0 and x > 0:
            label = labels[unsigned(at - 1)]
        elif side == 1 and at >= columns:
            label = labels[unsigned(at - columns)]
        elif side == 2 and x > 0 and at >= columns:
            label = labels[unsigned(at - columns - 1)]
        elif side == 3 and at >= columns and x < columns - 1:
            label = labels[unsigned(at - columns + 1)]
        else:
            continue
        if label < first or label >= end:
            continue
        if label == first_guess:
            first_votes += 1
        elif label == second_guess:
            second_votes += 1
        elif guesses == 0:
            first_guess, first_votes, guesses = label, 1, 1
        elif guesses == 1:
            second_guess, second_votes, guesses = label, 1, 2
        elif label != third_guess:
            third_guess, guesses = label, guesses + 1
    return guesses, first_guess, first_votes, second_guess, second_votes


@kernel()
def code_entries(coder, entries, class_bits, parent_count, classes, parents, starts):
    """Code the number of entries of a state, and the class and the parent of each.

    Returns the number of entries and the largest class. The caller checks the classes and parents
    that were decoded. A parent is one bit an entry: whether the entry is the first child of the
    next parent.

    classes, parents   int16 [MOST_ENTRIES], parents sorted; written when decoding
    starts             int64 [MOST_ENTRIES + 1], written: first child of each parent, and the number
                       of entries after the last one
    """
    entries = 1 + code_bits(coder, ENTRY_BITS, entries - 1)
    parent = -1
    largest = 0
    for entry in range(entries):
        classes[entry] = code_bits(coder, class_bits, int(classes[entry]))
        largest = max(largest, int(classes[entry]))
        is_next = 1
        if parent >= 0 and parent_count > 1:
            step = int(parents[entry]) - parent if coder.mode != DECODE else 0
            is_next = code_symbol(coder, PLAIN_TABLE, 2, step)
        elif parent >= 0:
            is_next = 0
        if is_next:
            parent += 1
            starts[parent] = entry
        parents[entry] = parent
    starts[parent + 1] = entries
    return entries, largest
