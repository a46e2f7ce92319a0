"""Entropy coding of one picture: palette states and finest indices to payloads, and back.

A layer is cut into parts, from the coarsest wavelet levels to the finest, and the payload of a part
is one rANS run. The first part of a layer holds its palette steps, that of the first layer begins
with the colour rotation. Then each part holds the layer's step of the scalar chain, if it has one,
for the coefficients of its levels. No coarser level has a context in a finer one, and a layer has
at most one such step: so symbols come in the same order wherever a layer is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from underpaint.codec.entropy import rans
from underpaint.codec.entropy.activity import W_CONSTANT, W_EXPECTED
from underpaint.codec.entropy.coefficient_coder import code_step
from underpaint.codec.entropy.estimates import LEARNING_SHIFT
from underpaint.codec.entropy.palette_map_coder import (
    ENTRY_BITS,
    bits_for,
    code_entries,
    code_labels,
)
from underpaint.codec.entropy.peaks import NO_PEAKS, Peaks, find_peaks
from underpaint.codec.entropy.significance import F_CONSTANT, F_EXPECTED
from underpaint.codec.entropy.state import CodedState, Symbols
from underpaint.codec.entropy.steps import CellStep, ContextModel
from underpaint.codec.errors import LayerDamaged
from underpaint.codec.palette.merging import MOST_ENTRIES, PaletteState
from underpaint.codec.quantize.cells import FAR_BITS, FAR_GROUPS
from underpaint.codec.transform.colour_rotation import ANGLE_BITS, ColourRotation
from underpaint.codec.transform.subbands import (
    BLOCK,
    FIRST_BAND,
    ORIENTATIONS,
    Geometry,
    bands_end,
    geometry,
    view,
)
from underpaint.codec.weights.model import Weights

ROTATION_BITS = 1 + 3 * ANGLE_BITS
"""Most plain bits of a colour rotation."""

MOST_BEYOND = 2 + FAR_BITS + FAR_GROUPS - 1
"""Most symbols of a cell of the first state beside its first symbol and its sign."""


_NOTHING_SEEN = np.zeros((0, 0, 2), np.int64)


@dataclass(frozen=True)
class Tally:
    """What counting the symbols of pictures adds up, for S steps of the scalar chain.

    tables          int64 [tables, MOST_CHILDREN], symbols by table
    estimates       int64 [S, BANDS, stored estimates, 2], symbols by estimate
    mixing          int32 [S, BANDS, mixing weights], changed as the pictures teach
    learning_shift  see `estimates.LEARNING_SHIFT`
    """

    tables: np.ndarray
    estimates: np.ndarray
    mixing: np.ndarray
    learning_shift: int = LEARNING_SHIFT

    @classmethod
    def empty(cls, weights: Weights) -> Tally:
        """Return a tally of nothing, that starts from the mixing weights of some weights."""
        start = weights.estimates
        return cls(
            np.zeros(weights.frequencies.shape, np.int64),
            np.zeros((*start.shares.shape, 2), np.int64),
            start.mixing.copy(),
        )


class EntropyCoder:
    """Codes pictures with the tables of one set of weights. Holds no state between pictures."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._layout = weights.config.table_layout
        self._class_bits = int(bits_for(weights.classes.count))
        self._first_ends = np.ascontiguousarray(weights.cumulative[:, 1])
        plans = weights.config.layers
        self._first_steps = [sum(p.cell_steps for p in plans[:i]) for i in range(len(plans))]
        self._steps = [_cell_step(weights, step) for step in range(self._layout.cell_steps)]
        self._models = [_context_model(weights, step) for step in range(self._layout.cell_steps)]

    def encode(
        self, symbols: Symbols, layout: Geometry, layers: int, finest_levels: Sequence[int] = (1,)
    ) -> Iterator[list[np.ndarray]]:
        """Yield the recorded intervals of the coarsest `layers` layers, a list for each layer.

        The list has one array for each part; `finest_levels` are the finest level of each, in
        decreasing order, the last 1. Arrays of a layer may be joined: see `rans.pack_intervals`.
        """
        state = CodedState(layout)
        peaks = find_peaks(symbols.q, layout)
        for index, plan in enumerate(self._weights.config.layers[:layers]):
            most = plan.cell_steps * layout.most_symbols
            most += plan.palette_steps * self._most_palette_symbols(layout)
            most += layout.coefficients  # each leaves zero, and shows its sign, once at most
            if index == 0:
                most += ROTATION_BITS + self._most_beyond_first_cells(symbols.q, layout, peaks)
            coder = rans.encoder(self._weights.cumulative, self._first_ends, most)
            parts: list[np.ndarray] = []
            coarser = None
            for finest in finest_levels:
                begin = rans.recorded(coder)
                self._code_part(coder, index, state, (coarser, finest), symbols, peaks)
                parts.append(coder.intervals[begin : rans.recorded(coder)])
                coarser = finest
            yield parts

    def count(self, symbols: Symbols, layout: Geometry, tally: Tally) -> None:
        """Add the symbols of one picture to a tally, and let it learn mixing weights from them."""
        state = CodedState(layout)
        peaks = find_peaks(symbols.q, layout)
        coder = rans.counter(self._weights.cumulative, self._first_ends, tally.tables)
        models = [
            model._replace(
                seen=tally.estimates[step],
                mixing=tally.mixing[step],
                learning_shift=tally.learning_shift,
            )
            for step, model in enumerate(self._models)
        ]
        for index in range(len(self._weights.config.layers)):
            self._code_part(coder, index, state, (None, 1), symbols, peaks, models)

    def decode(
        self, payload: bytes, index: int, state: CodedState, levels: tuple[int | None, int]
    ) -> None:
        """Decode one part of layer `index` into `state`, which holds all that it builds on.

        `levels` are the finest level of the next smaller part, None if there is none, and the
        part's own. Levels finer than the state's are left out.
        Raises LayerDamaged if the payload contradicts itself or does not end exactly where its
        symbols do.
        """
        coder = rans.decoder(self._weights.cumulative, self._first_ends, payload)
        unknown = Symbols([], state.cell)
        coarser, finest = levels
        wanted = max(finest, state.finest)
        self._code_part(coder, index, state, (coarser, wanted), unknown, NO_PEAKS)
        if wanted == finest and not rans.finished(coder):
            raise LayerDamaged(index, "S13", "payload does not end where its symbols do")

    def _most_palette_symbols(self, layout: Geometry) -> int:
        rows, columns = layout.positions
        return ENTRY_BITS + (2 + self._class_bits) * (rows * columns + MOST_ENTRIES)

    def _most_beyond_first_cells(self, q: np.ndarray, layout: Geometry, peaks: Peaks) -> int:
        """Return the most symbols that the first step may need beyond one a coefficient."""
        beyond = 2 * self._weights.config.widths[0]
        bands = np.flatnonzero(peaks.bands >= beyond).tolist()
        far = (np.count_nonzero(np.abs(view(q, layout, band)) >= beyond) for band in bands)
        return MOST_BEYOND * sum(map(int, far))

    def _code_part(
        self,
        coder: rans.RansCoder,
        index: int,
        state: CodedState,
        levels: tuple[int | None, int],
        symbols: Symbols,
        peaks: Peaks,
        models: Sequence[ContextModel] | None = None,
    ) -> None:
        """Code one part; `levels` as in `decode`, `models` if others than those of the weights."""
        models = self._models if models is None else models
        plan, first_step = self._weights.config.layers[index], self._first_steps[index]
        coarser, finest = levels
        if coarser is None:
            if index == 0:
                self._code_rotation(coder, state, symbols.rotation)
            for _ in range(plan.palette_steps):
                self._code_palette_step(coder, index, state, symbols.palettes)
        first_band = 0 if coarser is None else bands_end(coarser)
        picture = state.picture(symbols.q, peaks)
        for step in range(first_step, first_step + plan.cell_steps):
            possible = code_step(
                coder, picture, models[step], self._steps[step], state.scratch,
                first_band, bands_end(finest),
            )  # fmt: skip
            if not possible:
                raise LayerDamaged(index, "S18", "a band that has coefficients is declared empty")
        state.cell_step = first_step + plan.cell_steps

    def _code_rotation(
        self, coder: rans.RansCoder, state: CodedState, rotation: ColourRotation
    ) -> None:
        if not rans.code_bits(coder, 1, int(any(rotation))):
            return
        half = 1 << (ANGLE_BITS - 1)
        angles = [int(rans.code_bits(coder, ANGLE_BITS, angle + half)) - half for angle in rotation]
        if not any(angles):
            raise LayerDamaged(0, "S20", "the colour rotation has three angles of zero")
        state.rotation = ColourRotation(*angles)

    def _code_palette_step(
        self, coder: rans.RansCoder, index: int, state: CodedState, known: Sequence[PaletteState]
    ) -> None:
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
        entries, largest = code_entries(
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


def _cell_step(weights: Weights, step: int) -> CellStep:
    before, after = weights.config.chain[step : step + 2]
    tables = weights.config.table_layout.cells(step).tolist()
    return CellStep(before.zero, before.width, after.zero, after.width, *tables)


def _context_model(weights: Weights, step: int) -> ContextModel:
    expected = weights.classes.expected_magnitude.T
    of_bands, of_flags = weights.activity[step], weights.flag_activity[step].astype(np.int64)
    class_terms = of_bands[:, [W_EXPECTED]] * expected + of_bands[:, [W_CONSTANT]]
    means = [
        expected[first : first + ORIENTATIONS].sum(0, dtype=np.int64) // ORIENTATIONS
        for first in geometry(BLOCK, BLOCK).blocks[:, FIRST_BAND]
    ]
    _, _, splits, _, _, signs = weights.config.table_layout.cells(step).tolist()
    starts = weights.estimates.starts(step, weights.cumulative, (splits, signs))
    return ContextModel(
        weights=of_bands,
        flag_weights=weights.flag_activity[step],
        sign_weights=weights.sign_weights[step],
        class_terms=np.ascontiguousarray(class_terms),
        flag_class_terms=of_flags[:, [F_EXPECTED]] * means + of_flags[:, [F_CONSTANT]],
        shares=starts.shares,
        counts=starts.counts,
        mixing=weights.estimates.mixing[step],
        seen=_NOTHING_SEEN,
        learning_shift=LEARNING_SHIFT,
    )
