"""The ablation of tables: recorded symbols cost what the stream costs, and models learn."""

import numpy as np
from skimage import data

from tests.benchmarks.table_ablation import (
    KINDS,
    Trace,
    adaptive_bits,
    ideal_bits,
    kinds_of_tables,
    static_bits,
    traced,
)
from underpaint.codec.codec import Codec
from underpaint.codec.entropy.tables import TOTAL
from underpaint.codec.weights.loading import load_weights


def test_recorded_symbols_cost_what_the_layers_of_the_stream_hold():
    weights = load_weights("fidelity")
    picture = data.coffee()[:144, :208]
    shares = weights.frequencies / TOTAL
    [stream] = Codec(weights).encode([picture], sizes=())
    for trace, layer in zip(traced(weights, picture).layers, stream, strict=True):
        words = static_bits(shares, trace).sum() / 32
        assert words < len(layer) / 4 < words + 10, (
            "ends of the state and frame are 10 words at most"
        )


def test_each_table_has_its_kind():
    layout = load_weights("perceptual").config.table_layout
    kinds = kinds_of_tables(layout)
    assert len(kinds) == layout.count
    assert set(kinds) == set(range(len(KINDS)))
    for step in range(layout.cell_steps):
        assert kinds[layout.cells(step)].tolist() == [2, 3, 4, 5, 6, 7]


def test_adaptive_tables_learn_and_ideal_tables_are_a_bound():
    rng = np.random.default_rng(1)
    shares = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    tables = np.repeat([1, 2], 4000)
    symbols = np.concatenate([rng.random(4000) < 0.1, rng.choice(3, 4000, p=(0.2, 0.3, 0.5))])
    symbols = symbols.astype(np.int64)
    stored = static_bits(shares, Trace(tables, symbols)).sum()
    ideal = ideal_bits(shares, Trace(tables, symbols))
    for mixed in (False, True):
        learned = adaptive_bits(tables, symbols, shares, mixed)
        assert ideal < learned < 0.85 * stored
    assert adaptive_bits(np.zeros(7, np.int64), np.ones(7, np.int64), shares, True) == 7
