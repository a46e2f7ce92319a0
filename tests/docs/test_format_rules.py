"""Rules of docs/stream.md that only a faulty or hostile writer breaks: forged behind right
checksums."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load, save

from tests.helpers.streams import framed
from underpaint import Codec
from underpaint.codec import bitstream as stream
from underpaint.codec.bitstream import PictureHeader, frames, pack_part, unpack_stream
from underpaint.codec.entropy import rans
from underpaint.codec.entropy.activity import BIN_OF, BINS
from underpaint.codec.entropy.coder import EntropyCoder
from underpaint.codec.entropy.state import CodedState
from underpaint.codec.errors import LayerDamaged, WeightsDamaged
from underpaint.codec.transform.subbands import BANDS, geometry
from underpaint.codec.weights.header import SHIPPED
from underpaint.codec.weights.loading import load_weights, pack_weights, unpack_weights
from underpaint.codec.weights.model import Weights


@pytest.fixture(scope="module")
def weights() -> Weights:
    return load_weights(None)


def _bits(value: int, count: int) -> list[tuple[int, int]]:
    """Plain bits as (table, symbol)."""
    return [(0, value >> bit & 1) for bit in range(count - 1, -1, -1)]


def _payload(weights: Weights, symbols: list[tuple[int, int]]) -> bytes:
    intervals = np.array(
        [
            int(weights.cumulative[table, symbol]) << 16
            | int(weights.frequencies[table, symbol]) - 1
            for table, symbol in symbols
        ],
        np.uint32,
    )
    return rans.pack_intervals(intervals)


def _decode(
    weights: Weights, symbols: list[tuple[int, int]], shape=(1, 1), angles: Sequence[int] = ()
) -> CodedState:
    """Decode layer 0 from forged symbols; what is missing at the end reads as damage."""
    state = CodedState(geometry(*shape))
    turn = [*_bits(int(bool(angles)), 1), *(bit for a in angles for bit in _bits(a + 128, 8))]
    symbols = [*turn, *symbols]
    EntropyCoder(weights).decode(_payload(weights, symbols), 0, state, (None, 1))
    return state


def _one_entry(weights: Weights) -> list[tuple[int, int]]:
    return [*_bits(0, 8), *_bits(0, (weights.classes.count - 1).bit_length())]


@contextmanager
def _breaks(rule: str) -> Iterator[pytest.ExceptionInfo[LayerDamaged]]:
    """Expect that a layer is refused by a rule of the specification."""
    with pytest.raises(LayerDamaged) as caught:
        yield caught
    assert caught.value.rule == rule


def _steps_of_nothing(weights: Weights, steps: int, first: int = 0) -> list[tuple[int, int]]:
    """Cell steps whose every group is flagged empty."""
    groups = [0, 1, 2, *range(3, BANDS, 3)]
    layout = weights.config.table_layout
    return [
        (int(layout.cells(step)[0]) + group, 0)
        for step in range(first, first + steps)
        for group in groups
    ]


def test_a_turn_by_nothing_is_refused(weights):
    rest = [*_one_entry(weights), *_steps_of_nothing(weights, weights.config.layers[0].cell_steps)]
    for angles in ((-128, 127, 0), (0, 0, 1)):
        assert _decode(weights, rest, angles=angles).rotation == angles
    assert _decode(weights, rest).rotation == (0, 0, 0)
    with _breaks("S20"):
        _decode(weights, rest, angles=(0, 0, 0))


def test_a_class_beyond_the_codebook(weights):
    few = replace(
        weights.classes,
        **{
            name: getattr(weights.classes, name)[:5]
            for name in ("scale", "expected_magnitude", "mask", "embedding")
        },
    )
    small, steps = replace(weights, classes=few), weights.config.layers[0].cell_steps
    empty = _steps_of_nothing(weights, steps)
    assert _decode(small, [*_bits(0, 8), *_bits(4, 3), *empty]).palettes[0].classes == [4]
    with _breaks("S15"):
        _decode(small, [*_bits(0, 8), *_bits(5, 3), *empty])


def test_a_palette_entry_without_children(weights):
    bits = (weights.classes.count - 1).bit_length()
    two = [*_bits(1, 8), *_bits(0, bits), *_bits(1, bits), *_bits(0, 1)]
    state = _decode(weights, two + _steps_of_nothing(weights, weights.config.layers[0].cell_steps))
    coder = EntropyCoder(weights)
    assert weights.config.layers[1].palette_steps == 1
    for fresh in (0, 2):  # 1 of 2 entries has children; a third parent appears
        entries = [*_bits(0, bits)]
        for more in range(max(fresh, 1)):
            entries += [*_bits(more, bits), (0, min(fresh, 1))]
        symbols = [*_bits(max(fresh, 1), 8), *entries]
        with _breaks("S16"):
            coder.decode(_payload(weights, symbols), 1, state, (None, 1))


def test_a_label_beyond_the_last_child(weights):
    bits = (weights.classes.count - 1).bit_length()
    three = [*_bits(2, 8), *_bits(0, bits), *_bits(1, bits), *_bits(2, bits)]
    rest = _steps_of_nothing(weights, weights.config.layers[0].cell_steps)
    assert _decode(weights, [*three, *_bits(2, 2), *rest]).palettes[0].labels == [[2]]
    with _breaks("S17"):
        _decode(weights, [*three, *_bits(3, 2), *rest])


def test_a_band_that_had_coefficients_is_called_empty(weights):
    layout, chain = weights.config.table_layout, weights.config.chain
    tables = layout.cells(0)
    nothing = _steps_of_nothing(weights, 1)
    activity = weights.activity[0, 0, 11:].astype(int) @ [
        int(weights.classes.expected_magnitude[0, 0]),
        1,
    ]
    cell = (int(tables[2]) + int(BIN_OF[min(activity >> 10, len(BIN_OF) - 1)]), 1)
    assert cell[0] < int(tables[2]) + BINS
    sign = (int(tables[5]), 0)
    symbols = [*_one_entry(weights), (int(tables[0]), 1), cell, sign, *nothing[1:]]
    state = _decode(weights, symbols)
    assert np.unique(state.cell, return_counts=True)[1][1] == 1
    assert state.magnitude.max() == chain[1].zero + chain[1].width - chain[1].width // 2
    first, *others = weights.config.layers
    longer = replace(weights.config, layers=(replace(first, cell_steps=2), *others))
    with _breaks("S18"):
        _decode(
            replace(weights, config=longer), [*symbols, *_steps_of_nothing(weights, 1, first=1)]
        )


def test_a_layer_beyond_the_plan_is_refused():
    codec = Codec.load()
    layers = codec.encode([np.full((20, 20, 3), 90, np.uint8)])[0]
    [*_, last] = frames(layers)
    more, _ = pack_part(codec.layers, 0, True, last.payload, (last.check, 0))
    with _breaks("S11") as caught:
        codec.check([*layers, more])
    assert caught.value.layer == codec.layers
    codec.check(layers)


def test_an_overlong_length_is_refused():
    [layer] = framed([bytes(8)], PictureHeader(4, 4, "00" * 8))
    assert layer[3] == 2
    with _breaks("S6"):
        unpack_stream([layer[:3] + b"\x82\x00" + layer[4:]])
    with _breaks("S6"):
        unpack_stream([layer[:3] + b"\xff" * 5 + layer[4:]])
    assert unpack_stream([layer]).layers[0][0].payload == bytes(8)


def test_a_part_over_the_limit_is_refused(monkeypatch):
    [blob] = framed([bytes(400)], PictureHeader(4, 4, "00" * 8))
    monkeypatch.setattr(stream, "MAX_LAYER_BYTES", len(blob))
    assert unpack_stream([blob]).layers[0][0].payload == bytes(400)
    monkeypatch.setattr(stream, "MAX_LAYER_BYTES", len(blob) - 1)
    with _breaks("S1"):
        unpack_stream([blob])


def _rewritten(change) -> bytes:
    """Shipped weights after `change(tensors, configuration)`."""
    data = SHIPPED.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    config = json.loads(header["__metadata__"]["underpaint"])
    tensors = {name: array.copy() for name, array in load(data).items()}
    change(tensors, config)
    return save(tensors, {"underpaint": json.dumps(config)})


def _moved(tensors, config, name, value):
    tensors[name] = value(tensors[name])


def _set(config, path, value):
    *parents, last = path
    for parent in parents:
        config = config[parent]
    config[last] = value


def _frequency(table: int, values: list[int]):
    def change(tensors, config):
        tensors["frequencies"][table] = values

    return change


def _west(weight: int):
    def change(tensors, config):
        tensors["activity"][0, 0] = [weight] + [0] * 12

    return change


def _estimate(name: str, value: int):
    def change(tensors, config):
        tensors[f"estimates.{name}"][-1, 3, 2] = value

    return change


WIDEST_WEST = ((1 << 31) - 1) // (130 * 32 - 1)
"""Largest weight that a lone neighbour may have where the first state is 32 wide."""

BROKEN = {
    "W1 ratio": lambda t, c: _set(c, ["codec", "widths", 0], 4 * c["codec"]["widths"][1]),
    "W1 equal": lambda t, c: _set(c, ["codec", "widths", 0], c["codec"]["widths"][1]),
    "W1 range": lambda t, c: _set(c, ["codec", "widths"], [w << 5 for w in c["codec"]["widths"]]),
    "W1 zero": lambda t, c: _set(c, ["codec", "widths", -1], 0),
    "W1 none": lambda t, c: _set(c, ["codec", "widths"], []),
    "W1 text": lambda t, c: _set(c, ["codec", "widths", 0], "wide"),
    "W5 fraction": lambda t, c: _set(c, ["codec", "layers", 0, "palette_steps"], 1.0),
    "W3 embedding": lambda t, c: _moved(t, c, "classes.embedding", lambda a: a[:, 0]),
    "W2 format": lambda t, c: _set(c, ["format"], 1),
    "W3 shape": lambda t, c: _moved(t, c, "steps", lambda a: a[:-1]),
    "W3 type": lambda t, c: _moved(t, c, "activity", lambda a: a.astype(np.int64)),
    "W3 float activity": lambda t, c: _moved(t, c, "activity", lambda a: a.astype(np.float32)),
    "W3 missing": lambda t, c: t.pop("centroids"),
    "W3 unknown tensor": lambda t, c: t.update(more=np.zeros(3, np.float32)),
    "W3 unknown network tensor": lambda t, c: t.update({"network.more": np.zeros(3, np.float16)}),
    "W3 unknown member": lambda t, c: _set(c, ["codec", "flags"], 1),
    "W3 unknown layer member": lambda t, c: _set(c, ["codec", "layers", 0, "flags"], 1),
    "W3 unknown network member": lambda t, c: _set(c, ["network", "flags"], 1),
    "W4 sum": _frequency(1, [30000, 30000, 0, 0, 0]),
    "W4 zero": _frequency(1, [65535, 0, 1, 0, 0]),
    "W4 plain": _frequency(0, [32767, 32769, 0, 0, 0]),
    "W5 palette steps": lambda t, c: _set(c, ["codec", "layers", 1, "palette_steps"], 0),
    "W5 first layer": lambda t, c: _set(c, ["codec", "layers", 0, "cell_steps"], 0),
    "W5 cell steps": lambda t, c: _set(c, ["codec", "layers", -1, "cell_steps"], 2),
    "W5 two cell steps": lambda t, c: (
        _set(c, ["codec", "layers", -1, "cell_steps"], 0),
        _set(c, ["codec", "layers", -2, "cell_steps"], 2),
    ),
    "W5 too many layers": lambda t, c: c["codec"]["layers"].extend(
        {"name": "more", "palette_steps": 0, "cell_steps": 0} for _ in range(11)
    ),
    "W5 negative": lambda t, c: _set(c, ["codec", "layers", -1, "cell_steps"], -1),
    "W5 no layers": lambda t, c: _set(c, ["codec", "layers"], []),
    "W6 law": lambda t, c: _moved(t, c, "classes.law", lambda a: a - a.max() - 1),
    "W6 large law": lambda t, c: _moved(t, c, "classes.law", lambda a: a + (1 << 24)),
    "W3 network type": lambda t, c: _moved(
        t, c, "network.fine_in.bias", lambda a: a.astype(np.float32)
    ),
    "W3 network shape": lambda t, c: _set(c, ["network", "coarse_width"], 161),
    "W3 huge network": lambda t, c: _set(c, ["network", "coarse_width"], 1 << 40),
    "W3 wide network": lambda t, c: _set(c, ["network", "coarse_width"], 1 << 14),
    "W3 deep network": lambda t, c: _set(c, ["network", "fine_depth"], 1 << 40),
    "W3 no hidden units": lambda t, c: _set(c, ["network", "fine_hidden"], 0),
    "W3 other hidden units": lambda t, c: _set(c, ["network", "coarse_hidden"], 97),
    "W3 no network": lambda t, c: _set(c, ["network", "fine_depth"], 0),
    "W3 fractional network": lambda t, c: _set(c, ["network", "shared"], 16.0),
    "W3 list for an object": lambda t, c: _set(c, ["codec"], []),
    "W5 too many palette steps": lambda t, c: (
        _set(c, ["codec", "layers", 0, "palette_steps"], 65),
        _set(c, ["codec", "palette_budgets"], [1.0] * 66),
        _moved(
            t, c, "frequencies", lambda a: np.concatenate([a[:1], a[1:19].repeat(65, 0), a[19:]])
        ),
    ),
    "W8 compander": lambda t, c: _set(c, ["codec", "compander", "knee"], 0),
    "W8 compander text": lambda t, c: _set(c, ["codec", "compander", "power"], "1"),
    "W8 not a number": lambda t, c: _moved(t, c, "steps", lambda a: a * np.float32("nan")),
    "W8 infinite network": lambda t, c: _moved(
        t, c, "network.fine_in.bias", lambda a: a + np.float16("inf")
    ),
    "W9 no embedding": lambda t, c: (
        _moved(t, c, "classes.embedding", lambda a: a[:, :0]),
        _moved(t, c, "semantics.narrow", lambda a: a[:0]),
        _moved(t, c, "semantics.skip", lambda a: a[:0]),
    ),
    "W9 long embedding": lambda t, c: (
        _moved(t, c, "classes.embedding", lambda a: np.resize(a, (len(a), 257))),
        _moved(t, c, "semantics.narrow", lambda a: np.resize(a, (257, a.shape[1]))),
        _moved(t, c, "semantics.skip", lambda a: np.resize(a, (257, a.shape[1]))),
    ),
    "W9 no hidden units": lambda t, c: (
        _moved(t, c, "semantics.widen", lambda a: a[:0]),
        _moved(t, c, "semantics.narrow", lambda a: a[:, :0]),
    ),
    "W9 wide head": lambda t, c: (
        _moved(t, c, "semantics.widen", lambda a: np.resize(a, (4097, a.shape[1]))),
        _moved(t, c, "semantics.narrow", lambda a: np.resize(a, (len(a), 4097))),
    ),
    "W9 negative weight": lambda t, c: _set(c, ["codec", "merge", "semantic"], -1.0),
    "W9 infinite evidence": lambda t, c: _set(c, ["codec", "evidence"], 1e999),
    "W3 head": lambda t, c: _moved(t, c, "semantics.skip", lambda a: a[:, 1:]),
    "W3 head for other classes": lambda t, c: _moved(t, c, "semantics.skip", lambda a: a[1:]),
    "W3 unknown merge weight": lambda t, c: _set(c, ["codec", "merge", "shape"], 1.0),
    "W3 network for other classes": lambda t, c: _set(c, ["network", "classes"], 7),
    "W10 west": _west(WIDEST_WEST + 1),
    "W10 below": _west(-WIDEST_WEST - 1),
    "W3 latents of other layers": lambda t, c: _moved(t, c, "latents.mean", lambda a: a[1:]),
    "W3 latents of other bands": lambda t, c: _moved(t, c, "latents.std", lambda a: a[:, :-1]),
    "W8 infinite mean": lambda t, c: _moved(t, c, "latents.mean", lambda a: a / np.float32(0)),
    "W3 no mixed splits": lambda t, c: c["codec"].pop("mixes_splits"),
    "W3 estimates of splits": lambda t, c: _set(c, ["codec", "mixes_splits"], True),
    "W3 signed shares": lambda t, c: _moved(t, c, "estimates.shares", lambda a: a.astype(np.int16)),
    "W3 wide counts": lambda t, c: _moved(t, c, "estimates.counts", lambda a: a.astype(np.uint16)),
    "W3 mixing of other bands": lambda t, c: _moved(t, c, "estimates.mixing", lambda a: a[:, 1:]),
    "W13 number": lambda t, c: _set(c, ["codec", "mixes_splits"], 0),
    "W13 share": _estimate("shares", 0),
    "W13 count": _estimate("counts", 91),
    "W13 mixing weight": _estimate("mixing", 131073),
    "W13 negative mixing weight": _estimate("mixing", -131073),
    "W13 least mixing weight": _estimate("mixing", -(1 << 31)),
    "W3 no shear": lambda t, c: c["codec"].pop("shear"),
    "W3 shear of one component": lambda t, c: _set(c, ["codec", "shear"], [0.5]),
    "W14 text": lambda t, c: _set(c, ["codec", "shear"], ["0", "0"]),
    "W14 too large": lambda t, c: _set(c, ["codec", "shear"], [0.0, 1.01]),
    "W14 too small": lambda t, c: _set(c, ["codec", "shear"], [-1.01, 0.0]),
    "W14 not a number": lambda t, c: _set(c, ["codec", "shear"], [0.0, float("nan")]),
    "W11 zero": lambda t, c: _moved(t, c, "latents.std", lambda a: a * 0),
    "W11 negative": lambda t, c: _moved(t, c, "latents.std", lambda a: -a),
    "W11 almost": lambda t, c: _moved(t, c, "latents.std", lambda a: np.nextafter(a * 0 + 1, 0)),
}


def _with_step(tensors, config):
    """Add a learned lifting step of levels 1 and 2, with 3 and 4 channels."""
    states = len(config["codec"]["widths"])
    config["prediction"] = {"widths": [3, 4], "states": states}
    for level, width in ((1, 3), (2, 4)):
        tensors[f"prediction.{level}.state"] = np.zeros((states, width), np.float16)
        for number, sides in enumerate(((width, 3), (width, width), (width, width), (9, width))):
            name = f"prediction.{level}.{number}"
            tensors[f"{name}.weight"] = np.ones((*sides, 3, 3), np.float16)
            if number:
                tensors[f"{name}.bias"] = np.zeros(sides[0], np.float16)


BROKEN_STEPS = {
    "W12 no widths": lambda t, c: _set(c, ["prediction", "widths"], []),
    "W12 five levels": lambda t, c: _set(c, ["prediction", "widths"], [3] * 5),
    "W12 no channels": lambda t, c: _set(c, ["prediction", "widths", 0], 0),
    "W12 many channels": lambda t, c: _set(c, ["prediction", "widths", 0], 257),
    "W12 huge": lambda t, c: _set(c, ["prediction", "widths", 0], 1 << 40),
    "W12 fraction": lambda t, c: _set(c, ["prediction", "widths", 0], 3.0),
    "W12 no list": lambda t, c: _set(c, ["prediction", "widths"], 3),
    "W12 states": lambda t, c: _set(c, ["prediction", "states"], 5),
    "W3 unknown member": lambda t, c: _set(c, ["prediction", "depth"], 4),
    "W3 other channels": lambda t, c: _set(c, ["prediction", "widths"], [3, 5]),
    "W3 other levels": lambda t, c: _set(c, ["prediction", "widths"], [3]),
    "W3 no member": lambda t, c: c.pop("prediction"),
    "W3 missing": lambda t, c: t.pop("prediction.2.state"),
    "W3 type": lambda t, c: _moved(t, c, "prediction.1.0.weight", lambda a: a.astype(np.float32)),
    "W8 infinite": lambda t, c: _moved(t, c, "prediction.1.3.bias", lambda a: a + np.inf),
}


def test_a_lifting_step_is_read():
    found = unpack_weights(_rewritten(_with_step))
    assert found.prediction_shape.widths == (3, 4)
    assert pack_weights(found.with_prediction(None)) == pack_weights(load_weights(None))


@pytest.mark.parametrize("rule", BROKEN_STEPS)
def test_a_lifting_step_that_breaks_a_rule_is_refused(rule):
    def change(tensors, config):
        _with_step(tensors, config)
        BROKEN_STEPS[rule](tensors, config)

    with pytest.raises(WeightsDamaged) as caught:
        unpack_weights(_rewritten(change))
    assert caught.value.rule == rule.split()[0]


def test_the_widest_weights_are_read():
    found = unpack_weights(_rewritten(_west(-WIDEST_WEST)))
    assert found.config.widths[0] == 32
    assert found.activity[0, 0, 0] == -WIDEST_WEST


@pytest.mark.parametrize(
    ("name", "values"),
    [("shares", (1, 65535)), ("counts", (0, 90)), ("mixing", (-131072, 131072))],
)
def test_the_ends_of_estimates_are_read(name, values):
    for value in values:
        found = unpack_weights(_rewritten(_estimate(name, value)))
        assert getattr(found.estimates, name)[-1, 3, 2] == value


@pytest.mark.parametrize("rule", BROKEN)
def test_weights_that_break_a_rule_are_refused(rule):
    assert unpack_weights(_rewritten(lambda tensors, config: None)).config is not None
    with pytest.raises(WeightsDamaged) as caught:
        unpack_weights(_rewritten(BROKEN[rule]))
    assert caught.value.rule == rule.split()[0]
