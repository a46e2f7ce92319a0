"""States straight to pictures, in compiled loops over rows that stay in the caches.

What `latent` and `wavelet` do for whole batches of pictures of one size on any device is done here
for one picture of any size on a CPU. A level of the wavelet is one walk over its rows: cells become
places, places a row, four rows are lifted, and two more are finished; those of the finest level
become bytes at once, so that nothing of the size of the picture is written but the picture.

Rows under way are in halves, their even samples before their odd ones, and put together at the end.
"""

from __future__ import annotations

import numpy as np

from codec.bands import COMPONENTS, Geometry
from codec.compiled import kernel
from codec.folding import fold_low
from codec.lifting import PREDICT_1, PREDICT_2, SCALE, UPDATE_1, UPDATE_2
from codec.wavelet import DYADIC_LEVELS, LEVELS, ORIENTATIONS

_PREDICT_1, _UPDATE_1 = np.float32(-PREDICT_1), np.float32(-UPDATE_1)
_PREDICT_2, _UPDATE_2 = np.float32(-PREDICT_2), np.float32(-UPDATE_2)
_LOW, _BOTH = np.float32(1 / SCALE**2), np.float32(SCALE**2)
"""Scales of the low band and of what is high along both axes; those of the others cancel."""

_ROWS = 8
"""Rows of a component that are kept: six are between the first lifting step and the last."""

_GREY, _LEAST, _MOST = np.float32(128), np.float32(0), np.float32(255)
_ROUND = np.float32(3 << 22)
"""A float32 of this size has no places behind the point: adding it rounds, halves to even."""

_LIGHT, _RED_BLUE = np.float32(3**-0.5), np.float32(2**-0.5)
_MAGENTA, _GREEN = np.float32(6**-0.5), np.float32(2 * 6**-0.5)

_fused = {"contract"}


