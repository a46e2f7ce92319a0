"""Pictures from states in compiled loops, over rows that stay in the caches.

Each level is dequantised and inverse-lifted row by row: four rows of cells, one of each subband,
give two rows lifted along x; the lifting steps along y that they allow then complete two earlier
rows. Rows of the finest level are converted to bytes at once, so that the picture itself is the
only array of its size that is written.

Rows in progress are stored in halves, even samples before odd ones, and interleaved at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from underpaint.codec.reconstruct.cpu.latents import write_low_band
from underpaint.codec.reconstruct.cpu.state import StateArrays
from underpaint.codec.runtime.jit import kernel
from underpaint.codec.transform.colour_rotation import ColourRotation
from underpaint.codec.transform.colours import MID_GREY, OPPONENT, Shear, mix_colours
from underpaint.codec.transform.lifting import (
    HALVES,
    HIGH_HALF,
    LOW_HALF,
    SCALE,
    inverse_columns_fused,
    inverse_row_fused,
)
from underpaint.codec.transform.prediction_rows import DetailPredictor
from underpaint.codec.transform.resampling import TAPS, low_band_gain, taps
from underpaint.codec.transform.subbands import (
    COMPONENT,
    COMPONENTS,
    DYADIC_LEVELS,
    HEIGHT,
    LEVEL,
    OFFSET,
    ORIENTATION,
    ORIENTATIONS,
    STRIDE,
    WIDTH,
    first_band,
)

_ONE = np.float32(1)
_LOW_GAIN, _BOTH_GAIN = np.float32(1 / SCALE**2), np.float32(SCALE**2)
"""Gains of the low band and of the band that is high along both axes; the others' cancel."""

_RING = 8
"""Rows of a component in progress: six are between the first lifting step and the last."""

_FOLDED_CHANNELS = 12
"""Channels of a trunk from here on are those of the odd level, 2 x 2 of each position."""

_GREY, _LEAST, _MOST = np.float32(MID_GREY), np.float32(0), np.float32(255)
_ROUND = np.float32(3 << 22)
"""A float32 of this size has no fraction: adding it rounds to an integer, halves to even."""

_LIGHT, _RED_BLUE = np.float32(OPPONENT[0, 0]), np.float32(OPPONENT[1, 0])
_GREEN, _MAGENTA = np.float32(OPPONENT[2, 1]), np.float32(-OPPONENT[2, 0])

_NEXT = np.uint64(1)
_NO_CHANGES = _NO_DETAILS = np.empty((0, 0, 0), np.float32)

_FUSED = {"contract"}


class _Scratch(NamedTuple):
    """Memory that kernels work in.

    scales  float32 [columns / 2], factor on the steps of each sample of a subband's row
    halves  float32 [HALVES, columns / 2 + 2], see `lifting.inverse_row`
    rings   float32 [3, _RING, columns], rows in progress of each component, in halves
    colours uint8 [3, columns], red, green and blue of a row, in halves
    """

    scales: np.ndarray
    halves: np.ndarray
    rings: np.ndarray
    colours: np.ndarray


class Taps(NamedTuple):
    """How pixels along a side are made of samples: see `resampling.taps`."""

    first: np.ndarray
    weights: np.ndarray


