"""The range coder gives back what was written, and notices when a payload is not its own."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from underpaint.codec.entropy import rans
from underpaint.codec.entropy.tables import cumulative


@njit
def _run(coder, tables, symbols):
    for i in range(symbols.size):
        symbols[i] = rans.code_symbol(coder, tables[i], 5, symbols[i])


def _tables(rng: np.random.Generator) -> np.ndarray:
    cuts = np.sort(rng.choice(np.arange(1, 1 << 16), (8, 4), replace=False), 1)
    edges = np.pad(cuts, ((0, 0), (1, 1)), constant_values=(0, 1 << 16))
    return cumulative(np.diff(edges, axis=1).astype(np.uint16))


def _encode(tables, sums, symbols):
    coder = rans.encoder(sums, np.ascontiguousarray(sums[:, 1]), symbols.size)
    _run(coder, tables, symbols.copy())
    return rans.pack_intervals(coder.intervals[: rans.recorded(coder)])


def _decode(payload, tables, sums, count):
    coder = rans.decoder(sums, np.ascontiguousarray(sums[:, 1]), payload)
    symbols = np.zeros(count, np.int64)
    _run(coder, tables, symbols)
    return symbols, rans.finished(coder)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.integers(0, 3000))
def test_round_trip(seed, count):
    rng = np.random.default_rng(seed)
    sums, tables = _tables(rng), rng.integers(0, 8, count)
    symbols = rng.integers(0, 5, count)
    payload = _encode(tables, sums, symbols)
    decoded, finished = _decode(payload, tables, sums, count)
    assert finished
    np.testing.assert_array_equal(decoded, symbols)


def test_a_cut_or_lengthened_payload_is_noticed():
    rng = np.random.default_rng(3)
    sums, tables = _tables(rng), rng.integers(0, 8, 2000)
    payload = _encode(tables, sums, rng.integers(0, 5, 2000))
    assert not _decode(payload[:-4], tables, sums, 2000)[1]
    assert not _decode(payload + bytes(4), tables, sums, 2000)[1]
    assert not _decode(payload, tables, sums, 1999)[1]


def test_cost_is_close_to_entropy():
    rng = np.random.default_rng(4)
    sums = cumulative(np.array([[65000, 300, 200, 35, 1]], np.uint16))
    share = np.diff(sums[0].astype(float)) / 65536
    symbols = rng.choice(5, 200_000, p=share)
    payload = _encode(np.zeros(symbols.size, np.int64), sums, symbols)
    ideal = -np.log2(share)[symbols].sum() / 8
    assert ideal <= len(payload) <= ideal * 1.001 + 16
