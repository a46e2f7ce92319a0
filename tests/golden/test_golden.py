"""The conformance vectors: bytes, symbols and pictures stay what they were."""

import hashlib
import json
from itertools import pairwise

import numpy as np
import pytest

from tests.golden.regenerate import (
    ARCHIVE,
    FOLDER,
    LARGEST_BYTES,
    LEAST_TOLERANCE,
    VECTORS,
    pack_symbols,
    probe,
    symbols_digest,
)
from underpaint import Codec
from underpaint.codec.archive import Archive
from underpaint.codec.bitstream import frames
from underpaint.codec.decoder import Decoder
from underpaint.codec.entropy.coder import EntropyCoder, Tally
from underpaint.codec.entropy.palette_map_coder import PALETTE_TABLES
from underpaint.codec.entropy.state import CodedState, Symbols
from underpaint.codec.weights.loading import load_weights
from underpaint.codec.weights.model import Weights


@pytest.fixture(scope="module")
def weights() -> Weights:
    return load_weights(None)


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load()


def _vector(name: str) -> tuple[dict, list[bytes]]:
    """JSON and layers of a vector; made with the shipped weights, or the test ends here."""
    described = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    shipped = load_weights(None).id
    assert described["weights"] == shipped, (
        f"{name} is of weights {described['weights']}, shipped are {shipped}: "
        "python -m tests.golden.regenerate"
    )
    joined = (FOLDER / f"{name}.underpaint").read_bytes()
    ends = np.cumsum(described["layer_bytes"])
    assert ends[-1] == len(joined)
    starts = ends - described["layer_bytes"]
    return described, [joined[start:end] for start, end in zip(starts, ends, strict=True)]


def _decoded(weights: Weights, layers: list[bytes]) -> CodedState:
    return Decoder(weights).state(layers)


@pytest.mark.parametrize("name", VECTORS)
def test_symbols(codec, name):
    described, layers = _vector(name)
    assert hashlib.sha256(b"".join(layers)).hexdigest() == described["sha256"]
    assert len(layers) == codec.layers
    prefixes = [layers[:n] for n in range(1, len(layers) + 1)]
    assert [symbols_digest(codec, prefix) for prefix in prefixes] == described["symbols"]


@pytest.mark.parametrize("name", VECTORS)
def test_symbols_are_written_as_the_same_bytes(weights, name):
    described, layers = _vector(name)
    state = _decoded(weights, layers)
    assert weights.config.chain[-1].width == 1
    symbols = Symbols(state.palettes, state.cell, state.rotation)
    sides = described["height"], described["width"]
    assert pack_symbols(weights, symbols, *sides, described["sizes"]) == layers


@pytest.mark.parametrize("name", VECTORS)
def test_pictures_are_within_their_tolerance(codec, name):
    described, layers = _vector(name)
    for count in range(1, len(layers) + 1):
        picture = codec.decode([layers[:count]])[0]
        assert picture.shape == (described["height"], described["width"], 3)
        for kind, found in zip(("pixels", "means"), probe(picture), strict=True):
            known = np.frombuffer(bytes.fromhex(described[kind][count - 1]), np.uint8)
            difference = np.abs(found.astype(float) - known.reshape(*described["grid"], 3)).max()
            assert difference <= described["tolerance"][kind]


@pytest.mark.parametrize("name", VECTORS)
def test_small_pictures_are_within_their_tolerance(codec, name):
    described, layers = _vector(name)
    for shrink, known in described["small"].items():
        picture = codec.decode([layers], shrink=int(shrink))[0]
        sides = tuple(-(-described[side] // int(shrink)) for side in ("height", "width"))
        assert picture.shape == (*sides, 3)
        pixels = probe(picture)[0].astype(int)
        expected = np.frombuffer(bytes.fromhex(known), np.uint8).reshape(pixels.shape)
        assert np.abs(pixels - expected).max() <= described["tolerance"]["pixels"]


@pytest.mark.parametrize(("name", "sizes"), [("sizes", [0, 1, 2]), ("sizes-alike", [0, 2, 3])])
def test_two_vectors_are_cut_for_sizes(name, sizes):
    described, layers = _vector(name)
    assert described["sizes"] == list(VECTORS[name].sizes)
    assert [frame.size for frame in frames(layers) if frame.layer == 0] == [0]
    assert [frame.size for frame in frames(layers) if frame.layer == 5] == sizes


def test_tolerances_of_photos_are_small():
    for name in ("photo", "odd-sides", "odd-positions", "one-row", "one-column"):
        tolerance = _vector(name)[0]["tolerance"]
        assert LEAST_TOLERANCE["pixels"] <= tolerance["pixels"] <= 12
        assert LEAST_TOLERANCE["means"] <= tolerance["means"] <= 3


def test_vectors_use_every_kind_of_table(weights):
    layout = weights.config.table_layout
    tally = Tally.empty(weights)
    for name in VECTORS:
        state = _decoded(weights, _vector(name)[1])
        EntropyCoder(weights).count(Symbols(state.palettes, state.cell), state.layout, tally)
    counts = tally.tables
    out_of_reach = {8, 10, 11, 17}
    for step in range(layout.palette_steps):
        start = layout.palette(step)
        contexts = counts[start : start + PALETTE_TABLES].any(1)
        assert set(np.flatnonzero(~contexts)) == out_of_reach
    symbols = layout.symbols(weights.config.chain)
    for step in range(layout.cell_steps):
        starts = [*layout.cells(step), *layout.cells(step + 1)[:1]]
        for kind, (start, end) in enumerate(pairwise(starts)):
            used = np.flatnonzero(counts[start:end].sum(0))
            assert used.size == symbols[start], (step, kind)


def test_the_archive(codec, weights):
    archive = Archive.open(ARCHIVE)
    assert archive.weights_id == weights.id
    rows = {row.key: row for row in archive.rows()}
    assert list(rows) == [f"vectors/{n}" for n in ("one-pixel", "odd-sides", "flat", "dots")]
    for number, row in enumerate(rows.values()):
        described, layers = _vector(row.key.removeprefix("vectors/"))
        assert list(row.layers) == layers[: codec.layers - number]
        assert (row.height, row.width) == (described["height"], described["width"])
        assert row.labels["class"] == number
        codec.check(row.layers)
    assert rows["vectors/flat"].labels["caption"] == "größe 2"
    assert [letter.key for letter in archive.dead_letters()] == ["broken"]
    assert archive.statistics().failed == 1


def test_vectors_are_small_and_no_file_is_left_over():
    files = [path for path in FOLDER.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in files) <= LARGEST_BYTES
    names = {path.name for path in FOLDER.iterdir() if path.suffix in (".json", ".underpaint")}
    assert names == {f"{name}{suffix}" for name in VECTORS for suffix in (".json", ".underpaint")}
