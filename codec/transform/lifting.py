"""Lifting steps of the CDF 9/7 wavelet in compiled loops over float32 on a CPU.

Planes are transformed row by row: the four lifting steps along y, and those along x, follow each
other while the rows are in the cache. The arithmetic is that of `wavelet` in the same order, so the
results are equal to the bit.

The steps of the inverse are written once, as plain functions, and compiled twice. Here they are
exact, for planes of any sides. `inverse_row_fused` and `inverse_columns_fused` may fuse a
multiplication and an addition into one instruction: `reconstruct.cpu.pixels` uses them to lift
dequantised rows of pictures, whose last bits are rounded away. Planes cannot go through that loop:
latents must equal those of tensors to the bit, and planes may have odd sides.

Source: Daubechies and Sweldens 1998, "Factoring wavelet transforms into lifting steps".
"""

from __future__ import annotations

import numpy as np

from underpaint.codec.runtime.jit import fused_copy, kernel

PREDICT_1, UPDATE_1 = -1.586134342059924, -0.052980118572961
PREDICT_2, UPDATE_2 = 0.882911075530934, 0.443506852043971
SCALE = 1.149604398860241

_PREDICT_1, _UPDATE_1 = np.float32(PREDICT_1), np.float32(UPDATE_1)
_PREDICT_2, _UPDATE_2 = np.float32(PREDICT_2), np.float32(UPDATE_2)
_SCALE, _ONE = np.float32(SCALE), np.float32(1)


def split_planes(x: np.ndarray) -> list[np.ndarray]:
    """Split float32 [planes, H, W] by one level: high along x, along y, along both, and low."""
    planes, height, width = x.shape
    low, high = (height + 1) // 2, height // 2
    wide, narrow = (width + 1) // 2, width // 2
    shapes = (low, narrow), (high, wide), (high, narrow), (low, wide)
    across, down, both, rest = (np.empty((planes, *shape), np.float32) for shape in shapes)
    work = x.copy()
    rows = np.empty((2, wide + 2), np.float32)
    for plane in range(planes):
        _split_plane(work[plane], rest[plane], across[plane], down[plane], both[plane], rows)
    return [across, down, both, rest]


def join_planes(
    low: np.ndarray, across: np.ndarray, down: np.ndarray, both: np.ndarray
) -> np.ndarray:
    """Invert `split_planes`: float32 [planes, H, W]."""
    planes, rows, columns = low.shape
    joined = np.empty((planes, rows + down.shape[1], columns + across.shape[2]), np.float32)
    halves = np.empty((HALVES, columns + 2), np.float32)
    for plane in range(planes):
        join_plane(low[plane], across[plane], down[plane], both[plane], joined[plane], halves)
    return joined


@kernel(forceinline=True)
def _lift(target, one, other, factor):
    """Add `factor` times the sum of two rows to a third."""
    for x in range(target.size):
        target[x] += factor * (one[x] + other[x])


@kernel()
def _split_plane(x, low, across, down, both, halves):
    """Split one plane; `x` is overwritten; `halves` [2, columns + 2] is scratch memory."""
    n_low, n_high = low.shape[0], down.shape[0]
    if n_high == 0:
        _split_row(x[0], _ONE, _ONE, low[0], across[0], halves)
        return
    for k in range(n_low + 1):
        if k < n_high:
            _lift(x[2 * k + 1], x[2 * k], x[2 * min(k + 1, n_low - 1)], _PREDICT_1)
        if k < n_low:
            before, own = max(k - 1, 0), min(k, n_high - 1)
            _lift(x[2 * k], x[2 * before + 1], x[2 * own + 1], _UPDATE_1)
        done = k - 1
        if 0 <= done < n_high:
            _lift(x[2 * done + 1], x[2 * done], x[2 * min(k, n_low - 1)], _PREDICT_2)
        if done >= 0:
            before, own = max(done - 1, 0), min(done, n_high - 1)
            _lift(x[2 * done], x[2 * before + 1], x[2 * own + 1], _UPDATE_2)
            _split_row(x[2 * done], _SCALE, _ONE, low[done], across[done], halves)
        if 0 <= done - 1 < n_high:
            row = done - 1
            _split_row(x[2 * row + 1], _ONE, _SCALE, down[row], both[row], halves)
    if n_high == n_low:
        row = n_high - 1
        _split_row(x[2 * row + 1], _ONE, _SCALE, down[row], both[row], halves)


