"""Chances of binary symbols that follow the picture: adaptive estimates, mixed.

An *estimate* is the share of ones among the symbols of one context, and a count that says how much
it is worth: the more symbols it has seen, the less one symbol moves it. It starts from what the
training photos showed. Estimates of several contexts are mixed: their log-odds are weighted and
summed, and the weights follow the picture as well. All arithmetic is on integers.

Source: logistic mixing and adaptive rates after Mahoney 2005 (PAQ).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from underpaint.codec.entropy.activity import BINS
from underpaint.codec.entropy.signs import SIGN_BINS
from underpaint.codec.runtime.jit import kernel, unsigned
from underpaint.codec.transform.subbands import BANDS

SHARE_BITS = 22
"""Binary digits of the share of an estimate."""

LEAST_SHARE = 1 << (SHARE_BITS - 16)
"""Shares stay so far from 0 and from 1: chances in 1/65536 then need no bounds."""

SETTLED_SHIFT = 7
"""An estimate that starts from a stored table moves by 1/128 of its distance from a symbol."""

FIRST_COUNT = 20
"""Most symbols that the start of any other estimate counts as."""

MOST_COUNT = 90
"""Symbols after which an estimate counts no further."""

SHIFTS = 1 + np.searchsorted((2, 5, 10, 22, 44, 90), np.arange(MOST_COUNT + 1), "right").astype(
    np.uint8
)
"""How far any other estimate moves, by its count: 1 / (count + 1.5), with its logarithm rounded to
a power of two; the exponent of 1/2."""

LOG_ODDS_UNIT = 128
"""Value of log-odds that stands for a natural logarithm of 1."""

MOST_LOG_ODDS = 12 * LOG_ODDS_UNIT - 1
"""Bound of the log-odds of a mixed chance, to either side."""

MIXING_BITS = 16
"""Binary digits of mixing weights after the point."""

MOST_MIXING = 1 << 17
"""Bound of mixing weights, to either side: sums of four products stay within 32 bits."""

LEARNING_SHIFT = 15
"""Mixing weights move by the error of the chance times the log-odds, shifted by so much."""

_STRETCH_BITS = 12

CHANCES = 1 << 16
"""A chance is an integer out of so many."""


def exact_log_odds() -> np.ndarray:
    """Return log-odds of the middles of 4096 equal ranges of shares, before rounding, float64."""
    share = (np.arange(1 << _STRETCH_BITS) + 0.5) / (1 << _STRETCH_BITS)
    return np.asarray(LOG_ODDS_UNIT * np.log(share / (1 - share)))


def exact_chances() -> np.ndarray:
    """Return the chances of log-odds from -MOST_LOG_ODDS on, before rounding, float64."""
    log_odds = np.arange(-MOST_LOG_ODDS, MOST_LOG_ODDS + 1) / LOG_ODDS_UNIT
    return np.asarray(CHANCES / (1 + np.exp(-log_odds)))


LOG_ODDS = np.round(exact_log_odds()).astype(np.int32)
"""Log-odds by the upper 12 bits of a share. No value is near a half before it is rounded, so every
machine computes the same integers."""

CHANCE_OF = np.clip(np.round(exact_chances()), 1, CHANCES - 1).astype(np.int32)
"""Chance of each log-odds, from -MOST_LOG_ODDS on; rounded as safely."""

(SPLIT_ACTIVITY, SIGN_CONTEXT, SIGN_AROUND, SIGN_WEST, SIGN_NORTH, SPLIT_RELATIVES, SPLIT_NEAR,
 ESTIMATES) = np.cumsum([0, BINS, SIGN_BINS, 81, 81, 81, 256, 256]).tolist()  # fmt: skip
"""First estimate of each kind among those of one band and step, and the number of all:
  SPLIT_ACTIVITY   splits of the zero cell, by the bin of the activity
  SIGN_CONTEXT     whether the likely sign is wrong, by the bin of the sign context
  SIGN_AROUND      positive signs, by the signs to the west, east, north and south
  SIGN_WEST        positive signs, by those of lightness, the other chroma, the parent and the west
  SIGN_NORTH       positive signs, by those of lightness, the other chroma, the parent and the north
  SPLIT_RELATIVES  splits of the zero cell, by the magnitudes of parent, siblings and lightness
  SPLIT_NEAR       splits of the zero cell, by the activity in finer steps and the western magnitude
