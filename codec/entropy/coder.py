"""Entropy coding of one picture: palette states and finest indices to payloads, and back.

The payload of a layer is one rANS stream of the steps in its plan: first its palette steps, then
its steps of the scalar chain. Layer 0 begins with the colour rotation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from underpaint.codec.entropy import rans
from underpaint.codec.entropy.coefficient_coder import code_step
from underpaint.codec.entropy.palette_map_coder import (
    ENTRY_BITS,
    bits_for,
    code_entries,
    code_labels,
)
from underpaint.codec.entropy.peaks import NO_PEAKS, Peaks, find_peaks
from underpaint.codec.entropy.state import CodedState, Symbols
from underpaint.codec.entropy.steps import CellStep, ContextModel
from underpaint.codec.errors import LayerDamaged
from underpaint.codec.palette.merging import MOST_ENTRIES, PaletteState
from underpaint.codec.quantize.cells import FAR_BITS, FAR_GROUPS
from underpaint.codec.transform.colour_rotation import ANGLE_BITS, ColourRotation
from underpaint.codec.transform.subbands import Geometry, view
from underpaint.codec.weights.model import Weights

ROTATION_BITS = 1 + 3 * ANGLE_BITS
"""Most plain bits of a colour rotation."""

MOST_BEYOND = 2 + FAR_BITS + FAR_GROUPS - 1
"""Most symbols of a cell of the first state beside its first symbol and its sign."""


class EntropyCoder:
    """Codes pictures with the tables of one set of weights. Holds no state between pictures."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._layout = weights.config.table_layout
        self._class_bits = int(bits_for(weights.classes.count))
        self._steps = [_cell_step(weights, step) for step in range(self._layout.cell_steps)]
        self._models = [_context_model(weights, step) for step in range(self._layout.cell_steps)]

    def encode(
        self, symbols: Symbols, layout: Geometry, layers: int
    ) -> Iterator[tuple[int, bytes]]:
        """Yield (number of symbols, payload) of the coarsest `layers` layers."""
        state = CodedState(layout)
        peaks = find_peaks(symbols.q, layout)
        for index, plan in enumerate(self._weights.config.layers[:layers]):
            most = plan.cell_steps * layout.most_symbols
            most += plan.palette_steps * self._most_palette_symbols(layout)
            most += layout.coefficients  # each leaves zero, and shows its sign, once at most
            if index == 0:
                most += ROTATION_BITS + self._most_beyond_first_cells(symbols.q, layout, peaks)
            coder = rans.encoder(self._weights.cumulative, most)
            count = self._code_layer(coder, index, state, symbols, peaks)
            yield count, rans.payload(coder)

    def count(self, symbols: Symbols, layout: Geometry, counts: np.ndarray) -> None:
        """Add the symbols of one picture to `counts`, int64 [tables, 5]."""
        state = CodedState(layout)
        peaks = find_peaks(symbols.q, layout)
        coder = rans.counter(self._weights.cumulative, counts)
        for index in range(len(self._weights.config.layers)):
            self._code_layer(coder, index, state, symbols, peaks)

    def decode(self, payload: bytes, symbols: int, index: int, state: CodedState) -> None:
        """Take `state` one layer further.

        Raises LayerDamaged if the payload contradicts itself or does not end exactly where its
        symbols do.
        """
        coder = rans.decoder(self._weights.cumulative, payload)
        unknown = Symbols([], state.cell)
        count = self._code_layer(coder, index, state, unknown, NO_PEAKS)
        if not rans.finished(coder):
            raise LayerDamaged(index, "S13", "payload does not end where its symbols do")
        if count != symbols:
            raise LayerDamaged(index, "S14", f"decodes to {count} symbols instead of {symbols}")

    def _most_palette_symbols(self, layout: Geometry) -> int:
        rows, columns = layout.positions
        return ENTRY_BITS + (2 + self._class_bits) * (rows * columns + MOST_ENTRIES)

    def _most_beyond_first_cells(self, q: np.ndarray, layout: Geometry, peaks: Peaks) -> int:
        """Return the most symbols that the first step may need beyond one a coefficient."""
        beyond = 2 * self._weights.config.widths[0]
        bands = np.flatnonzero(peaks.bands >= beyond).tolist()
        far = (np.count_nonzero(np.abs(view(q, layout, band)) >= beyond) for band in bands)
        return MOST_BEYOND * sum(map(int, far))

    def _code_layer(
        self, coder: rans.RansCoder, index: int, state: CodedState, symbols: Symbols, peaks: Peaks
    ) -> int:
        plan = self._weights.config.layers[index]
        count = self._code_rotation(coder, state, symbols.rotation) if index == 0 else 0
        for _ in range(plan.palette_steps):
            count += self._code_palette_step(coder, index, state, symbols.palettes)
        picture = state.picture(symbols.q, peaks)
        for _ in range(plan.cell_steps):
            step = state.cell_step
            coded = code_step(coder, picture, self._models[step], self._steps[step], state.scratch)
            if coded == rans.IMPOSSIBLE:
                raise LayerDamaged(index, "S18", "a band that has coefficients is declared empty")
            state.cell_step += 1
            count += coded
        return count

    def _code_rotation(
        self, coder: rans.RansCoder, state: CodedState, rotation: ColourRotation
    ) -> int:
        if not rans.code_bits(coder, 1, int(any(rotation))):
            return 1
        half = 1 << (ANGLE_BITS - 1)
        angles = [int(rans.code_bits(coder, ANGLE_BITS, angle + half)) - half for angle in rotation]
        if not any(angles):
            raise LayerDamaged(0, "S20", "the colour rotation has three angles of zero")
        state.rotation = ColourRotation(*angles)
        return ROTATION_BITS

    def _code_palette_step(
        self, coder: rans.RansCoder, index: int, state: CodedState, known: Sequence[PaletteState]
    ) -> int:
        step = len(state.palettes)
        rows, columns = state.layout.positions
        if state.palettes:
            before, parent_count = state.palettes[-1].labels, len(state.palettes[-1].classes)
        else:
            before, parent_count = np.zeros((rows, columns), np.int16), 1
        classes, parents = np.zeros((2, MOST_ENTRIES), np.int16)
        starts = np.empty(MOST_ENTRIES + 1, np.int64)
        entries, labels = 1, np.zeros((rows, columns), np.int16)
        if coder.mode != rans.DECODE:
            entries, labels = len(known[step].classes), known[step].labels
            classes[:entries], parents[:entries] = known[step].classes, known[step].parents
        entries, largest, count = code_entries(
            coder, entries, self._class_bits, parent_count, classes, parents, starts
        )
        classes, parents = classes[:entries], parents[:entries]
        if largest >= self._weights.classes.count:
            raise LayerDamaged(index, "S15", f"a palette names the unknown class {largest}")
        if parents[-1] != parent_count - 1:
            raise LayerDamaged(
                index, "S16", f"{parents[-1] + 1} of {parent_count} palette entries split"
            )
        coded = code_labels(
            coder, self._layout.palette(step), before.ravel(), starts, labels.ravel(), columns
        )
        if coded == rans.IMPOSSIBLE:
            raise LayerDamaged(index, "S17", "a label beyond the last child of its palette entry")
        state.palettes.append(PaletteState(classes, labels, parents))
        return int(count + coded)


def _cell_step(weights: Weights, step: int) -> CellStep:
    before, after = weights.config.chain[step : step + 2]
    tables = weights.config.table_layout.cells(step).tolist()
    return CellStep(before.zero, before.width, after.zero, after.width, *tables)


def _context_model(weights: Weights, step: int) -> ContextModel:
    return ContextModel(
        weights=weights.activity[step],
        flag_weights=weights.flag_activity[step],
        sign_weights=weights.sign_weights[step],
        expected_magnitude=np.ascontiguousarray(weights.classes.expected_magnitude),
    )