@kernel()
def _split_row(row, times, over, low, high, halves):
    """Split one row, scaled by `times / over`, into its low and its high half."""
    n_low, n_high = low.size, high.size
    if n_high == 0:
        low[0] = row[0] * times / over
        return
    even, odd = halves[0], halves[1]  # odd samples from the second place on: mirrored at both ends
    for x in range(n_high):
        even[x] = row[2 * x] * times / over
        odd[x + 1] = row[2 * x + 1] * times / over
    if n_low > n_high:
        even[n_high] = row[2 * n_high] * times / over
    even[n_low] = even[n_low - 1]
    _lift(odd[1 : n_high + 1], even[:n_high], even[1 : n_high + 1], _PREDICT_1)
    odd[0], odd[n_high + 1] = odd[1], odd[n_high]
    _lift(even[:n_low], odd[:n_low], odd[1 : n_low + 1], _UPDATE_1)
    even[n_low] = even[n_low - 1]
    _lift(odd[1 : n_high + 1], even[:n_high], even[1 : n_high + 1], _PREDICT_2)
    odd[0], odd[n_high + 1] = odd[1], odd[n_high]
    _lift(even[:n_low], odd[:n_low], odd[1 : n_low + 1], _UPDATE_2)
    for x in range(n_low):
        low[x] = even[x] * _SCALE
    for x in range(n_high):
        high[x] = odd[x + 1] / _SCALE


HALVES = 6
"""Rows of scratch memory that the inverse needs, each of half a row and two samples more: inputs
`LOW_HALF` and `HIGH_HALF` of `inverse_row`, its two intermediate results, and its outputs."""

LOW_HALF, HIGH_HALF, _UPDATED, _PREDICTED, EVEN_HALF, ODD_HALF = range(HALVES)


def _inverse_row(halves, evens, odds):
    """Lift one row along x, from its two subbands to its even and its odd samples.

    The low subband stands in `halves[LOW_HALF]` from the first place on, the high one in
    `halves[HIGH_HALF]` from the second: the places beyond both ends are filled in here. Two
    lifting steps share a pass over the row.
    """
    n_low, n_high = evens.size, odds.size
    low, high = halves[LOW_HALF, : n_low + 1], halves[HIGH_HALF, : n_high + 2]
    updated, predicted = halves[_UPDATED, : n_low + 1], halves[_PREDICTED, : n_high + 2]
    _mirror(low, high, n_low, n_high)
    for x in range(n_high):
        here = low[x] - _UPDATE_2 * (high[x] + high[x + 1])
        after = low[x + 1] - _UPDATE_2 * (high[x + 1] + high[x + 2])
        updated[x] = here
        predicted[x + 1] = high[x + 1] - _PREDICT_2 * (here + after)
    if n_low > n_high:
        updated[n_high] = low[n_high] - _UPDATE_2 * (high[n_high] + high[n_high + 1])
    _mirror(updated, predicted, n_low, n_high)
    for x in range(n_high):
        here = updated[x] - _UPDATE_1 * (predicted[x] + predicted[x + 1])
        after = updated[x + 1] - _UPDATE_1 * (predicted[x + 1] + predicted[x + 2])
        evens[x] = here
        odds[x] = predicted[x + 1] - _PREDICT_1 * (here + after)
    if n_low > n_high:
        evens[n_high] = updated[n_high] - _UPDATE_1 * (predicted[n_high] + predicted[n_high + 1])