class PictureSynthesis:
    """Joins the levels of one state, coarse to fine, to its picture.

        low = synthesis.low_band()                  # float32 [3, h, w], one sample a position
        low = synthesis.join(low, (4, 3, 2))        # float32 [3, 8 h, 8 w]
        synthesis.write_picture(low, picture)       # uint8 [3, H, W], or a small one from any low:
        synthesis.write_small_picture(low, (H, W), 1, picture)    # uint8 [3, H / 2, W / 2]

    With a predictor, the predicted details of a level are added to what was coded of them. Where a
    backward network corrects the points of some levels, `changes` float32 [48, rows, columns] are
    its outputs, in widths of a cell, with the channels of its inputs. Corrected points are clipped
    to their cells.
    """

    def __init__(
        self,
        state: StateArrays,
        rotation: ColourRotation,
        shear: Shear,
        predictor: DetailPredictor | None = None,
    ) -> None:
        """Take a state, how its colours are rotated and sheared, and what predicts its details."""
        self._state, self._rotation, self._predictor = state, rotation, predictor
        self._shear = np.array(shear, np.float32)
        rows, columns = state.masks.shape
        self.positions = rows, columns
        width = columns << DYADIC_LEVELS >> (state.finest - 1)
        self._scratch = _Scratch(
            np.empty(width // 2, np.float32),
            np.empty((HALVES, width // 2 + 2), np.float32),
            np.empty((COMPONENTS, _RING, width), np.float32),
            np.empty((COMPONENTS, width), np.uint8),
        )

    def low_band(self) -> np.ndarray:
        """Return the low band at one sample a position, float32 [3, h, w]."""
        low = np.empty((COMPONENTS, *self.positions), np.float32)
        write_low_band(self._state, low)
        return low

    def write_inputs(
        self, levels: Sequence[int], table: np.ndarray, low: np.ndarray, inputs: np.ndarray
    ) -> None:
        """Write a network's inputs: a low band, and the entry of each cell in a table.

        `low` [3, rows, columns]; `table` [LEVELS + 1, 2, cells], where the entry of the zero cell
        is 0; `inputs` [rows, columns, 48 or more], all zero. Channels from 3 on are the
        coefficients of an even level, by orientation and component; those from 12 on of an odd
        level, 2 x 2 of each.
        """
        _write_low_inputs(low, inputs)
        for level in levels:
            _write_inputs(self._state.cell, self._state.bands, level, table[level], inputs)

    def join(
        self, low: np.ndarray, levels: Sequence[int], changes: np.ndarray = _NO_CHANGES
    ) -> np.ndarray:
        """Join levels, coarse to fine, to a low band; return float32 [3, ...]."""
        for level in levels:
            joined = np.empty((COMPONENTS, 2 * low.shape[1], 2 * low.shape[2]), np.float32)
            details = self.details(level, low)
            _join_level(self._state, changes, details, level, low, self._scratch, joined)
            low = joined
        return low

    def details(self, level: int, low: np.ndarray) -> np.ndarray:
        """Return the predicted details of a level, float32 [9, h, w]; empty if there are none."""
        if self._predictor is None or level > self._predictor.levels:
            return _NO_DETAILS
        return self._predictor.details(level, low)

    def write_picture(
        self, low: np.ndarray, picture: np.ndarray, changes: np.ndarray = _NO_CHANGES
    ) -> None:
        """Join the finest level to a low band and write the picture, uint8 [3, H, W].

        The rotation of colours is undone in `low`, in place.
        """
        if any(self._rotation):
            mix_colours(low, self._rotation.inverse_matrix(), low)
        details = self.details(1, low)
        _write_picture(self._state, changes, details, low, self._scratch, self._shear, picture)

    def write_small_picture(
        self, low: np.ndarray, sides: tuple[int, int], level: int, picture: np.ndarray
    ) -> None:
        """Write the picture that the low band of a level gives, uint8 [3, H / 2**l, W / 2**l].

        `sides` are those of the full picture. The rotation of colours is undone in `low`, in place.
        """
        if any(self._rotation):
            mix_colours(low, self._rotation.inverse_matrix(), low)
        gain = np.float32(1 / low_band_gain(level))
        along_y, along_x = Taps(*taps(sides[0], level)), Taps(*taps(sides[1], level))
        columns = max(low.shape[2], picture.shape[2])
        rows = np.empty((2, COMPONENTS, columns + TAPS), np.float32)
        colours = np.empty((COMPONENTS, columns), np.uint8)
        _write_small_picture(low, gain, along_y, along_x, rows, colours, self._shear, picture)


@kernel(forceinline=True)
def _channel(level, component, orientation, y):
    """Return a network's channel of a coefficient of row y, the first of two if level is odd."""
    place = ORIENTATIONS * orientation + component
    return _FOLDED_CHANNELS + 4 * place + 2 * (y & 1) if level & 1 else 3 + place


@kernel()
def _write_low_inputs(low, inputs):
    """Write the inputs of the low band; see `PictureSynthesis.write_inputs`."""
    for y in range(inputs.shape[0]):
        row = inputs[y]
        for component in range(COMPONENTS):
            plane = low[component, y]
            for x in range(plane.size):
                row[x, component] = plane[x]


@kernel()
def write_features(features, inputs):
    """Write features [h, w, 4, 4, count] to the last channels of inputs [4 h, 4 w, channels]."""
    count = features.shape[4]
    first = inputs.shape[2] - count
    for y in range(inputs.shape[0]):
        for x in range(inputs.shape[1]):
            place = features[y >> 2, x >> 2, y & 3, x & 3]
            row = inputs[y, x]
            for channel in range(count):
                row[first + channel] = place[channel]


@kernel()
def _write_inputs(cell, bands, level, tables, inputs):
    """Write the inputs of one level; see `PictureSynthesis.write_inputs`."""
    first = first_band(level, 0)
    middle = tables.shape[1] >> 1
    folded = level & 1
    for y in range(bands[first, HEIGHT]):
        row = inputs[y >> folded]
        for component in range(COMPONENTS):
            table = tables[min(component, 1)]
            for orientation in range(ORIENTATIONS):
                band = first + ORIENTATIONS * component + orientation
                start = bands[band, OFFSET] + y * bands[band, STRIDE]
                columns = bands[band, WIDTH]
                if _all_zero(cell, start, columns):
                    continue
                channel = _channel(level, component, orientation, y)
                if folded:
                    for x in range(columns >> 1):
                        at = np.uint64(start + 2 * x)
                        row[x, channel] = table[np.uint64(cell[at] + middle)]
                        row[x, channel + 1] = table[np.uint64(cell[at + _NEXT] + middle)]
                else:
                    for x in range(columns):
                        index = cell[np.uint64(start + x)] + middle
                        row[x, channel] = table[np.uint64(index)]


@kernel()
def _detail_row(state, changes, details, band, y, gain, scales, row):
    """Write row y of the details of a band, times `gain`; return whether any is not zero."""
    any_coded = _dequantise_row(state, changes, band, y, gain, scales, row)
    if not details.size:
        return any_coded
    bands = state.bands
    predicted = details[ORIENTATIONS * bands[band, ORIENTATION] + bands[band, COMPONENT], y]
    for x in range(row.size):
        row[x] += predicted[x] * gain
    return True


@kernel()
def _dequantise_row(state, changes, band, y, gain, scales, row):
    """Write row y of the coefficients of a band, times `gain`; return whether any is not zero."""
    bands = state.bands
    level, component = bands[band, LEVEL], bands[band, COMPONENT]
    table = state.points[level, min(component, 1)]
    start = bands[band, OFFSET] + y * bands[band, STRIDE]
    step = state.steps[band] * gain
    if changes.size:
        channel = _channel(level, component, bands[band, ORIENTATION], y)
        if level & 1:
            left, right = changes[channel, y >> 1], changes[channel + 1, y >> 1]
            _dequantise_folded(state, table, start, left, right, scales, step, row)
        else:
            _dequantise_corrected(state, table, start, changes[channel, y], scales, step, row)
        return True
    if _all_zero(state.cell, start, row.size):
        row[:] = 0
        return False
    _dequantise(state.cell, table, start, scales, step, row)
    return True


@kernel(forceinline=True)
def _all_zero(cell, start, count):
    """Return whether all cells of a row are zero, as most rows of fine levels in coarse states."""
    seen = np.int64(0)
    for x in range(count):
        seen |= cell[np.uint64(start + x)]
    return seen == 0


@kernel(forceinline=True)
def _dequantise(cell, table, start, scales, step, row):
    """Write the coefficients of the cells from `start` on."""
    middle = table.size >> 1
    for x in range(row.size):
        index = np.uint64(cell[np.uint64(start + x)] + middle)
        row[x] = table[index] * (scales[x] * step)


@kernel(forceinline=True)
def _corrected(state, table, at, correction):
    """Return the point of a cell, corrected by some widths within the cell."""
    index = np.uint64(state.cell[np.uint64(at)] + (table.size >> 1))
    point = table[index] + correction * state.width
    return max(min(point, state.bounds[1, index]), state.bounds[0, index])


@kernel(forceinline=True)
def _corrected_zero(state, middle, correction):
    """Return the same of a zero cell, whose point is 0: without lookups, loops are vectorised."""
    return max(min(correction * state.width, state.bounds[1, middle]), state.bounds[0, middle])


@kernel(forceinline=True)
def _dequantise_corrected(state, table, start, corrections, scales, step, row):
    """Write the coefficients of a row of cells, with a correction of each."""
    if _all_zero(state.cell, start, row.size):
        for x in range(row.size):
            point = _corrected_zero(state, table.size >> 1, corrections[x])
            row[x] = point * (scales[x] * step)
        return
    for x in range(row.size):
        row[x] = _corrected(state, table, start + x, corrections[x]) * (scales[x] * step)


@kernel(forceinline=True)
def _dequantise_folded(state, table, start, left, right, scales, step, row):
    """Write the coefficients of a row of cells, with corrections of the even ones and the odd."""
    if _all_zero(state.cell, start, row.size):
        for x in range(row.size >> 1):
            even = _corrected_zero(state, table.size >> 1, left[x])
            odd = _corrected_zero(state, table.size >> 1, right[x])
            row[2 * x] = even * (scales[2 * x] * step)
            row[2 * x + 1] = odd * (scales[2 * x + 1] * step)
        return
    for x in range(row.size >> 1):
        even, odd = 2 * x, 2 * x + 1
        row[even] = _corrected(state, table, start + even, left[x]) * (scales[even] * step)
        row[odd] = _corrected(state, table, start + odd, right[x]) * (scales[odd] * step)


@kernel(fastmath=_FUSED)
def _begin_rows(state, changes, details, first, y, low, scratch, ring):
    """Write rows 2 y and 2 y + 1 of a level, lifted along x alone, from row y of its four bands."""
    n = low.size
    halves, scales = scratch.halves, scratch.scales
    low_half, high_half = halves[LOW_HALF, :n], halves[HIGH_HALF, 1 : n + 1]
    even_row, odd_row = ring[2 * y % _RING], ring[(2 * y + 1) % _RING]
    for x in range(n):
        low_half[x] = low[x] * _LOW_GAIN
    _detail_row(state, changes, details, first, y, _ONE, scales, high_half)
    inverse_row_fused(halves, even_row[:n], even_row[n : 2 * n])
    down = _detail_row(state, changes, details, first + 1, y, _ONE, scales, low_half)
    both = _detail_row(state, changes, details, first + 2, y, _BOTH_GAIN, scales, high_half)
    if down or both:
        inverse_row_fused(halves, odd_row[:n], odd_row[n : 2 * n])
    else:
        odd_row[: 2 * n] = 0


@kernel(forceinline=True)
def _spread(masks, y, shift, scales):
    """Write the factor on the steps of each sample of row y, where a row of positions begins."""
    if y & ((1 << shift) - 1) == 0:
        for x in range(masks.shape[1] << shift):
            scales[x] = masks[y >> shift, x >> shift]


@kernel(forceinline=True)
def _interleave(halves, row):
    """Write a row from its halves, as much of it as it has room for."""
    evens, odds = halves[: halves.size >> 1], halves[halves.size >> 1 :]
    for x in range(row.size >> 1):
        row[2 * x] = evens[x]
        row[2 * x + 1] = odds[x]
    if row.size & 1:
        row[row.size - 1] = evens[row.size >> 1]


@kernel()
def _join_level(state, changes, details, level, low, scratch, joined):
    """Join a level to a low band [3, n, m]; write float32 [3, 2 n, 2 m]."""
    n, half = low.shape[1:]
    for component in range(COMPONENTS):
        first = first_band(level, component)
        ring = scratch.rings[component]
        for k in range(n + 2):
            if k < n:
                _spread(state.masks, k, DYADIC_LEVELS - level, scratch.scales)
                _begin_rows(state, changes, details, first, k, low[component, k], scratch, ring)
            inverse_columns_fused(ring, _RING - 1, k, n, n, 2 * half)
            if k > 1:
                for y in range(2 * k - 4, 2 * k - 2):
                    _interleave(ring[y % _RING, : 2 * half], joined[component, y])


@kernel()
def _write_picture(state, changes, details, low, scratch, shear, picture):
    """Join the finest level of all components, row by row, and write the picture."""
    n, half = low.shape[1:]
    height = picture.shape[1]
    rings, colours = scratch.rings, scratch.colours
    for k in range(n + 2):
        if 2 * k - 4 >= height:
            break
        for component in range(COMPONENTS):
            ring = rings[component]
            if k < n:
                _spread(state.masks, k, DYADIC_LEVELS - 1, scratch.scales)
                first = first_band(1, component)
                _begin_rows(state, changes, details, first, k, low[component, k], scratch, ring)
            inverse_columns_fused(ring, _RING - 1, k, n, n, 2 * half)
        if k > 1:
            for y in range(2 * k - 4, min(2 * k - 2, height)):
                at = y % _RING
                _to_rgb(rings[0, at], rings[1, at], rings[2, at], shear, colours)
                for colour in range(3):
                    _interleave(colours[colour, : 2 * half], picture[colour, y])


@kernel(fastmath=_FUSED)
def _write_small_picture(low, gain, along_y, along_x, rows, colours, shear, picture):
    """Resample a low band along y and x, times `gain`, and write the picture, row by row.

    `rows` float32 [2, 3, columns + 4] and `colours` uint8 [3, columns] are scratch memory.
    """
    height, columns = low.shape[1:]
    width = picture.shape[2]
    for y in range(picture.shape[1]):
        first = along_y.first[y]
        w0, w1, w2, w3 = (
            gain * along_y.weights[0, y], gain * along_y.weights[1, y],
            gain * along_y.weights[2, y], gain * along_y.weights[3, y],
        )  # fmt: skip
        for component in range(COMPONENTS):
            plane, row = low[component], rows[0, component]
            one, two = plane[max(first, 0)], plane[min(first + 1, height - 1)]
            three, four = plane[min(first + 2, height - 1)], plane[min(first + 3, height - 1)]
            inner = row[1 : columns + 1]
            for x in range(columns):
                inner[x] = w0 * one[x] + w1 * two[x] + w2 * three[x] + w3 * four[x]
            row[0] = row[1]
            row[columns + 1] = row[columns + 2] = row[columns]
            _resample_row(row, along_x, rows[1, component, :width])
        made = rows[1, :, :width]
        _to_rgb(made[0], made[1], made[2], shear, colours[:, :width])
        for colour in range(3):
            for x in range(width):
                picture[colour, y, x] = colours[colour, x]


@kernel(fastmath=_FUSED)
def _resample_row(row, along, result):
    """Resample a row, which begins with the sample before its first: runs of equal distances."""
    first, weights = along.first, along.weights
    begin = 0
    while begin < result.size:
        offset = first[begin] - begin + 1
        end = begin + 1
        while end < result.size and first[end] - end + 1 == offset:
            end += 1
        count, at = end - begin, begin + offset
        w0, w1 = weights[0, begin:end], weights[1, begin:end]
        w2, w3 = weights[2, begin:end], weights[3, begin:end]
        one, two = row[at : at + count], row[at + 1 : at + 1 + count]
        three, four = row[at + 2 : at + 2 + count], row[at + 3 : at + 3 + count]
        run = result[begin:end]
        for x in range(count):
            run[x] = w0[x] * one[x] + w1[x] * two[x] + w2[x] * three[x] + w3[x] * four[x]
        begin = end


@kernel(fastmath=_FUSED)
def _to_rgb(lights, reds, greens, shear, colours):
    """Convert a row of opponent colours, float32, to red, green and blue, uint8 [3, columns]."""
    of_red, of_green = _LIGHT * shear[0], _LIGHT * shear[1]
    for x in range(colours.shape[1]):
        grey = lights[x] * _LIGHT + _GREY - reds[x] * of_red - greens[x] * of_green
        magenta = grey - greens[x] * _MAGENTA
        colours[0, x] = _byte(magenta + reds[x] * _RED_BLUE)
        colours[1, x] = _byte(grey + greens[x] * _GREEN)
        colours[2, x] = _byte(magenta - reds[x] * _RED_BLUE)


@kernel(forceinline=True)
def _byte(value):
    """Clip to 0 ... 255 and round to the nearest integer, halves to even."""
    return np.uint8(np.int32((min(max(value, _LEAST), _MOST) + _ROUND) - _ROUND))
