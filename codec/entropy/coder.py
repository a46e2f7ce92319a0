"""Entropy coding of one image: palette states and finest indices to payloads, and back.

The payload of a layer is the concatenation, under one rANS stream, of the walks that its plan
names: first its palette steps, then its steps of the scalar chain. Layer 0 begins with the turn of
colours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from underpaint.codec.entropy import rans
from underpaint.codec.entropy.activity import BIN_OF
from underpaint.codec.entropy.coefficient_coder import walk
from underpaint.codec.entropy.palette_map_coder import bits_for, walk_entries, walk_palette
from underpaint.codec.entropy.significance import find_block_peaks, forget
from underpaint.codec.errors import LayerDamaged
from underpaint.codec.palette.merging import MOST_ENTRIES, PaletteState
from underpaint.codec.quantize.cells import FAR_BITS, FAR_GROUPS
from underpaint.codec.transform.colour_rotation import ANGLE_BITS, NO_TURN, Turn
from underpaint.codec.transform.subbands import BANDS, BLOCK_SIDE, Geometry, view
from underpaint.codec.transform.wavelet import BLOCK, ORIENTATIONS
from underpaint.codec.weights.loading import Weights

ENTRY_BITS = (MOST_ENTRIES - 1).bit_length()
"""Plain bits of the number of entries of a palette state, less 1."""

TURN_BITS = 1 + 3 * ANGLE_BITS
"""Most plain bits that say how colours turn."""

MOST_BEYOND = 2 + FAR_BITS + FAR_GROUPS - 1
"""Most symbols that a cell of the first state takes beside its first one and its sign."""

TOUCHED_LITTLE = 2
"""Most steps of the scalar chain after which looking for what was touched costs less than all."""

_NO_COUNTS = np.zeros((1, 1), np.int64)


class Room:
    """Arrays of zeros that a decoder works in, picture after picture: see `CodedState.forget`."""

    def __init__(self) -> None:
        self.coefficients = np.zeros((2, 0), np.int16)
        self.blocks = np.zeros((2, 0), np.int32)

    def make(self, coefficients: int, blocks: int) -> None:
        """Grow to so many coefficients and blocks."""
        if self.coefficients.shape[1] < coefficients:
            self.coefficients = np.zeros((2, coefficients), np.int16)
        if self.blocks.shape[1] < blocks:
            self.blocks = np.zeros((2, blocks), np.int32)


@dataclass
class CodedState:
    """How far an image has been walked: turn of colours, palette states, cells of coefficients."""

    layout: Geometry
    palettes: list[PaletteState] = field(default_factory=list)
    cell_step: int = 0
    room: Room = field(default_factory=Room)
    turn: Turn = NO_TURN

    def __post_init__(self) -> None:
        """Start at the root of both chains: nothing known, every magnitude zero."""
        size, block_size = self.layout.size, self.layout.block_size
        self.room.make(size, block_size)
        self.magnitude, self.cell = self.room.coefficients[:, :size]
        self.flags, self.sums = self.room.blocks[:, :block_size]
        columns = self.layout.positions[1]
        self.expected = np.empty(columns * (BLOCK // 2) + BLOCK_SIDE, np.int32)
        self.laws = np.empty(columns, np.int32)

    def forget(self) -> None:
        """Turn the room back to zeros: far less work than new ones where little was touched."""
        if self.cell_step > TOUCHED_LITTLE:
            for touched in (self.magnitude, self.cell, self.flags, self.sums):
                touched.fill(0)
            return
        forget(
            self.magnitude, self.cell, self.flags, self.sums, self.layout.bands, self.layout.blocks
        )


@dataclass
class Symbols:
    """What an encoder knows: all palette states, the finest indices, and how colours turn."""

    palettes: list[PaletteState]
    q: np.ndarray
    turn: Turn = NO_TURN


@dataclass(frozen=True)
class Peaks:
    """Largest |q| of each flagged block, int32 [block_size], and of each band, int64 [BANDS].

    A band of a level with flags has the largest of its three orientations.
    """

    bands: np.ndarray
    blocks: np.ndarray


def find_peaks(q: np.ndarray, layout: Geometry) -> Peaks:
    """Measure what tells an encoder which bands and blocks stay empty."""
    peaks = Peaks(np.zeros(BANDS, np.int64), np.zeros(layout.block_size, np.int32))
    find_block_peaks(q, layout.bands, layout.blocks, peaks.blocks)
    for base, high, _, across, *_, first in layout.blocks.tolist():
        blocks = peaks.blocks[base : base + high * across].max(initial=0)
        peaks.bands[first : first + ORIENTATIONS] = blocks
    for band in range(int(layout.blocks[0, -1])):
        values = view(q, layout, band)
        if values.size:
            peaks.bands[band] = max(int(values.max()), -int(values.min()))
    return peaks


_UNKNOWN = Peaks(np.zeros(BANDS, np.int64), np.zeros(0, np.int32))


class EntropyCoder:
    """Walks images with the tables of one set of weights. Holds no state between images."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._layout = weights.config.table_layout
        self._law = np.ascontiguousarray(weights.classes.law)
        self._class_bits = int(bits_for(weights.classes.count))
        self._chain = [np.array([c.zero, c.width], np.int64) for c in weights.config.chain]
        self._tables = [self._layout.cells(step) for step in range(self._layout.cell_steps)]

    def encode(
        self, symbols: Symbols, layout: Geometry, layers: int
    ) -> Iterator[tuple[int, bytes]]:
        """Yield (number of symbols, payload) of the coarsest `layers` layers."""
        done = CodedState(layout)
        peaks = find_peaks(symbols.q, layout)
        for index, plan in enumerate(self._weights.config.layers[:layers]):
            most = plan.cell_steps * layout.most_symbols + plan.palette_steps * self._most(layout)
            most += layout.coefficients  # each leaves zero, and shows its sign, once at most
            if index == 0:
                most += TURN_BITS + self._beyond_first_cells(symbols.q, layout, peaks)
            coder = rans.begin_encoding(most)
            mode = (rans.ENCODE, *coder, _NO_COUNTS)
            count = self._layer(mode, index, done, symbols, peaks)
            yield count, rans.write_intervals(coder[2][:count]).astype("<u4").tobytes()

    def count(self, symbols: Symbols, layout: Geometry, counts: np.ndarray) -> None:
        """Add the symbols of one image to `counts`, int64 [tables, 5]."""
        done = CodedState(layout)
        peaks = find_peaks(symbols.q, layout)
        mode = (rans.COUNT, *rans.begin_encoding(0), counts)
        for index in range(len(self._weights.config.layers)):
            self._layer(mode, index, done, symbols, peaks)

    def decode(self, payload: bytes, symbols: int, index: int, done: CodedState) -> None:
        """Take `done` one layer further.

        Raises LayerDamaged if the payload contradicts itself or does not end exactly where its
        symbols do.
        """
        coder = rans.begin_decoding(payload)
        unknown = Symbols([], done.cell)
        mode = (rans.DECODE, *coder, _NO_COUNTS)
        count = self._layer(mode, index, done, unknown, _UNKNOWN)
        if count != symbols:
            raise LayerDamaged(index, f"{count} symbols where {symbols} were written")
        if not rans.finished(coder[0], coder[1]):
            raise LayerDamaged(index, "payload does not end where its symbols do")

    def _most(self, layout: Geometry) -> int:
        rows, columns = layout.positions
        return ENTRY_BITS + (2 + self._class_bits) * (rows * columns + 256)

    def _beyond_first_cells(self, q: np.ndarray, layout: Geometry, peaks: Peaks) -> int:
        """Return the most symbols that step 0 may need beyond one a coefficient."""
        beyond = 2 * self._weights.config.widths[0]
        bands = np.flatnonzero(peaks.bands >= beyond).tolist()
        far = (np.count_nonzero(np.abs(view(q, layout, band)) >= beyond) for band in bands)
        return MOST_BEYOND * sum(map(int, far))

    def _layer(self, mode, index: int, done: CodedState, symbols: Symbols, peaks: Peaks) -> int:
        plan = self._weights.config.layers[index]
        count = self._turn(mode, done, symbols.turn) if index == 0 else 0
        for _ in range(plan.palette_steps):
            count += self._palette_step(mode, index, done, symbols.palettes)
        for _ in range(plan.cell_steps):
            coded = self._cell_step(mode, done, symbols.q, peaks)
            if coded == rans.IMPOSSIBLE:
                raise LayerDamaged(index, "a band that had coefficients is called empty")
            count += coded
        return count

    def _turn(self, mode, done: CodedState, turn: Turn) -> int:
        tables = self._weights.cumulative
        if not rans.plain(*mode, tables, 1, int(any(turn))):
            return 1
        half = 1 << (ANGLE_BITS - 1)
        angles = [int(rans.plain(*mode, tables, ANGLE_BITS, a + half)) - half for a in turn]
        if not any(angles):
            raise LayerDamaged(0, "colours turn by nothing")
        done.turn = (angles[0], angles[1], angles[2])
        return TURN_BITS

    def _palette_step(
        self, mode, index: int, done: CodedState, known: Sequence[PaletteState]
    ) -> int:
        step = len(done.palettes)
        tables = self._weights.cumulative
        rows, columns = done.layout.positions
        before = done.palettes[-1].labels if done.palettes else np.zeros((rows, columns), np.int16)
        parent_count = len(done.palettes[-1].classes) if done.palettes else 1
        decoding = mode[0] == rans.DECODE
        entries = 1 if decoding else len(known[step].classes)
        entries = 1 + int(rans.plain(*mode, tables, ENTRY_BITS, entries - 1))
        if decoding:
            classes, parents = np.zeros((2, entries), np.int16)
            labels = np.zeros((rows, columns), np.int16)
        else:
            state = known[step]
            classes, parents, labels = state.classes.copy(), state.parents.copy(), state.labels
        count = ENTRY_BITS
        count += walk_entries(*mode, tables, self._class_bits, parent_count, classes, parents)
        if classes.max() >= self._weights.classes.count:
            raise LayerDamaged(index, f"a palette names class {classes.max()}")
        if parents[-1] != parent_count - 1:
            raise LayerDamaged(index, f"{parents[-1] + 1} of {parent_count} palette entries split")
        starts = np.searchsorted(parents, np.arange(parent_count + 1))
        coded = walk_palette(
            *mode, tables, self._layout.palette(step), before.ravel(), starts, labels.ravel(),
            columns,
        )  # fmt: skip
        if coded == rans.IMPOSSIBLE:
            raise LayerDamaged(index, "a label beyond the last child of its palette entry")
        count += coded
        done.palettes.append(PaletteState(classes, labels, parents))
        return count

    def _cell_step(self, mode, done: CodedState, q: np.ndarray, peaks: Peaks) -> int:
        step = done.cell_step
        weights, layout = self._weights, done.layout
        class_map = np.ascontiguousarray(done.palettes[-1].class_map)
        count = walk(
            *mode, weights.cumulative, q, peaks.bands, peaks.blocks,
            done.magnitude, done.cell, done.flags, done.sums, done.expected, done.laws,
            class_map.ravel(), class_map.shape[1], self._law, layout.bands, layout.blocks,
            weights.activity[step], weights.flag_activity[step], weights.sign_weights[step],
            BIN_OF,
            self._tables[step], self._chain[step], self._chain[step + 1],
        )  # fmt: skip
        done.cell_step += 1
        return count