@kernel(forceinline=True)
def _mirror(low, high, n_low, n_high):
    """Fill in the samples beyond the ends of a row by symmetric extension."""
    low[n_low] = low[n_low - 1]
    high[0] = high[1]
    high[n_high + 1] = high[n_high if n_low > n_high else max(n_high - 1, 1)]


@kernel(inline="always")
def _lift_even(rows, mask, k, n_high, width, factor):
    """Lift row 2 k by the odd rows beside it, by the caller's rules of arithmetic."""
    before, after = 2 * max(k - 1, 0) + 1, 2 * min(k, n_high - 1) + 1
    row, one, other = rows[2 * k & mask], rows[before & mask], rows[after & mask]
    for x in range(width):
        row[x] += factor * (one[x] + other[x])


@kernel(inline="always")
def _lift_odd(rows, mask, k, n_low, width, factor):
    """Lift row 2 k + 1 by the even rows beside it, by the caller's rules of arithmetic."""
    after = 2 * min(k + 1, n_low - 1)
    row, one, other = rows[2 * k + 1 & mask], rows[2 * k & mask], rows[after & mask]
    for x in range(width):
        row[x] += factor * (one[x] + other[x])


def _inverse_columns(rows, mask, k, n_low, n_high, width):
    """Do all lifting steps along y that rows up to 2 k + 1 of a plane allow.

    `rows` is the plane, with a mask of -1, or a ring of 8 rows, with a mask of 7: row y stands at
    y & mask. Rows 2 k - 4 and 2 k - 3 are complete afterwards.
    """
    if k < n_low:
        _lift_even(rows, mask, k, n_high, width, -_UPDATE_2)
    k -= 1
    if 0 <= k < n_high:
        _lift_odd(rows, mask, k, n_low, width, -_PREDICT_2)
    if 0 <= k < n_low:
        _lift_even(rows, mask, k, n_high, width, -_UPDATE_1)
    k -= 1
    if 0 <= k < n_high:
        _lift_odd(rows, mask, k, n_low, width, -_PREDICT_1)


inverse_row, inverse_row_fused = kernel()(_inverse_row), fused_copy(_inverse_row)
inverse_columns, inverse_columns_fused = kernel()(_inverse_columns), fused_copy(_inverse_columns)


@kernel()
def join_plane(low, across, down, both, plane, halves):
    """Invert `_split_plane`; `halves` [HALVES, columns + 2] is scratch memory."""
    n_low, n_high = low.shape[0], down.shape[0]
    if n_high == 0:
        _join_row(low[0], across[0], _ONE, _ONE, plane[0], halves)
        return
    for k in range(n_low + 2):
        if k < n_high:
            _join_row(down[k], both[k], _SCALE, _ONE, plane[2 * k + 1], halves)
        if k < n_low:
            _join_row(low[k], across[k], _ONE, _SCALE, plane[2 * k], halves)
        inverse_columns(plane, -1, k, n_low, n_high, plane.shape[1])


@kernel()
def _join_row(low, high, times, over, row, halves):
    """Invert `_split_row`: write `row`, scaled by `times / over`."""
    n_low, n_high = low.size, high.size
    if n_high == 0:
        row[0] = low[0] * times / over
        return
    for x in range(n_low):
        halves[LOW_HALF, x] = low[x] / _SCALE
    for x in range(n_high):
        halves[HIGH_HALF, x + 1] = high[x] * _SCALE
    evens, odds = halves[EVEN_HALF, :n_low], halves[ODD_HALF, :n_high]
    inverse_row(halves, evens, odds)
    for x in range(n_high):
        row[2 * x] = evens[x] * times / over
        row[2 * x + 1] = odds[x] * times / over
    if n_low > n_high:
        row[2 * n_high] = evens[n_high] * times / over
