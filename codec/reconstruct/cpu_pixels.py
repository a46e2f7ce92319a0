"""States straight to pictures, in compiled loops over rows that stay in the caches.

What `latent` and `wavelet` do for whole batches of pictures of one size on any device is done here
for one picture of any size on a CPU. A level of the wavelet is one walk over its rows: cells become
places, places a row, four rows are lifted, and two more are finished; those of the finest level
become bytes at once, so that nothing of the size of the picture is written but the picture.

Rows under way are in halves, their even samples before their odd ones, and put together at the end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from underpaint.codec.quantize.quantizer import StateTables
from underpaint.codec.reconstruct.cpu_latents import fold_low
from underpaint.codec.runtime.jit import kernel
from underpaint.codec.transform.colour_rotation import Turn, matrix_back, mix_in_place
from underpaint.codec.transform.lifting import PREDICT_1, PREDICT_2, SCALE, UPDATE_1, UPDATE_2
from underpaint.codec.transform.subbands import COMPONENTS, Geometry
from underpaint.codec.transform.wavelet import DYADIC_LEVELS, LEVELS, ORIENTATIONS

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

_NEXT = np.uint64(1)
_NO_CHANGES = np.empty((0, 0, 0), np.float32)

_fused = {"contract"}


class Painter:
    """Joins the levels of one state, coarse to fine, to its picture.

        low = painter.low()                    # float32 [3, h, w], one sample a position
        low = painter.join(low, (4, 3, 2))     # float32 [3, 8 h, 8 w]
        painter.paint(low, picture)            # uint8 [3, H, W]

    A backward network may have moved the places of some levels: `changes`, float32 [rows, columns,
    48] in widths of a cell, channels as in its inputs. They are kept within their cells.
    """

    def __init__(
        self,
        cell: np.ndarray,
        layout: Geometry,
        tables: StateTables,
        steps: np.ndarray,
        masks: np.ndarray,
        turn: Turn,
    ) -> None:
        """Take a state.

        `cell` int16 [size], signed cell indices as the walk leaves them; `steps` float32 [BANDS];
        `masks` float32 [h, w], factor on the steps of the dyadic levels.
        """
        self.layout, self._cell, self._steps, self._masks = layout, cell, steps, masks
        self._turn = turn
        self._places, self._bounds = tables.places, tables.bounds
        self._width = np.float32(tables.width)
        width = layout.positions[1] << DYADIC_LEVELS
        self._scales = np.empty(width // 2, np.float32)
        self._halves = np.empty((4, width // 2 + 2), np.float32)
        self._rows = np.empty((COMPONENTS, _ROWS, width), np.float32)
        self._mixed = np.empty((COMPONENTS, width), np.uint8)

    def low(self) -> np.ndarray:
        """Return the low band at one sample a position, float32 [3, h, w]."""
        low = np.empty((COMPONENTS, *self.layout.positions), np.float32)
        fold_low(self._cell, self.layout, self._places, self._steps, low)
        return low

    def see(self, levels: Sequence[int], seen: np.ndarray, inputs: np.ndarray) -> None:
        """Write what `seen` [LEVELS + 1, 2, cells] holds for each cell to a network's inputs.

        `inputs` [rows, columns, 48 or more]: channels from 3 on are the coefficients of an even
        level, by orientation and component; those from 12 on of an odd one, 2 x 2 of each.
        """
        for level in levels:
            _see(self._cell, self.layout.bands, level, seen[level], inputs)

    def join(
        self, low: np.ndarray, levels: Sequence[int], changes: np.ndarray = _NO_CHANGES
    ) -> np.ndarray:
        """Join some levels, coarse to fine, to a low band: float32 [3, ...]."""
        for level in levels:
            joined = np.empty((COMPONENTS, 2 * low.shape[1], 2 * low.shape[2]), np.float32)
            for component in range(COMPONENTS):
                _join_level(
                    self._cell, self.layout.bands, level, component, low[component],
                    self._places[level], self._bounds, self._width, changes, self._steps,
                    self._masks, self._scales, self._halves, self._rows[component],
                    joined[component],
                )  # fmt: skip
            low = joined
        return low

    def paint(
        self, low: np.ndarray, picture: np.ndarray, changes: np.ndarray = _NO_CHANGES
    ) -> None:
        """Join the finest level to a low band and write the picture, uint8 [3, H, W].

        The colours of the low band are turned back in place.
        """
        if any(self._turn):
            mix_in_place(low, matrix_back(self._turn))
        _paint(
            self._cell, self.layout.bands, low, self._places[1], self._bounds, self._width,
            changes, self._steps, self._masks, self._scales, self._halves, self._rows,
            self._mixed, picture,
        )  # fmt: skip


@kernel(forceinline=True, fastmath=_fused)
def _lift(target, one, other, factor):
    """Add `factor` times the sum of two rows to a third."""
    for x in range(target.size):
        target[x] += factor * (one[x] + other[x])


@kernel()
def _see(cell, bands, level, seen, inputs):
    """Write the entries of one level: see `Painter.see`."""
    first = COMPONENTS + ORIENTATIONS * COMPONENTS * (LEVELS - level)
    reach = seen.shape[1] >> 1
    folded = level & 1
    for y in range(bands[first, 1]):
        row = inputs[y >> folded]
        for component in range(COMPONENTS):
            table = seen[min(component, 1)]
            for way in range(ORIENTATIONS):
                band = first + ORIENTATIONS * component + way
                start, columns = bands[band, 0] + y * bands[band, 3], bands[band, 2]
                channel = _channel(level, component, way, y)
                if folded:
                    for x in range(columns >> 1):
                        at = np.uint64(start + 2 * x)
                        row[x, channel] = table[np.uint64(cell[at] + reach)]
                        row[x, channel + 1] = table[np.uint64(cell[at + _NEXT] + reach)]
                else:
                    for x in range(columns):
                        index = cell[np.uint64(start + x)] + reach
                        row[x, channel] = table[np.uint64(index)]


@kernel(forceinline=True)
def _channel(level, component, way, y):
    """Return the channel of a network that a coefficient of row y has, the first of two if odd."""
    place = ORIENTATIONS * way + component
    return 12 + 4 * place + 2 * (y & 1) if level & 1 else 3 + place


@kernel(forceinline=True)
def _take(cell, start, table, scales, step, row):
    """Write the coefficients of a row of cells."""
    reach = table.size >> 1
    for x in range(row.size):
        index = np.uint64(cell[np.uint64(start + x)] + reach)
        row[x] = table[index] * (scales[x] * step)


@kernel(forceinline=True)
def _take_changed(cell, start, table, bounds, width, changes, channel, folded, scales, step, row):
    """Write the coefficients of a row of cells whose places are changed within the cells."""
    reach = table.size >> 1
    for x in range(row.size):
        index = np.uint64(cell[np.uint64(start + x)] + reach)
        place = table[index] + changes[x >> folded, channel + (x & folded)] * width
        row[x] = max(min(place, bounds[1, index]), bounds[0, index]) * (scales[x] * step)


@kernel()
def _take_band(
    cell, bands, level, component, way, y, table, bounds, width, changes, scales, step, row
):  # fmt: skip
    """Write row y of the coefficients of a band."""
    band = COMPONENTS + ORIENTATIONS * (COMPONENTS * (LEVELS - level) + component) + way
    start = bands[band, 0] + y * bands[band, 3]
    if changes.size:
        folded = level & 1
        _take_changed(
            cell, start, table, bounds, width, changes[y >> folded],
            _channel(level, component, way, y), folded, scales, step, row,
        )  # fmt: skip
    else:
        _take(cell, start, table, scales, step, row)


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
def _begin_rows(
    cell, bands, level, component, y, low, table, bounds, width, changes, steps, scales, halves,
    first, second,
):  # fmt: skip
    """Write rows 2 y and 2 y + 1 of a level, lifted along x alone, from row y of its four bands."""
    n = low.size
    evens, odds = halves[0, : n + 1], halves[1, : n + 2]
    across = COMPONENTS + ORIENTATIONS * (COMPONENTS * (LEVELS - level) + component)
    for x in range(n):
        evens[x] = low[x] * _LOW
    _take_band(
        cell, bands, level, component, 0, y, table, bounds, width, changes, scales,
        steps[across], odds[1:-1],
    )  # fmt: skip
    _join_row(evens, odds, halves, first[:n], first[n : 2 * n])
    _take_band(
        cell, bands, level, component, 1, y, table, bounds, width, changes, scales,
        steps[across + 1], evens[:n],
    )  # fmt: skip
    _take_band(
        cell, bands, level, component, 2, y, table, bounds, width, changes, scales,
        steps[across + 2] * _BOTH, odds[1:-1],
    )  # fmt: skip
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
    cell, bands, level, component, low, places, bounds, width, changes, steps, masks, scales,
    halves, rows, joined,
):  # fmt: skip
    """Join one component of a level to float32 [2 n, 2 m], from its low band and its cells."""
    n, half = low.shape
    for k in range(n + 2):
        if k < n:
            _spread(masks, k, DYADIC_LEVELS - level, scales)
            _begin_rows(
                cell, bands, level, component, k, low[k], places[min(component, 1)], bounds, width,
                changes, steps, scales, halves, rows[2 * k % _ROWS], rows[(2 * k + 1) % _ROWS],
            )  # fmt: skip
        _lift_rows(rows, k, n, 2 * half)
        if k > 1:
            for y in range(2 * k - 4, 2 * k - 2):
                row = rows[y % _ROWS, : 2 * half]
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
    cell, bands, low, places, bounds, width, changes, steps, masks, scales, halves, rows, mixed,
    picture,
):  # fmt: skip
    """Join the finest level of all components, row by row, and write the picture."""
    n, half = low.shape[1:]
    height = picture.shape[1]
    for k in range(n + 2):
        if 2 * k - 4 >= height:
            break
        for component in range(COMPONENTS):
            own = rows[component]
            if k < n:
                _spread(masks, k, DYADIC_LEVELS - 1, scales)
                _begin_rows(
                    cell, bands, 1, component, k, low[component, k], places[min(component, 1)],
                    bounds, width, changes, steps, scales, halves, own[2 * k % _ROWS],
                    own[(2 * k + 1) % _ROWS],
                )  # fmt: skip
            _lift_rows(own, k, n, 2 * half)
        if k > 1:
            for y in range(2 * k - 4, min(2 * k - 2, height)):
                _mix(rows[0, y % _ROWS], rows[1, y % _ROWS], rows[2, y % _ROWS], mixed)
                for colour in range(3):
                    _interleave(mixed[colour, :half], mixed[colour, half:], picture[colour, y])
