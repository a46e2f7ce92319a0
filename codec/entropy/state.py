"""The state of a picture between steps of the coder, and the memory that it takes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from underpaint.codec.entropy.estimates import ESTIMATES, mixing_inputs, stored_estimates
from underpaint.codec.entropy.peaks import NO_PEAKS, Peaks
from underpaint.codec.entropy.significance import clear_coded
from underpaint.codec.entropy.steps import Picture, Scratch
from underpaint.codec.palette.merging import PaletteState
from underpaint.codec.transform.colour_rotation import NO_ROTATION, ColourRotation
from underpaint.codec.transform.sizes import shrunk_sides
from underpaint.codec.transform.subbands import BLOCK, BLOCK_SIDE, Geometry, flag_groups

FEW_STEPS = 2
"""Most steps of the scalar chain after which it is faster to clear what was written than all."""


@dataclass
class Symbols:
    """All that an encoder writes: the palette chain, the finest indices and the colour rotation.

    palettes  states of the palette chain, coarsest first
    q         int16 [size], finest indices in the layout of `Geometry`
    """

    palettes: list[PaletteState]
    q: np.ndarray
    rotation: ColourRotation = NO_ROTATION


class Workspace:
    """Zeroed arrays that a thread decodes into, picture after picture.

    They grow to the largest picture; `CodedState.clear` zeroes them again after use.
    """

    def __init__(self) -> None:
        self.coefficients = np.zeros((2, 0), np.int16)
        self.blocks = np.zeros((2, 0), np.int32)

    def reserve(self, coefficients: int, blocks: int) -> None:
        """Grow to at least so many coefficients and blocks."""
        if self.coefficients.shape[1] < coefficients:
            self.coefficients = np.zeros((2, coefficients), np.int16)
        if self.blocks.shape[1] < blocks:
            self.blocks = np.zeros((2, blocks), np.int32)


@dataclass
class CodedState:
    """How far a picture is coded: colour rotation, palette states and cells of coefficients.

    It starts at the root of both chains: no palette, every coefficient in the one root cell.

    finest            the finest wavelet level that is coded; the arrays hold no finer one
    cell_step         steps of the scalar chain that are coded
    magnitude, cell   int16 [size], flags, sums  int32 [block_size]: see `steps.Picture`
    """

    layout: Geometry
    palettes: list[PaletteState] = field(default_factory=list)
    finest: int = 1
    cell_step: int = 0
    workspace: Workspace = field(default_factory=Workspace)
    rotation: ColourRotation = NO_ROTATION

    def __post_init__(self) -> None:
        size, block_size = self.layout.sizes_from(self.finest)
        self.workspace.reserve(size, block_size)
        self.magnitude, self.cell = self.workspace.coefficients[:, :size]
        self.flags, self.sums = self.workspace.blocks[:, :block_size]
        columns = self.layout.positions[1]
        widest = columns * max(BLOCK >> self.finest, 1) + BLOCK_SIDE
        self.scratch = Scratch(
            activity=np.empty(widest, np.int32),
            class_terms=np.empty(columns, np.int32),
            relatives=np.empty(widest, np.uint8),
            shares=np.empty(ESTIMATES, np.int32),
            counts=np.empty(stored_estimates(True), np.uint8),
            mixing=np.empty(mixing_inputs(True), np.int32),
        )

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width in pixels of the picture that the levels up to `finest` give."""
        return shrunk_sides(self.layout.height, self.layout.width, self.finest - 1)

    def picture(self, q: np.ndarray, peaks: Peaks) -> Picture:
        """Return the picture in the form that kernels take; a decoder passes any `q`."""
        class_map = self.palettes[-1].class_map
        return Picture(
            bands=self.layout.bands,
            blocks=self.layout.blocks[: flag_groups(self.finest)],
            classes=np.ascontiguousarray(class_map).ravel(),
            class_columns=class_map.shape[1],
            q=q,
            band_peaks=peaks.bands,
            block_peaks=peaks.blocks,
            magnitude=self.magnitude,
            cell=self.cell,
            flags=self.flags,
            sums=self.sums,
        )

    def clear(self) -> None:
        """Zero the memory of this state, so that it can serve another picture."""
        if self.cell_step > FEW_STEPS:
            for array in (self.magnitude, self.cell, self.flags, self.sums):
                array.fill(0)
        else:
            clear_coded(self.picture(self.cell, NO_PEAKS))
