"""A decoded state in the form that the kernels of this package take."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from underpaint.codec.entropy.state import CodedState
from underpaint.codec.quantize.cell_tables import StateTables
from underpaint.codec.weights.model import Weights


class StateArrays(NamedTuple):
    """What dequantisation needs of a state; numba passes the fields as separate arguments.

    cell    int16 [size], signed cell indices in the layout of `Geometry`
    bands   int64 [BANDS, BAND_COLUMNS], see `transform.subbands`
    steps   float32 [BANDS], quantisation steps in pixel units
    masks   float32 [h, w], factor on the steps of the dyadic levels at each position
    points  float32 [LEVELS + 1, 2, cells], reconstruction points in finest steps, by level and
            lightness or chroma; the zero cell is in the middle
    bounds  float32 [2, cells], lower and upper bound of each cell
    width   float32, width of a cell in finest steps
    finest  the finest level that `cell` holds
    """

    cell: np.ndarray
    bands: np.ndarray
    steps: np.ndarray
    masks: np.ndarray
    points: np.ndarray
    bounds: np.ndarray
    width: np.float32
    finest: int


def state_arrays(weights: Weights, tables: StateTables, state: CodedState) -> StateArrays:
    """Collect the arrays of a state; `tables` are those of its step of the chain."""
    return StateArrays(
        cell=state.cell,
        bands=state.layout.bands,
        steps=weights.steps,
        masks=weights.classes.mask.take(state.palettes[0].class_map),
        points=tables.points,
        bounds=tables.bounds,
        width=np.float32(tables.width),
        finest=state.finest,
    )
