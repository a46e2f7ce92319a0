"""The configuration of a codec: every choice made before training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from underpaint.codec.entropy.tables import TableLayout
from underpaint.codec.palette.merging import MergeWeights
from underpaint.codec.quantize.cells import Cells, chain, root
from underpaint.codec.quantize.compander import Compander
from underpaint.codec.transform.colours import Shear


@dataclass(frozen=True)
class LayerPlan:
    """One layer of the stream: its steps of the palette chain and of the scalar chain."""

    name: str
    palette_steps: int
    cell_steps: int


@dataclass(frozen=True)
class CodecConfig:
    """Every choice made before training; a weights file stores it as JSON.

    widths           cell widths of the scalar chain, coarsest first, in finest steps; the zero cell
                     of a state reaches one step less than its width to either side
    layers           the steps of each layer
    palette_budgets  most bits per position of the index map, for each palette state
    compander        growth of the steps with magnitude
    merge            weights of the costs of merging palette entries
    evidence         weight of meaning against texture in the choice of a class: bits for a squared
                     distance of 1 between embeddings
    smoothing        cost of a class border in the map, in bits of texture
    profile          name of the training goal
    mixes_splits     whether several estimates are mixed for splits of the zero cell: fewer bits,
                     slower decoding
    shear            of opponent colours, see `transform.colours`
    """

    widths: tuple[int, ...]
    layers: tuple[LayerPlan, ...]
    palette_budgets: tuple[float, ...]
    compander: Compander
    merge: MergeWeights
    evidence: float
    smoothing: float
    profile: str
    mixes_splits: bool
    shear: Shear

    @cached_property
    def chain(self) -> tuple[Cells, ...]:
        """The states of the scalar chain, the root (a single cell) first."""
        return root(self.widths[0]), *chain([(width - 1, width) for width in self.widths])

    @property
    def table_layout(self) -> TableLayout:
        """The layout of the tables of this configuration."""
        return TableLayout(len(self.palette_budgets), len(self.widths))
