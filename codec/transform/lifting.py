"""The wavelet of `codec.transform.wavelet` as compiled loops over float32 planes on a CPU.

The same arithmetic in the same order, so the same bits; but a level is one walk over the rows, in
which all four lifting steps along y, and then those along x, follow each other while the rows are
in the cache.
"""

from __future__ import annotations

import numpy as np

from underpaint.codec.runtime.jit import kernel

PREDICT_1, UPDATE_1 = -1.586134342059924, -0.052980118572961
PREDICT_2, UPDATE_2 = 0.882911075530934, 0.443506852043971
SCALE = 1.149604398860241

_PREDICT_1, _UPDATE_1 = np.float32(PREDICT_1), np.float32(UPDATE_1)
_PREDICT_2, _UPDATE_2 = np.float32(PREDICT_2), np.float32(UPDATE_2)
_SCALE, _ONE = np.float32(SCALE), np.float32(1)


def split_planes(x: np.ndarray) -> list[np.ndarray]:
    """Split float32 [planes, H, W] one level: high along x, along y, along both, and low."""
    planes, height, width = x.shape
    low, high = (height + 1) // 2, height // 2
    wide, narrow = (width + 1) // 2, width // 2
    shapes = (low, narrow), (high, wide), (high, narrow), (low, wide)
    across, down, both, rest = (np.empty((planes, *shape), np.float32) for shape in shapes)
    work = x.copy()
    rows = np.empty((2, wide + 2), np.float32)
    for plane in range(planes):
        _split(work[plane], rest[plane], across[plane], down[plane], both[plane], *rows)
    return [across, down, both, rest]


def join_planes(
    low: np.ndarray, across: np.ndarray, down: np.ndarray, both: np.ndarray
) -> np.ndarray:
    """Invert `split_planes`: float32 [planes, H, W]."""
    planes, rows, columns = low.shape
    joined = np.empty((planes, rows + down.shape[1], columns + across.shape[2]), np.float32)
    work = np.empty((2, columns + 2), np.float32)
    for plane in range(planes):
        join_plane(low[plane], across[plane], down[plane], both[plane], joined[plane], *work)
    return joined


@kernel()
def mix_colours(pixels, matrix, mixed):
    """Write `matrix`, float32 [3, 3], times the colours of [N, 3, H, W] to `mixed`."""
    for image in range(pixels.shape[0]):
        for y in range(pixels.shape[2]):
            for x in range(pixels.shape[3]):
                red, green = pixels[image, 0, y, x], pixels[image, 1, y, x]
                blue = pixels[image, 2, y, x]
                for component in range(3):
                    mixed[image, component, y, x] = (
                        matrix[component, 0] * red
                        + matrix[component, 1] * green
                        + matrix[component, 2] * blue
                    )


@kernel(forceinline=True)
def _lift(target, one, other, factor):
    """Add `factor` times the sum of two rows to a third."""
    for x in range(target.size):
        target[x] += factor * (one[x] + other[x])


@kernel()
def _split(x, low, across, down, both, even, odd):
    """Split one plane; `x` is written over, `even` and `odd` are room for half a row each."""
    n_low, n_high = low.shape[0], down.shape[0]
    if n_high == 0:
        _split_row(x[0], _ONE, _ONE, low[0], across[0], even, odd)
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
            _split_row(x[2 * done], _SCALE, _ONE, low[done], across[done], even, odd)
        if 0 <= done - 1 < n_high:
            row = done - 1
            _split_row(x[2 * row + 1], _ONE, _SCALE, down[row], both[row], even, odd)
    if n_high == n_low:
        row = n_high - 1
        _split_row(x[2 * row + 1], _ONE, _SCALE, down[row], both[row], even, odd)


@kernel()
def _split_row(row, times, over, low, high, even, odd):
    """Split one row, scaled by `times / over`, into its low and its high half.

    `even` has its last sample twice, `odd` its first and its last.
    """
    n_low, n_high = low.size, high.size
    if n_high == 0:
        low[0] = row[0] * times / over
        return
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


@kernel()
def join_plane(low, across, down, both, x, even, odd):
    """Invert `_split`: write the plane `x`; `even`, `odd` have room for half a row and two more."""
    n_low, n_high = low.shape[0], down.shape[0]
    if n_high == 0:
        _join_row(low[0], across[0], _ONE, _ONE, x[0], even, odd)
        return
    for k in range(n_low + 2):
        if k < n_high:
            _join_row(down[k], both[k], _SCALE, _ONE, x[2 * k + 1], even, odd)
        if k < n_low:
            before, own = max(k - 1, 0), min(k, n_high - 1)
            _join_row(low[k], across[k], _ONE, _SCALE, x[2 * k], even, odd)
            _lift(x[2 * k], x[2 * before + 1], x[2 * own + 1], -_UPDATE_2)
        done = k - 1
        if 0 <= done < n_high:
            _lift(x[2 * done + 1], x[2 * done], x[2 * min(k, n_low - 1)], -_PREDICT_2)
        if 0 <= done < n_low:
            before, own = max(done - 1, 0), min(done, n_high - 1)
            _lift(x[2 * done], x[2 * before + 1], x[2 * own + 1], -_UPDATE_1)
        last = k - 2
        if 0 <= last < n_high:
            _lift(x[2 * last + 1], x[2 * last], x[2 * min(last + 1, n_low - 1)], -_PREDICT_1)


@kernel()
def _join_row(low, high, times, over, row, even, odd):
    """Invert `_split_row`: write `row`, scaled by `times / over`."""
    n_low, n_high = low.size, high.size
    if n_high == 0:
        row[0] = low[0] * times / over
        return
    for x in range(n_low):
        even[x] = low[x] / _SCALE
    for x in range(n_high):
        odd[x + 1] = high[x] * _SCALE
    odd[0], odd[n_high + 1] = odd[1], odd[n_high]
    _lift(even[:n_low], odd[:n_low], odd[1 : n_low + 1], -_UPDATE_2)
    even[n_low] = even[n_low - 1]
    _lift(odd[1 : n_high + 1], even[:n_high], even[1 : n_high + 1], -_PREDICT_2)
    odd[0], odd[n_high + 1] = odd[1], odd[n_high]
    _lift(even[:n_low], odd[:n_low], odd[1 : n_low + 1], -_UPDATE_1)
    even[n_low] = even[n_low - 1]
    _lift(odd[1 : n_high + 1], even[:n_high], even[1 : n_high + 1], -_PREDICT_1)
    for x in range(n_high):
        row[2 * x] = even[x] * times / over
        row[2 * x + 1] = odd[x + 1] * times / over
    if n_low > n_high:
        row[2 * n_high] = even[n_high] * times / over
