"""The reader written from docs/stream.md alone comes to the codec's symbols, and refuses as it
does."""

import ast
import json
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from skimage import data

from tests.helpers import second_reader
from tests.helpers.odd_weights import write_odd_weights
from tests.helpers.second_reader import (
    BLOCK,
    CELL_TABLES,
    PALETTE_TABLES,
    ZERO,
    Coder,
    Picture,
    Refused,
    Symbols,
    Weights,
    read_weights,
    states,
)
from underpaint import Codec
from underpaint.codec.entropy.state import CodedState
from underpaint.codec.errors import LayerDamaged, UnknownVersion, WeightsMismatch
from underpaint.codec.transform.sizes import Size
from underpaint.codec.transform.subbands import BANDS, bands_end, geometry, view
from underpaint.codec.weights.header import PROFILES, SHIPPED

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load()


@pytest.fixture(scope="module")
def weights() -> Weights:
    return read_weights(Path(SHIPPED).read_bytes())


def _noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)


PICTURES = {
    "one pixel": lambda: np.full((1, 1, 3), 200, np.uint8),
    "one row": lambda: _noise(1, 40),
    "one column": lambda: _noise(40, 1),
    "odd sides": lambda: _noise(17, 33),
    "noise": lambda: _noise(48, 64),
    "photo": lambda: data.astronaut()[60:124, 190:270],
    "flat": lambda: np.full((50, 70, 3), 90, np.uint8),
}


PAYLOAD_RULES = {"S13", "S15", "S16", "S17", "S18", "S20"}


def _read(layers: list[bytes], weights: Weights) -> tuple[list[Symbols], Refused | None]:
    """Return the symbols of each prefix that can be read, and what ended the reading."""
    found = []
    try:
        for symbols in states(layers, weights):
            found.append(symbols)  # noqa: PERF402
    except Refused as refused:
        return found, refused
    return found, None


def _assert_refused(layers: list[bytes], weights: Weights, rules: set[str]) -> None:
    """The last layer is refused by one of the rules, after those before it were read."""
    found, refused = _read(layers, weights)
    assert refused is not None
    assert refused.layer == len(found) == max(0, len(layers) - 1)
    assert refused.rule in rules


def _assert_agreement(codec: Codec, weights: Weights, layers: list[bytes], good: int) -> None:
    """Both decode the coarsest `good` layers to equal symbols and refuse the next, if there is one.

    Arrays are compared one by one: turn of colours, class maps, then bands.
    """
    found, refused = _read(layers, weights)
    assert len(found) == good
    for n, symbols in enumerate(found, start=1):
        layout = geometry(*(side + 1 for side in struct.unpack("<HH", _header(layers[0])[8:12])))
        *known, cells = codec.symbols(layers[:n])
        known += [view(cells, layout, band) for band in range(BANDS)]
        arrays = (symbols.turn, *symbols.class_maps, *symbols.cells)
        for one, other in zip(arrays, known, strict=True):
            np.testing.assert_array_equal(one, other, strict=True)
    if good < len(layers):
        assert refused is not None
        with pytest.raises(LayerDamaged) as damaged:
            codec.symbols(layers[: good + 1])
        assert damaged.value.layer == refused.layer == good
        assert damaged.value.rule == refused.rule


def _header(layer: bytes) -> bytes:
    """Return weights id, height, width and cuts as they stand in the first part."""
    [(part, _)] = _opened([layer])
    return part.body[:13]


def _frame(place: int, header: bytes, payload: bytes, before: int) -> bytes:
    """Frame a layer of one part; `header` stands in layer 0 alone, `before` is the check before."""
    words, length = len(payload) // 4, b""
    while words > 127:
        length, words = length + bytes([words & 127 | 128]), words >> 7
    start = (b"" if place else b"\xb7\6") + bytes([64 | place]) + length + bytes([words])
    check = zlib.crc32(struct.pack("<II", before, 0) + start + header + payload)
    return start + struct.pack("<I", check) + header + payload


def _opened(layers: list[bytes]) -> list[tuple[second_reader.Part, second_reader.Header]]:
    """Return the first part of each layer, and the header."""
    found, header = [], None
    for place, layer in enumerate(layers):
        (part, *_), header = second_reader._parts(layer, place, header)
        found.append((part, header))
    return found


def _check(layers: list[bytes]) -> int:
    """Return the check of the last layer, of one part, or 0."""
    return _opened(layers)[-1][0].check if layers else 0


