"""Arguments of the kernels that code one step of the scalar chain, grouped by purpose.

numba passes the fields of a NamedTuple as separate arguments, so grouping costs nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Picture(NamedTuple):
    """The picture that is coded: its layout, its finest indices and its current state.

    bands           int64 [BANDS, BAND_COLUMNS]; blocks int64 [FLAG_GROUPS, GROUP_COLUMNS]: the
                    tables of `transform.subbands.Geometry`
    classes         int16 [positions], texture class of each latent position, row by row
    class_columns   number of positions in a row
    q               int16 [size], finest indices; read when encoding or counting only
    band_peaks      int64 [BANDS], largest |q| of each band; as `q`
    block_peaks     int32 [block_size], largest |q| of each flagged block; as `q`
    magnitude       int16 [size], magnitude in the middle of the cell, in finest steps
    cell            int16 [size], signed index of the cell: both hold the coarser state on entry and
                    the finer one on return
    flags           int32 [block_size]: 0 if a block is all zero, 1 if it left zero in this step, 2
                    if it left zero in an earlier one
    sums            int32 [block_size], sum of the magnitudes of a block; carried from step to step
    """

    bands: np.ndarray
    blocks: np.ndarray
    classes: np.ndarray
    class_columns: int
    q: np.ndarray
    band_peaks: np.ndarray
    block_peaks: np.ndarray
    magnitude: np.ndarray
    cell: np.ndarray
    flags: np.ndarray
    sums: np.ndarray


class ContextModel(NamedTuple):
    """The fitted integers that choose contexts in one step.

    weights             int32 [BANDS, FEATURES], of activities (`activity.W_WEST` and so on)
    flag_weights        int32 [FLAG_GROUPS, FLAG_FEATURES], of the activities of block flags
    sign_weights        int16 [BANDS, SIGN_FEATURES], of sign contexts
    class_terms         int32 [BANDS, classes], what a texture class adds to an activity: the
                        expected magnitude, in sixteenths of a finest step, and 1, times weights
    flag_class_terms    int64 [FLAG_GROUPS, classes], the same for block flags, with the mean
                        expected magnitude of the three orientations
    shares, counts      where estimates start, for each band: see
                        `estimates.Starts`
    mixing              int32 [BANDS, mixing weights], where they start: of signs, then of splits
    seen                int64 [BANDS, stored estimates, 2], symbols counted; counting only
    learning_shift      see `estimates.LEARNING_SHIFT`

    A counter leaves in `mixing` what the picture taught.
    """

    weights: np.ndarray
    flag_weights: np.ndarray
    sign_weights: np.ndarray
    class_terms: np.ndarray
    flag_class_terms: np.ndarray
    shares: np.ndarray
    counts: np.ndarray
    mixing: np.ndarray
    seen: np.ndarray
    learning_shift: int


class CellStep(NamedTuple):
    """One step of the scalar chain: its two states and the first table of each kind of symbol.

    A state is the half-width of its zero cell and the width of its other cells, in finest steps.
    Tables are those of `tables.TableLayout.cells`, in the same order.
    """

    zero_before: int
    width_before: int
    zero: int
    width: int
    band_table: int
    block_table: int
    zero_table: int
    first_table: int
    other_table: int
    sign_table: int


class Scratch(NamedTuple):
    """Arrays that a step overwrites.

    activity     int32 [widest band + 4], activities of one row
    class_terms  int32 [class_columns], the part of them that depends on the texture class alone
    relatives    uint8 [widest band + 4], contexts of splits by relatives, of one row
    shares       int32 [ESTIMATES], counts uint8 [stored estimates]: estimates of one band
    mixing       int32 [mixing weights], mixing weights of one band
    """

    activity: np.ndarray
    class_terms: np.ndarray
    relatives: np.ndarray
    shares: np.ndarray
    counts: np.ndarray
    mixing: np.ndarray


class Band(NamedTuple):
    """One band in one step.

    number        row in the table of bands
    group         row in the table of block flags, or -1 for a band without flags
    class_shift   binary logarithm of the latent positions per coefficient along a side; negative
                  where there are more coefficients than positions
    weights       int32 [FEATURES]; sign_weights int16 [SIGN_FEATURES]
    zero_table    first tables of the band for splits of the zero cell, of the first cell, of the
                  other cells, and for signs
    halves        whether the step splits cells in two, and the zero cell in three
    mixes_splits  whether several estimates are mixed for splits of the zero cell
    """

    number: int
    group: int
    class_shift: int
    weights: np.ndarray
    sign_weights: np.ndarray
    zero_table: int
    first_table: int
    other_table: int
    sign_table: int
    halves: bool
    mixes_splits: bool


class Row(NamedTuple):
    """Flat indices of the first coefficients of a row and of the related rows of other bands.

    `parent` is -1 where there is none; other relatives that do not exist are the row itself.
    `blocks` is the index of the flag of the row's first block.
    """

    own: int
    stride: int
    parent: int
    sibling_1: int
    sibling_2: int
    lightness: int
    other_chroma: int
    blocks: int