def paint(
    cell: np.ndarray,
    layout: Geometry,
    places: np.ndarray,
    steps: np.ndarray,
    masks: np.ndarray,
    picture: np.ndarray,
) -> None:
    """Write the picture of a state, without the backward network, to uint8 [3, H, W].

    cell    int16 [size], signed cell indices as the walk leaves them
    places  float32 [LEVELS + 1, 2, 2 * reach + 1], place of each cell from -reach to reach, by
            level, lightness or chroma: see `latent.place_table`
    steps   float32 [BANDS]; masks float32 [h, w], factor on the steps of the dyadic levels
    """
    rows, columns = layout.positions
    low = np.empty((COMPONENTS, rows, columns), np.float32)
    fold_low(cell, layout, places, steps, low)
    width = columns << DYADIC_LEVELS
    scales = np.empty(width // 2, np.float32)
    halves = np.empty((4, width // 2 + 2), np.float32)
    work = np.empty((COMPONENTS, _ROWS, width), np.float32)
    for level in range(DYADIC_LEVELS, 1, -1):
        side = 2 << (DYADIC_LEVELS - level)
        joined = np.empty((COMPONENTS, rows * side, columns * side), np.float32)
        for component in range(COMPONENTS):
            _join_level(
                cell, layout.bands, level, component, low[component], places[level], steps, masks,
                scales, halves, work[component], joined[component],
            )  # fmt: skip
        low = joined
    _paint(
        cell, layout.bands, low, places[1], steps, masks, scales, halves, work,
        np.empty((COMPONENTS, width), np.uint8), picture,
    )  # fmt: skip


@kernel(forceinline=True, fastmath=_fused)
def _lift(target, one, other, factor):
    """Add `factor` times the sum of two rows to a third."""
    for x in range(target.size):
        target[x] += factor * (one[x] + other[x])


@kernel(forceinline=True)
def _take(cell, start, table, scales, step, row):
    """Write the coefficients of a row of cells."""
    reach = table.size >> 1
    for x in range(row.size):
        index = np.uint64(cell[np.uint64(start + x)] + reach)
        row[x] = table[index] * (scales[x] * step)


@kernel(fastmath=_fused)
def _join_row(low, high, halves, evens, odds):
    """Lift a row along x, two steps at a time: from `low` [n + 1], `high` [n + 2] to its halves.

    What is beyond the ends is filled in here: one sample after, and one before the high ones.
    """
    n = evens.size
    updated, predicted = halves[2, : n + 1], halves[3, : n + 2]
    _mirror(low, high)
    for x in range(n):
        here = low[x] + _UPDATE_2 * (high[x] + high[x + 1])
        after = low[x + 1] + _UPDATE_2 * (high[x + 1] + high[x + 2])
        updated[x] = here
        predicted[x + 1] = high[x + 1] + _PREDICT_2 * (here + after)
    _mirror(updated, predicted)
    for x in range(n):
        here = updated[x] + _UPDATE_1 * (predicted[x] + predicted[x + 1])
        after = updated[x + 1] + _UPDATE_1 * (predicted[x + 1] + predicted[x + 2])
        evens[x] = here
        odds[x] = predicted[x + 1] + _PREDICT_1 * (here + after)


@kernel(forceinline=True)
def _mirror(low, high):
    """Fill in the samples beyond the ends: the reflection of the row at its first and its last."""
    n = low.size - 1
    low[n] = low[n - 1]
    high[0] = high[1]
    high[n + 1] = high[max(n - 1, 1)]


@kernel(fastmath=_fused)
def _begin_rows(cell, bands, band, y, low, table, steps, scales, halves, first, second):
    """Write rows 2 y and 2 y + 1 of a level, lifted along x alone, from row y of its four bands."""
    n = low.size
    evens, odds = halves[0, : n + 1], halves[1, : n + 2]
    across, down, both = band, band + 1, band + 2
    for x in range(n):
        evens[x] = low[x] * _LOW
    _take(cell, bands[across, 0] + y * bands[across, 3], table, scales, steps[across], odds[1:-1])
    _join_row(evens, odds, halves, first[:n], first[n : 2 * n])
    _take(cell, bands[down, 0] + y * bands[down, 3], table, scales, steps[down], evens[:n])
    step = steps[both] * _BOTH
    _take(cell, bands[both, 0] + y * bands[both, 3], table, scales, step, odds[1:-1])
    _join_row(evens, odds, halves, second[:n], second[n : 2 * n])


@kernel(fastmath=_fused)
def _lift_rows(work, k, n, width):
    """Do the lifting steps along y for which the rows up to 2 k + 1 of 2 n are what is needed.

    Rows 2 k - 4 and 2 k - 3 are finished after it.
    """
    if k < n:
        before = work[(2 * max(k - 1, 0) + 1) % _ROWS, :width]
        own = work[(2 * k + 1) % _ROWS, :width]
        _lift(work[2 * k % _ROWS, :width], before, own, _UPDATE_2)
    done = k - 1
    if 0 <= done < n:
        own, after = work[2 * done % _ROWS, :width], work[2 * min(k, n - 1) % _ROWS, :width]
        _lift(work[(2 * done + 1) % _ROWS, :width], own, after, _PREDICT_2)
        before = work[(2 * max(done - 1, 0) + 1) % _ROWS, :width]
        own = work[(2 * done + 1) % _ROWS, :width]
        _lift(work[2 * done % _ROWS, :width], before, own, _UPDATE_1)
    last = k - 2
    if last >= 0:
        own, after = work[2 * last % _ROWS, :width], work[2 * min(last + 1, n - 1) % _ROWS, :width]
        _lift(work[(2 * last + 1) % _ROWS, :width], own, after, _PREDICT_1)


@kernel(forceinline=True)
def _spread(masks, y, shift, scales):
    """Write the factor on the steps of each sample of row y of a level, once a row of positions."""
    if y & ((1 << shift) - 1) == 0:
        for x in range(masks.shape[1] << shift):
            scales[x] = masks[y >> shift, x >> shift]


@kernel(forceinline=True)
def _interleave(evens, odds, row):
    """Put the two halves of a row together, as much of it as there is room for."""
    for x in range(row.size >> 1):
        row[2 * x] = evens[x]
        row[2 * x + 1] = odds[x]
    if row.size & 1:
        row[row.size - 1] = evens[row.size >> 1]


@kernel()
def _join_level(
    cell, bands, level, component, low, places, steps, masks, scales, halves, work, joined
):  # fmt: skip
    """Join one component of a level to float32 [2 n, width], from its low band and its cells."""
    n, half = low.shape
    band = COMPONENTS + ORIENTATIONS * (COMPONENTS * (LEVELS - level) + component)
    table = places[min(component, 1)]
    for k in range(n + 2):
        if k < n:
            _spread(masks, k, DYADIC_LEVELS - level, scales)
            _begin_rows(
                cell, bands, band, k, low[k], table, steps, scales, halves,
                work[2 * k % _ROWS], work[(2 * k + 1) % _ROWS],
            )  # fmt: skip
        _lift_rows(work, k, n, 2 * half)
        if k > 1:
            for y in range(2 * k - 4, 2 * k - 2):
                row = work[y % _ROWS, : 2 * half]
                _interleave(row[:half], row[half:], joined[y])


@kernel(forceinline=True)
def _byte(value):
    """Clip to 0 ... 255 and round to the nearest integer."""
    return np.uint8(np.int32((min(max(value, _LEAST), _MOST) + _ROUND) - _ROUND))


@kernel(fastmath=_fused)
def _mix(lights, reds, greens, mixed):
    """Turn a row of opponent colours into bytes of red, green and blue."""
    for x in range(mixed.shape[1]):
        grey = lights[x] * _LIGHT + _GREY
        turned = grey - greens[x] * _MAGENTA
        mixed[0, x] = _byte(turned + reds[x] * _RED_BLUE)
        mixed[1, x] = _byte(grey + greens[x] * _GREEN)
        mixed[2, x] = _byte(turned - reds[x] * _RED_BLUE)


@kernel()
def _paint(
    cell, bands, low, places, steps, masks, scales, halves, work, mixed, picture
):  # fmt: skip
    """Join the finest level of all components, row by row, and write the picture."""
    n, half = low.shape[1:]
    height = picture.shape[1]
    first = COMPONENTS + ORIENTATIONS * COMPONENTS * (LEVELS - 1)
    for k in range(n + 2):
        if 2 * k - 4 >= height:
            break
        for component in range(COMPONENTS):
            rows = work[component]
            if k < n:
                _spread(masks, k, DYADIC_LEVELS - 1, scales)
                _begin_rows(
                    cell, bands, first + ORIENTATIONS * component, k, low[component, k],
                    places[min(component, 1)], steps, scales, halves,
                    rows[2 * k % _ROWS], rows[(2 * k + 1) % _ROWS],
                )  # fmt: skip
            _lift_rows(rows, k, n, 2 * half)
        if k > 1:
            for y in range(2 * k - 4, min(2 * k - 2, height)):
                _mix(work[0, y % _ROWS], work[1, y % _ROWS], work[2, y % _ROWS], mixed)
                for colour in range(3):
                    _interleave(mixed[colour, :half], mixed[colour, half:], picture[colour, y])