class Dice(Coder):
    """Throws the symbols that are asked for, after those of a script, and then encodes them.

    Plain bits and flags of bands are fair, but a band flagged once is unflagged at a rate; other
    symbols, and cells, differ from 0 at rates of their own.
    """

    def __init__(self, weights: Weights, rate: float, cell_rate: float, unflag: float):
        self.tables = weights.frequencies
        self.first_of_cells = 1 + PALETTE_TABLES * weights.palette_steps
        self.rng = np.random.default_rng(7)
        self.rate, self.cell_rate, self.unflag = rate, cell_rate, unflag
        self.flagged: set[int] = set()
        self.script: list[int] = []
        self.thrown: list[tuple[int, int]] = []  # starts and frequencies

    def bit(self, frequency: int) -> int:
        symbol = int(self.rng.random() < self.cell_rate)
        start = 65536 - frequency if symbol else 0
        self.thrown.append((start, frequency if symbol else 65536 - frequency))
        return symbol

    def symbol(self, table: int) -> int:
        step, kind = divmod(table - self.first_of_cells, CELL_TABLES)
        is_band = step >= 0 and kind < BLOCK
        if table == 0 or is_band:
            rate = 1 - self.unflag if is_band and kind in self.flagged else 0.5
        else:
            rate = self.cell_rate if step >= 0 and kind >= ZERO else self.rate
        possible = sum(frequency > 0 for frequency in self.tables[table])
        symbol = int(self.rng.integers(1, possible)) if self.rng.random() < rate else 0
        if self.script:
            symbol = self.script.pop(0)
        if symbol and is_band:
            self.flagged.add(kind)
        frequencies = self.tables[table]
        self.thrown.append((sum(frequencies[:symbol]), frequencies[symbol]))
        return symbol

    def payload(self) -> bytes:
        """Encode and forget what was thrown."""
        x, words = 1 << 31, []
        for start, frequency in reversed(self.thrown):
            if x >= frequency << 47:
                words.append(x & 0xFFFFFFFF)
                x >>= 32
            x = (x // frequency << 16) + x % frequency + start
        words += [x & 0xFFFFFFFF, x >> 32]
        self.thrown = []
        return struct.pack(f"<{len(words)}I", *words[::-1])


def _palette_script(weights: Weights, children: list[int], classes: list[int]) -> list[int]:
    """Return the plain bits of the entries of a palette step: so many children an old entry."""
    class_bits = (len(weights.law) - 1).bit_length()
    bits = f"{sum(children) - 1:08b}"
    for entry in range(sum(children)):
        bits += f"{classes[entry % len(classes)]:0{class_bits}b}"
        if entry > 0 and len(children) > 1:
            bits += str(int(entry in np.cumsum(children)))
    return [int(bit) for bit in bits]


def _thrown(
    weights: Weights,
    sides: tuple[int, int],
    splits: list[int],
    dice: Dice,
    turn: tuple[int, ...] = (-128, 0, 127),
) -> tuple[list[bytes], str | None]:
    """Throw a stream; return its layers and the rule that the last one breaks, if one does.

    Palette entries split into `splits` children in turn. Without a `turn` no angles are written.
    """
    dice.script = [
        int(bit) for bit in f"{int(bool(turn))}" + "".join(f"{a + 128:08b}" for a in turn)
    ]
    picture = Picture(*sides, weights)
    classes = dice.rng.permutation(len(weights.law)).tolist()
    layers: list[bytes] = []
    entries = 1
    for place, (palette_steps, _) in enumerate(weights.plan):
        for _ in range(palette_steps):
            children = [splits[i % len(splits)] for i in range(entries)]
            dice.script += _palette_script(weights, children, classes)
            entries = sum(children)
        broken = None
        try:
            picture.read_part(dice, place, None, 1)
        except Refused as refused:
            broken = refused.rule
        header = weights.id + struct.pack("<HHB", *(n - 1 for n in sides), 0)
        layers.append(_frame(place, b"" if place else header, dice.payload(), _check(layers)))
        if broken:
            break
    return layers, broken


def test_numpy_and_the_standard_library_are_enough():
    tree = ast.parse(Path(second_reader.__file__).read_text("utf-8"))
    names = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (
            [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
        )
    }
    assert names - set(sys.stdlib_module_names) == {"numpy"}


@pytest.mark.parametrize("name", PICTURES)
def test_agrees_on_pictures(codec, weights, name):
    layers = codec.encode([PICTURES[name]()])[0]
    _assert_agreement(codec, weights, list(layers), codec.layers)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_agrees_on_vectors(weights, path):
    vector = json.loads(path.read_text("utf-8"))
    joined, layers, at = path.with_suffix(".underpaint").read_bytes(), [], 0
    for length in vector["layer_bytes"]:
        layers.append(joined[at : at + length])
        at += length
    assert [symbols.digest() for symbols in states(layers, weights)] == vector["symbols"]


@pytest.fixture(scope="module", params=PROFILES)
def odd(request, tmp_path_factory) -> tuple[Codec, Weights]:
    path = tmp_path_factory.mktemp("odd") / "odd.safetensors"
    write_odd_weights(request.param, path)
    weights = read_weights(path.read_bytes())
    assert weights.mixes_splits == (request.param == "fidelity")
    return Codec.load(str(path)), weights


@pytest.mark.parametrize("name", PICTURES)
def test_agrees_on_pictures_with_weights_that_no_training_chose(odd, name):
    codec, weights = odd
    layers = codec.encode([PICTURES[name]()])[0]
    _assert_agreement(codec, weights, list(layers), codec.layers)


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_agrees_on_symbols_that_no_writer_chose_with_weights_that_no_training_chose(odd, rate):
    codec, weights = odd
    layers, broken = _thrown(weights, (40, 70), [4, 1, 2], Dice(weights, 0.3, rate, unflag=0))
    assert broken is None
    _assert_agreement(codec, weights, layers, codec.layers)


@pytest.mark.parametrize("rate", [0.05, 0.4])
@pytest.mark.parametrize("sides", [(1, 1), (33, 17), (20, 70)])
def test_agrees_on_symbols_that_no_writer_chose(codec, weights, sides, rate):
    turn = () if rate < 0.1 else (3, -1, 0)
    dice = Dice(weights, rate, rate, unflag=0)
    layers, broken = _thrown(weights, sides, [4, 1, 2], dice, turn)
    assert broken is None
    _assert_agreement(codec, weights, layers, codec.layers)


def test_agrees_on_flags_without_a_coefficient(codec, weights):
    dice = Dice(weights, 0.4, 0, unflag=0.45)
    layers, broken = _thrown(weights, (64, 96), [8, 2], dice)
    assert broken is None
    assert len(dice.flagged) == 21
    _assert_agreement(codec, weights, layers, codec.layers)
    *_, last = states(layers, weights)
    assert not any(cells.any() for cells in last.cells)


@pytest.mark.parametrize(
    ("splits", "unflag", "rule"), [([2, 0], 0, "S16"), ([5], 0, "S17"), ([4, 1, 2], 1, "S18")]
)
def test_agrees_on_what_is_impossible(codec, weights, splits, unflag, rule):
    layers, broken = _thrown(weights, (64, 48), splits, Dice(weights, 0.1, 0.1, unflag))
    assert broken == rule
    _assert_agreement(codec, weights, layers, len(layers) - 1)


def test_agrees_on_a_turn_by_nothing(codec, weights):
    dice = Dice(weights, 0.1, 0.1, 0)
    layers, broken = _thrown(weights, (20, 30), [2], dice, (0, 0, 0))
    assert broken == "S20"
    _assert_agreement(codec, weights, layers, 0)


def test_every_damaged_byte_is_refused(codec, weights):
    layers = list(codec.encode([PICTURES["one pixel"]()])[0])
    for place, layer in enumerate(layers):
        for at in range(len(layer)):
            damaged = bytearray(layer)
            damaged[at] ^= 1 << at % 8
            rules = {"S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S14"}
            _assert_refused([*layers[:place], bytes(damaged)], weights, rules)
            _assert_refused([*layers[:place], layer[:at]], weights, {"S1"})


@pytest.mark.parametrize("place", [0, 1])
def test_damage_behind_a_right_check_is_refused(codec, weights, place):
    layers = list(codec.encode([PICTURES["odd sides"]()])[0])[: place + 1]
    payload = _opened(layers)[place][0].payload
    header = b"" if place else _header(layers[0])
    for words, rule in [
        (payload + bytes(4), "S13"),
        (payload[:-4], None),
        (payload[:4] + b"\xff" + payload[5:], None),
        (payload[:4], "S8"),
    ]:
        forged = _frame(place, header, words, _check(layers[:place]))
        rules = {rule} if rule else PAYLOAD_RULES
        _assert_refused([*layers[:place], forged], weights, rules)
        _assert_agreement(codec, weights, [*layers[:place], forged], place)


@pytest.mark.parametrize("sizes", [(12,), (12, 25), (6, 12, 25)])
def test_agrees_on_layers_that_are_cut(codec, weights, sizes):
    layers = list(codec.encode([_noise(51, 80)], sizes=sizes)[0])
    assert len(second_reader._parts(layers[5], 5, _opened(layers)[0][1])[0]) > 1
    _assert_agreement(codec, weights, layers, codec.layers)
    for shrink in range(5):
        for count, symbols in enumerate(states(layers, weights, shrink), start=1):
            (found,) = codec._decoder.states([layers[:count]], Size(shrink)).map(_cells)
            for one, other in zip(symbols.cells, found, strict=True):
                np.testing.assert_array_equal(one, other, strict=True)


def _cells(state: CodedState) -> list[np.ndarray]:
    bands = range(bands_end(state.finest))
    return [view(state.cell, state.layout, band).copy() for band in bands]


@pytest.mark.parametrize(
    ("field", "written", "rule", "error"),
    [
        ("version", b"\xb7\3", "S3", UnknownVersion),
        ("place", b"\x80", "S5", LayerDamaged),
        ("place", b"\0", "S5", LayerDamaged),
        ("length", b"\x82\0", "S6", LayerDamaged),
        ("length", b"\xff\xff\xff\xff\xff\1", "S6", LayerDamaged),
        ("length", b"\1", "S8", LayerDamaged),
        ("length", b"\3", "S1", LayerDamaged),
        ("weights", b"another.", "S10", WeightsMismatch),
        ("sides", b"\xff\xff\xff\xff", "S7", LayerDamaged),
        ("cuts", b"\x7d", "S14", LayerDamaged),
        ("cuts", b"\x05", "S14", LayerDamaged),
    ],
)
def test_a_header_that_breaks_a_rule_is_refused(codec, weights, field, written, rule, error):
    fields = {
        "version": b"\xb7\6", "place": b"\x40", "length": b"\2",
        "weights": weights.id, "sides": bytes(4), "cuts": b"\0",
    }  # fmt: skip
    fields[field] = written
    version, place, length, *rest = fields.values()
    start, rest = version + place + length, b"".join(rest) + bytes(8)
    forged = start + struct.pack("<I", zlib.crc32(bytes(8) + start + rest)) + rest
    _assert_refused([forged], weights, {rule})
    with pytest.raises(error):
        codec.symbols([forged])


def test_layers_out_of_place_are_refused(codec, weights):
    first, other = (
        list(layers)
        for layers in codec.encode([PICTURES["one pixel"](), np.zeros((1, 2, 3), np.uint8)])
    )
    _assert_refused([first[0], other[1]], weights, {"S4"})
    _assert_refused([first[0], first[2]], weights, {"S5"})
    _assert_refused([first[1]], weights, {"S2"})
    payload = _opened(first)[1][0].payload
    _assert_refused([first[0], _frame(2, b"", payload, _check(first[:1]))], weights, {"S5"})
    beyond = _frame(len(first), b"", payload, _check(first))
    _assert_refused([*first, beyond], weights, {"S11"})
    _assert_agreement(codec, weights, [*first, beyond], codec.layers)
    _assert_refused([], weights, {"S9"})


def test_a_payload_without_its_last_word_is_refused_even_if_that_is_zero(tmp_path):
    """Tables half of which are for zero turn many into a word of zeros, as the end would give."""
    with safe_open(SHIPPED, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    config = json.loads(metadata["underpaint"])
    config["codec"]["evidence"] = 0.0  # texture alone: a flat picture is of class 0
    metadata["underpaint"] = json.dumps(config)
    used = tensors["frequencies"] > 0
    several = used.sum(1) > 1
    others = used[several, 1:]
    shares = others * (32768 // others.sum(1, keepdims=True))
    shares[:, 0] += 32768 - shares.sum(1)
    tensors["frequencies"][several] = np.column_stack([np.full(len(shares), 32768), shares])
    even = tmp_path / "even.safetensors"
    save_file(tensors, even, metadata)
    codec, weights = Codec.load(str(even)), read_weights(even.read_bytes())
    assert codec.weights_id == weights.id.hex()
    [layer] = codec.encode([np.full((1, 1, 3), 128, np.uint8)], layers=1)[0]
    _assert_agreement(codec, weights, [layer], 1)
    payload = _opened([layer])[0][0].payload
    assert payload.endswith(bytes(4))
    cut = _frame(0, _header(layer), payload[:-4], 0)
    _assert_refused([cut], weights, {"S13"})
    _assert_agreement(codec, weights, [cut], 0)
