"""Bits by kind: they are those of the symbols that a reader meets, and make up the stream."""

import bisect
import math
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from tests.benchmarks.bits_by_kind import (
    KINDS,
    PALETTES,
    SIGN,
    ZERO_SPLIT,
    Bits,
    bits_of,
    report,
)
from tests.helpers import second_reader
from tests.helpers.odd_weights import write_odd_weights
from underpaint.codec.codec import Codec
from underpaint.codec.weights.header import PROFILES
from underpaint.codec.weights.loading import load_weights

PHOTO = data.coffee()[60:107, 200:265]
STARTS = [getattr(second_reader, name) for name in ("BAND", "BLOCK", "ZERO", "FIRST", "OTHER")]


class _Meter(second_reader.Coder):
    """Adds up the bits of the symbols that it reads, by kind."""

    def __init__(self, payload: bytes, tables: list[list[int]], palette_steps: int):
        super().__init__(payload, tables)
        self.first = 1 + second_reader.PALETTE_TABLES * palette_steps
        self.kind = PALETTES
        self.bits = np.zeros(len(KINDS))

    def symbol(self, table: int) -> int:
        step, place = divmod(table - self.first, second_reader.CELL_TABLES)
        if step >= 0:
            kind = SIGN if place >= second_reader.SIGN else bisect.bisect_right(STARTS, place)
            self.kind = ZERO_SPLIT if step == 0 and ZERO_SPLIT < kind < SIGN else kind
        elif self.kind != PALETTES:
            self.kind = ZERO_SPLIT  # plain bits of a cell of the first state
        return super().symbol(table)

    def one_of(self, frequencies: list[int]) -> int:
        symbol = super().one_of(frequencies)
        self.bits[self.kind] += 16 - math.log2(frequencies[symbol])
        return symbol


class _Chances(second_reader.Chances):
    """Tells the coder what kind of symbol it is about to read."""

    def alone(self, coder, estimate):
        coder.kind = ZERO_SPLIT
        return super().alone(coder, estimate)

    def mixed(self, coder, of, estimates, first_against=False):
        coder.kind = {"splits": ZERO_SPLIT, "signs": SIGN}[of]
        return super().mixed(coder, of, estimates, first_against)


@pytest.mark.parametrize("name", [*PROFILES, "odd"])
def test_bits_are_those_of_the_symbols_that_the_second_reader_meets(name, monkeypatch, tmp_path):
    path = Path(PROFILES.get(name, tmp_path / "odd.safetensors"))
    if name == "odd":
        write_odd_weights("fidelity", path)
    weights = second_reader.read_weights(path.read_bytes())
    [layers] = Codec.load(str(path)).encode([PHOTO], sizes=())
    meters: list[_Meter] = []

    def coder(payload, tables):
        meters.append(_Meter(payload, tables, weights.palette_steps))
        return meters[-1]

    monkeypatch.setattr(second_reader, "Coder", coder)
    monkeypatch.setattr(second_reader, "Chances", _Chances)
    assert len(list(second_reader.states(layers, weights))) == len(layers)
    met = np.stack([meter.bits for meter in meters], 1)
    found = bits_of(load_weights(str(path)), PHOTO)
    assert (met.sum(1) > 0).all()
    np.testing.assert_allclose(found.bits, met, rtol=1e-9, atol=1e-6)
    for layer, bits in zip(layers, found.bits.sum(0), strict=True):
        assert bits / 32 < len(layer) / 4 < bits / 32 + 10, "frame and end are 10 words at most"


def test_the_report_weighs_pixels_alike():
    ones = np.ones((len(KINDS), 2))
    rows = list(report([Bits(ones, 100), Bits(3 * ones, 300)]))
    assert rows[0] == ["bits per pixel", "layer 1", "layer 2", "share"]
    assert [row[0] for row in rows[1:]] == [*KINDS, "all"]
    assert rows[1][1:] == ["0.0100", "0.0100", "14.3%"]
    assert rows[-1][1:] == ["0.0700", "0.0700", "100.0%"]
