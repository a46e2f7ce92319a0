"""An integer range coder (rANS): 64-bit state, 32-bit words, 16-bit frequencies.

Source: Duda 2013 (arXiv 1311.2540). A model walks the symbols once, forwards; as the coder is
last in, first out, encoding records an interval for each symbol and writes them backwards, so
that decoding reads forwards and may let every context depend on what came before.

A coder is three arrays: `state` uint64 [2] (state, next word or interval), `words` uint32 (the
payload when decoding), `intervals` uint32 (start << 16 | frequency - 1 when encoding).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from underpaint.codec.runtime.jit import kernel

PROBABILITY_BITS = 16
"""Frequencies of one table sum to 1 << 16."""

STATE_FLOOR = 1 << 31
"""The state is kept in [2**31, 2**63); a stream starts and ends with the state at the floor."""

ENCODE, DECODE, COUNT = 0, 1, 2
"""What a walk does with each symbol: record its interval, read it, or count it."""

PLAIN_TABLE = 0
"""The table of a plain bit: both values equally likely."""

IMPOSSIBLE = -1
"""What a walk returns instead of a number of symbols when what it decodes contradicts itself."""

_FLOOR = np.uint64(STATE_FLOOR)
_MASK = np.uint64((1 << PROBABILITY_BITS) - 1)
_BITS = np.uint64(PROBABILITY_BITS)
_TOTAL = np.uint64(1 << PROBABILITY_BITS)
_WORD = np.uint64(32)
_WORD_MASK = np.uint64(0xFFFFFFFF)
_STATE_X, _STATE_AT = np.uint64(0), np.uint64(1)
_ENCODE_SHIFT = np.uint64(63 - PROBABILITY_BITS)


@kernel(forceinline=True)
def _refilled(x, at, words):
    """Take the next word into a state below the floor, zeros after the last: (state, next word)."""
    if x < _FLOOR:
        word = np.uint64(0)
        if at < np.uint64(words.size):
            word = np.uint64(words[at])
        x = (x << _WORD) | word
        at += np.uint64(1)
    return x, at


@kernel(forceinline=True)
def code(mode, state, words, intervals, counts, cumulative, table, symbols, symbol):
    """Code one symbol of `symbols` with row `table` of `cumulative`; return it.

    `cumulative` uint32 [tables, most symbols + 1] starts at 0 and ends at 65536 in each row;
    `counts` int64 of shape [tables, most symbols] is touched in COUNT mode only. A read past the
    end of the payload reads zeros, which the checks of `finished` then notice.
    """
    row = np.uint64(table)  # unsigned indices spare numba's check for ones from the end
    if mode == ENCODE:
        at = state[_STATE_AT]
        start = cumulative[row, np.uint64(symbol)]
        intervals[at] = (start << 16) | (cumulative[row, np.uint64(symbol + 1)] - start - 1)
        state[_STATE_AT] = at + np.uint64(1)
    elif mode == DECODE:
        x = state[_STATE_X]
        slot = x & _MASK
        symbol = 0
        start = np.uint64(0)
        end = np.uint64(cumulative[row, np.uint64(1)])
        while slot >= end and symbol < symbols - 1:
            symbol += 1
            start = end
            end = np.uint64(cumulative[row, np.uint64(symbol + 1)])
        x = (end - start) * (x >> _BITS) + slot - start
        state[_STATE_X], state[_STATE_AT] = _refilled(x, state[_STATE_AT], words)
    else:
        counts[table, symbol] += 1
    return symbol


@kernel(forceinline=True)
def decode_bit(x, at, words, end, likely):
    """Decode a symbol of two, of which the first has the frequency `end`, uint64.

    Takes and returns the coder as values, for loops that keep it in registers: (symbol, state, next
    word). `likely` says whether to bet on the first symbol; else nothing branches.
    """
    slot = x & _MASK
    if likely:
        if slot < end:
            symbol = np.uint64(0)
            x = end * (x >> _BITS) + slot
        else:
            symbol = np.uint64(1)
            x = (_TOTAL - end) * (x >> _BITS) + slot - end
    else:
        symbol = np.uint64(slot >= end)
        x = (end + symbol * (_TOTAL - end - end)) * (x >> _BITS) + slot - end * symbol
    x, at = _refilled(x, at, words)
    return symbol, x, at


@kernel()
def plain(mode, state, words, intervals, counts, cumulative, bits, value):
    """Code `value` in plain bits, highest first; return it."""
    result = 0
    for bit in range(bits - 1, -1, -1):
        result = 2 * result + code(
            mode, state, words, intervals, counts, cumulative, PLAIN_TABLE, 2, (value >> bit) & 1
        )
    return result


@njit(nogil=True, cache=True)
def write_intervals(intervals: np.ndarray) -> np.ndarray:
    """Turn recorded intervals, uint32 [symbols], into the payload, uint32 words."""
    words = np.empty(intervals.size // 2 + 4, np.uint32)
    end = words.size
    x = _FLOOR
    for i in range(intervals.size - 1, -1, -1):
        interval = intervals[i]
        frequency = np.uint64(interval & np.uint32(0xFFFF)) + np.uint64(1)
        if x >= frequency << _ENCODE_SHIFT:
            end -= 1
            words[end] = np.uint32(x & _WORD_MASK)
            x >>= _WORD
        quotient = x // frequency
        x = (quotient << _BITS) + (x - quotient * frequency) + np.uint64(interval >> np.uint32(16))
    words[end - 1] = np.uint32(x & _WORD_MASK)
    words[end - 2] = np.uint32(x >> _WORD)
    return words[end - 2 :]


def begin_encoding(most_symbols: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `state`, `words`, `intervals` for encoding at most `most_symbols`."""
    return np.zeros(2, np.uint64), np.empty(0, np.uint32), np.empty(most_symbols, np.uint32)


def begin_decoding(payload: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `state`, `words`, `intervals` for decoding a payload of at least two words."""
    words = np.frombuffer(payload, "<u4").astype(np.uint32)
    high, low = (np.uint64(word) for word in words[:2])
    return np.array([high << _WORD | low, 2], np.uint64), words, np.empty(0, np.uint32)


def finished(state: np.ndarray, words: np.ndarray) -> bool:
    """Say whether a decoder has used the payload exactly up."""
    return int(state[0]) == STATE_FLOOR and int(state[1]) == words.size
