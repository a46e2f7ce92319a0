"""Permutations that depend on integers only: equal in every version and on every machine."""

from __future__ import annotations

import numpy as np

ROUNDS = 8
"""Rounds of the Feistel network: twice the four that Luby and Rackoff (1988) need."""


def keyed_permutation(length: int, *key: int) -> np.ndarray:
    """Return a permutation of 0 … length-1, int64, that depends only on the integers of `key`.

    Indices are sorted by their SplitMix64 hash (Steele, Lea and Flood 2014): the streams of NumPy's
    generators may change between versions, but a checkpoint must stay valid.
    """
    with np.errstate(over="ignore"):
        hashes = _splitmix64(_state(key) + np.arange(length, dtype=np.uint64))
    return np.argsort(hashes, kind="stable")


def permuted(places: np.ndarray, length: int, *key: int) -> np.ndarray:
    """Return where a permutation of 0 … length-1 puts some places, int64, without the whole of it.

    A Feistel network permutes the numbers below the next power of 4. Results that are too large go
    through it again, until they are below `length` (cycle walking; Black and Rogaway 2002), which
    takes fewer than 4 passes on average.

    Args:
        places: int64, each from 0 to length - 1.
        length: number of elements of the permutation, up to 2**62.
        key: integers that choose the permutation.
    """
    half = np.uint64(max(1, (max(length - 1, 1).bit_length() + 1) // 2))
    low = (np.uint64(1) << half) - np.uint64(1)
    with np.errstate(over="ignore"):
        keys = _splitmix64(_state(key) + np.arange(ROUNDS, dtype=np.uint64))
        found = np.asarray(places, np.int64).astype(np.uint64)
        outside = np.arange(len(found))
        while len(outside):
            left, right = found[outside] >> half, found[outside] & low
            for one in keys:
                left, right = right, left ^ (_splitmix64(right ^ one) & low)
            found[outside] = left << half | right
            outside = outside[found[outside] >= length]
    return found.astype(np.int64)


def _state(key: tuple[int, ...]) -> np.ndarray:
    state = np.zeros(1, np.uint64)
    for part in key:
        state = _splitmix64(state ^ np.uint64(part & 0xFFFFFFFFFFFFFFFF))
    return state


def _splitmix64(x: np.ndarray) -> np.ndarray:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