"""

STORED = SIGN_AROUND
"""The first estimate whose start is stored beside the tables; those before it start from tables."""

SIGN_INPUTS, SPLIT_INPUTS = 4, 3
"""Estimates that are mixed for a sign, and for a split of the zero cell."""


def stored_estimates(mixes_splits: bool) -> int:
    """Return how many starts of estimates are stored for each band and step."""
    return (ESTIMATES if mixes_splits else SPLIT_RELATIVES) - STORED


def mixing_inputs(mixes_splits: bool) -> int:
    """Return how many mixing weights there are for each band and step: of signs, then of splits."""
    return SIGN_INPUTS + SPLIT_INPUTS * mixes_splits


class Starts(NamedTuple):
    """Where all estimates of each band start, in one step.

    shares  int32 [BANDS, estimates], share of ones in units of 2 to the power of -SHARE_BITS
    counts  uint8 [BANDS, stored estimates], symbols that the share counts as
    """

    shares: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Estimates:
    """Where the estimates of bands start, for S steps of the scalar chain.

    shares  uint16 [S, BANDS, stored estimates], share of ones out of CHANCES
    counts  uint8 [S, BANDS, stored estimates], symbols that the share counts as
    mixing  int32 [S, BANDS, mixing weights], of signs, then of splits if they are mixed
    """

    shares: np.ndarray
    counts: np.ndarray
    mixing: np.ndarray

    def starts(self, step: int, cumulative: np.ndarray, tables: tuple[int, int]) -> Starts:
        """Return where all estimates of a step start, with those that start from tables.

        `cumulative` are the tables; `tables` the first of splits of the zero cell and of signs.
        """
        bands = len(self.shares[step])
        splits, signs = (
            CHANCES - cumulative[first : first + bands * bins, 1].reshape(bands, bins)
            for first, bins in zip(tables, (BINS, SIGN_BINS), strict=True)
        )
        shares = np.concatenate([splits, signs, self.shares[step]], 1).astype(np.int32)
        return Starts(shares << (SHARE_BITS - 16), self.counts[step])

    @classmethod
    def neutral(cls, steps: int, mixes_splits: bool) -> Estimates:
        """Return estimates that know nothing: even chances, equal weights."""
        stored = (steps, BANDS, stored_estimates(mixes_splits))
        mixing = np.empty((steps, BANDS, mixing_inputs(mixes_splits)), np.int32)
        mixing[..., :SIGN_INPUTS] = (1 << MIXING_BITS) // SIGN_INPUTS
        mixing[..., SIGN_INPUTS:] = (1 << MIXING_BITS) // SPLIT_INPUTS
        shares = np.full(stored, CHANCES // 2, np.uint16)
        return cls(shares, np.zeros(stored, np.uint8), mixing)

    @classmethod
    def counted(cls, seen: np.ndarray, mixing: np.ndarray) -> Estimates:
        """Return estimates that start from symbols seen, int64 [S, BANDS, stored estimates, 2]."""
        total = seen.sum(-1)
        shares = np.round(CHANCES * (seen[..., 1] + 0.4) / (total + 0.8))
        counts = np.minimum(FIRST_COUNT, 2 + total // 5)
        shares = np.clip(shares, 1, CHANCES - 1).astype(np.uint16)
        return cls(shares, counts.astype(np.uint8), mixing)


@kernel(forceinline=True)
def chance_of(share):
    """Return the chance of a one by the share of one estimate, 1 to CHANCES - 1."""
    return np.int64(share) >> (SHARE_BITS - 16)


@kernel(forceinline=True)
def log_odds_of(share):
    """Return the log-odds of a one by the share of one estimate."""
    return np.int64(LOG_ODDS[unsigned(np.int64(share) >> (SHARE_BITS - _STRETCH_BITS))])


@kernel(forceinline=True)
def chance_of_mixed(weighted):
    """Return the chance of a one of the weighted sum of log-odds, 1 to CHANCES - 1."""
    log_odds = max(-MOST_LOG_ODDS, min(weighted >> MIXING_BITS, MOST_LOG_ODDS))
    return np.int64(CHANCE_OF[unsigned(log_odds + MOST_LOG_ODDS)])


@kernel(forceinline=True)
def _towards(share, symbol, shift):
    target = np.int32((1 << SHARE_BITS) - LEAST_SHARE) if symbol else np.int32(LEAST_SHARE)
    return np.int32(share + ((target - share) >> shift))


@kernel(forceinline=True)
def follow(shares, at, symbol):
    """Move estimate `at`, which starts from a table, towards a symbol, 0 or 1."""
    shares[unsigned(at)] = _towards(shares[unsigned(at)], symbol, np.int32(SETTLED_SHIFT))


@kernel(forceinline=True)
def see(shares, counts, at, symbol):
    """Move estimate `at`, whose start is stored beside the tables, towards a symbol, 0 or 1."""
    counted = unsigned(at - STORED)
    count = counts[counted]
    shift = np.int32(SHIFTS[unsigned(count)])
    shares[unsigned(at)] = _towards(shares[unsigned(at)], symbol, shift)
    counts[counted] = count + np.uint8(count < MOST_COUNT)


@kernel(forceinline=True)
def learned(weight, log_odds, error, shift):
    """Return a mixing weight after a symbol; `error` is symbol times CHANCES, less its chance."""
    moved = weight + ((error * log_odds + (1 << (shift - 1))) >> shift)
    return max(-MOST_MIXING, min(moved, MOST_MIXING))


@kernel(forceinline=True)
def in_widths(magnitude, width):
    """Return a magnitude in whole widths of a cell, at most 3."""
    return (
        np.int64(magnitude >= width) + np.int64(magnitude >= 2 * width)
        + np.int64(magnitude >= 3 * width)
    )  # fmt: skip


@kernel(forceinline=True)
def near_context(fine, west, width):
    """Return the place among SPLIT_NEAR of an activity in 1/64 of a cell, and of the west."""
    coarse = fine if fine < 32 else min(32 + ((fine - 32) >> 4), 63)
    return 4 * coarse + in_widths(west, width)
