"""An integer range coder (rANS): 64-bit state, 32-bit words, 16-bit frequencies.

Source: Duda 2013 (arXiv 1311.2540). rANS is last in, first out: an encoder records one interval for
each symbol and `pack_intervals` writes them backwards, so that a decoder reads forwards and every
context may depend on the symbols before it. Encoder, decoder and the symbol counter of training run
the same code with another `mode`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from underpaint.codec.runtime.jit import compiled, kernel, unsigned

PROBABILITY_BITS = 16
"""Frequencies of one table sum to 1 << 16."""

STATE_FLOOR = 1 << 31
"""The state is kept in [2**31, 2**63); a stream starts and ends with the state at the floor."""

ENCODE, DECODE, COUNT = 0, 1, 2
"""Modes of a coder: record the interval of each symbol, read each symbol, or count it."""

PLAIN_TABLE = 0
"""The table of a plain bit: both values equally likely."""

IMPOSSIBLE = -1
"""Returned by kernels in place of the number of symbols if the decoded symbols contradict each
other."""

_FLOOR = np.uint64(STATE_FLOOR)
_MASK = np.uint64((1 << PROBABILITY_BITS) - 1)
_BITS = np.uint64(PROBABILITY_BITS)
_TOTAL = np.uint64(1 << PROBABILITY_BITS)
_WORD = np.uint64(32)
_WORD_MASK = np.uint64(0xFFFFFFFF)
_STATE_X, _STATE_AT = np.uint64(0), np.uint64(1)
_ENCODE_SHIFT = np.uint64(63 - PROBABILITY_BITS)
_NO_WORDS = np.empty(0, np.uint32)
_NO_COUNTS = np.zeros((1, 1), np.int64)


class RansCoder(NamedTuple):
    """An encoder, decoder or counter of symbols, in the form that kernels take.

    mode        ENCODE, DECODE or COUNT
    state       uint64 [2]: rANS state, and index of the next word (DECODE) or interval (ENCODE)
    words       uint32 [words], the payload; DECODE only
    intervals   uint32 [most symbols], start << 16 | frequency - 1; ENCODE only
    counts      int64 [tables, most symbols of a table]; COUNT only
    cumulative  uint32 [tables, most symbols of a table + 1]: each row starts at 0, ends at 65536
    first_ends  uint32 [tables], contiguous: column 1 of `cumulative`
    """

    mode: int
    state: np.ndarray
    words: np.ndarray
    intervals: np.ndarray
    counts: np.ndarray
    cumulative: np.ndarray
    first_ends: np.ndarray


def encoder(cumulative: np.ndarray, first_ends: np.ndarray, most_symbols: int) -> RansCoder:
    """Return a coder that encodes at most `most_symbols`; `pack_intervals` packs them."""
    intervals = np.empty(most_symbols, np.uint32)
    state = np.zeros(2, np.uint64)
    return RansCoder(ENCODE, state, _NO_WORDS, intervals, _NO_COUNTS, cumulative, first_ends)


def decoder(cumulative: np.ndarray, first_ends: np.ndarray, payload: bytes) -> RansCoder:
    """Return a coder that decodes a payload of at least two words of 4 bytes.

    See `RansCoder.first_ends`.
    """
    words = np.frombuffer(payload, "<u4").astype(np.uint32)
    state = np.array([int(words[0]) << 32 | int(words[1]), 2], np.uint64)
    return RansCoder(DECODE, state, words, _NO_WORDS, _NO_COUNTS, cumulative, first_ends)


def counter(cumulative: np.ndarray, first_ends: np.ndarray, counts: np.ndarray) -> RansCoder:
    """Return a coder that adds each symbol to `counts`, int64 [tables, most symbols]."""
    state = np.zeros(2, np.uint64)
    return RansCoder(COUNT, state, _NO_WORDS, _NO_WORDS, counts, cumulative, first_ends)


def recorded(coder: RansCoder) -> int:
    """Return how many intervals an encoder has recorded."""
    return int(coder.state[_STATE_AT])


def pack_intervals(intervals: np.ndarray) -> bytes:
    """Return the payload of recorded intervals, uint32 [symbols], as little-endian words.

    See `RansCoder.intervals`; intervals that were recorded one after the other may be packed
    together or apart.
    """
    return _pack_intervals(intervals).astype("<u4").tobytes()


def finished(coder: RansCoder) -> bool:
    """Return whether a decoder has consumed its payload exactly."""
    return int(coder.state[0]) == STATE_FLOOR and int(coder.state[1]) == coder.words.size


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
def code_symbol(coder, table, symbols, symbol):
    """Code one of `symbols` symbols with row `table` of the cumulative tables; return it.

    `symbol` is ignored by a decoder. A read past the end of the payload yields zeros; `finished`
    detects it.
    """
    row = unsigned(table)
    cumulative = coder.cumulative
    if coder.mode == ENCODE:
        at = coder.state[_STATE_AT]
        start = cumulative[row, np.uint64(symbol)]
        frequency = cumulative[row, np.uint64(symbol + 1)] - start
        coder.intervals[at] = (start << 16) | (frequency - 1)
        coder.state[_STATE_AT] = at + np.uint64(1)
    elif coder.mode == DECODE:
        x = coder.state[_STATE_X]
        slot = x & _MASK
        symbol = 0
        start = np.uint64(0)
        end = np.uint64(cumulative[row, np.uint64(1)])
        while slot >= end and symbol < symbols - 1:
            symbol += 1
            start = end
            end = np.uint64(cumulative[row, np.uint64(symbol + 1)])
        x = (end - start) * (x >> _BITS) + slot - start
        x, at = _refilled(x, coder.state[_STATE_AT], coder.words)
        coder.state[_STATE_X], coder.state[_STATE_AT] = x, at
    else:
        coder.counts[table, symbol] += 1
    return symbol


@kernel(forceinline=True)
def decode_bit(x, at, words, end, likely):
    """Decode a symbol of two, of which the first has the frequency `end`, uint64.

    Takes the coder's state and next word as values and returns (symbol, state, next word), for
    loops that keep them in registers. With `likely` the code branches on the first symbol, which
    pays where it is frequent; without, it is free of branches.
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


@kernel(forceinline=True)
def code_bit(mode, coder, x, at, end, symbol, likely):
    """Encode or decode a symbol of two; arguments and result as in `decode_bit`.

    `mode` is that of the coder, apart so that it may be a constant where a loop has one copy for
    each. `at` is the index of the next interval in an encoder. A counter changes nothing.
    """
    if mode == DECODE:
        return decode_bit(x, at, coder.words, end, likely)
    if mode == ENCODE:
        start, frequency = (end, _TOTAL - end) if symbol else (np.uint64(0), end)
        coder.intervals[at] = np.uint32((start << _BITS) | (frequency - np.uint64(1)))
        at += np.uint64(1)
    return symbol, x, at


@kernel()
def code_bits(coder, bits, value):
    """Code `value` as equally likely bits, highest first; return it."""
    result = 0
    for bit in range(bits - 1, -1, -1):
        result = 2 * result + code_symbol(coder, PLAIN_TABLE, 2, (value >> bit) & 1)
    return result


@compiled()
def _pack_intervals(intervals: np.ndarray) -> np.ndarray:
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
