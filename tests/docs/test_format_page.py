"""The specification agrees with the code: constants, rules, and the decoder printed in it."""

import hashlib
import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load
from skimage import data

from tests.helpers.odd_weights import write_odd_weights
from underpaint import Codec
from underpaint.codec import errors
from underpaint.codec.entropy.activity import BIN_EDGES, BIN_OF, FINE
from underpaint.codec.entropy.estimates import (
    ESTIMATES,
    SHIFTS,
    SIGN_AROUND,
    SIGN_CONTEXT,
    SIGN_NORTH,
    SIGN_WEST,
    SPLIT_NEAR,
    SPLIT_RELATIVES,
    STORED,
    mixing_inputs,
    stored_estimates,
)
from underpaint.codec.entropy.signs import SIGN_EDGES
from underpaint.codec.entropy.tables import TableLayout
from underpaint.codec.transform.subbands import band_index, bands_end, geometry, view
from underpaint.codec.weights.header import PROFILES, SHIPPED

ROOT = Path(__file__).parents[2]
STREAM, ARCHIVE = (
    (ROOT / "docs" / f"{name}.md").read_text("utf-8") for name in ("stream", "archive")
)

MODULE_NAMES = (
    "bitstream", "limits", "entropy.activity", "entropy.coder", "entropy.estimates",
    "entropy.palette_map_coder", "entropy.rans", "entropy.significance", "entropy.signs",
    "palette.merging", "quantize.cells", "transform.colour_rotation", "transform.subbands",
    "transform.wavelet", "weights.header",
)  # fmt: skip
MODULES = [importlib.import_module(f"underpaint.codec.{name}") for name in MODULE_NAMES]


def test_constants():
    tables = [page[page.index("| constant |") :].partition("\n\n")[0] for page in (STREAM, ARCHIVE)]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", "\n".join(tables), re.MULTILINE)
    assert len(rows) >= 26
    for name, value in rows:
        found = {getattr(module, name) for module in MODULES if hasattr(module, name)}
        assert found == {int(value, 0)}, name


def test_bin_edges():
    edges = tuple(map(int, re.search(r"^    ((?:\d+ ?){23})$", STREAM, re.MULTILINE)[1].split()))
    assert edges == BIN_EDGES
    assert [sum(fine >= edge for edge in edges) for fine in range(FINE)] == BIN_OF.tolist()


def test_sign_edges():
    edges = tuple(map(int, re.search(r"^    ((?:\d+ ?){7})$", STREAM, re.MULTILINE)[1].split()))
    assert edges == SIGN_EDGES


def test_estimates():
    rows = re.findall(
        r"^\| s.* \| (table `\w+`|\d+) \| (\d+) \| .* \| .* \|$", STREAM, re.MULTILINE
    )
    kinds = [int(start) for start, _ in rows if start.isdigit()]
    sizes = [int(size) for _, size in rows]
    starts = [SIGN_AROUND, SIGN_WEST, SIGN_NORTH, SPLIT_RELATIVES, SPLIT_NEAR]
    assert sizes == np.diff([0, SIGN_CONTEXT, *starts, ESTIMATES]).tolist()
    assert kinds == (np.array(starts) - STORED).tolist()
    for mixes, (estimates, inputs) in {True: (755, 7), False: (243, 4)}.items():
        assert (stored_estimates(mixes), mixing_inputs(mixes)) == (estimates, inputs)
    for text in ("Q is 755 if `mixes_splits`, else 243", "R is 7 if `mixes_splits`, else 4"):
        assert text in STREAM
    edges = [
        int(edge) for edge in re.search(r"at most the count: ((?:\d+ ?){6});", STREAM)[1].split()
    ]
    assert [1 + sum(count >= edge for edge in edges) for count in range(91)] == SHIFTS.tolist()


def test_table_layout():
    symbols = "(?:2|2 or 3|2, 3 or 5)"
    rows = re.findall(rf"^\| `\w+` \| (\d+) \| (\d+) \| .* \| {symbols} \|$", STREAM, re.M)
    starts, sizes = np.array(rows, int).T
    layout = TableLayout(2, 6)
    np.testing.assert_array_equal(layout.cells(4) - (1 + 18 * 2 + 4905 * 4), starts)
    assert starts[-1] + sizes[-1] == 4905
    np.testing.assert_array_equal(np.diff(starts), sizes[:-1])
    assert layout.count == 1 + 18 * 2 + 4905 * 6
    assert layout.palette(1) == 1 + 18
    for text in ("4905 tables", "1 + 18 p", "1 + 18 P + 4905 s", "1 + 18 P + 4905 S, 5"):
        assert text in STREAM


def test_band_numbers():
    assert "3 + 9 (6 - l) + 3 c + o" in STREAM
    for level in range(1, 7):
        for component in range(3):
            for orientation in range(3):
                number = 3 + 9 * (6 - level) + 3 * component + orientation
                assert band_index(level, component, orientation) == number


def _rules() -> list[tuple[str, str]]:
    texts = re.split(r"\*\*([A-Z]\d+)\.\*\*", STREAM + ARCHIVE)
    return [
        (name, re.split(r"\n\n|\n\* ", text)[0])
        for name, text in zip(texts[1::2], texts[2::2], strict=True)
    ]


def test_rules_are_numbered_once_and_name_errors_and_tests_that_exist():
    names = [name for name, _ in _rules()]
    assert len(set(names)) == len(names)
    for letter in {name[0] for name in names}:
        numbers = [int(name[1:]) for name in names if name[0] == letter]
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for name, text in _rules():
        tests = re.findall(r"`(test_\w+)`", text)
        assert tests, f"{name} names no test"
        for test in tests:
            assert f"def {test}(" in sources, f"{name} names {test}"
        for error in re.findall(r"`([A-Z][a-z]+[A-Z][A-Za-z]+)`", text):
            assert hasattr(errors, error), f"{name} names {error}"


def _decoder(path: Path):
    """The decoder on the page: a prefix of layers to turn, class maps and cells of each band."""
    page: dict = {}
    for block in re.findall(r"^```python\n(.*?)^```", STREAM, re.MULTILINE | re.DOTALL):
        exec(compile(block, "docs/stream.md", "exec"), page)
    weights = path.read_bytes()
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    config = json.loads(header["__metadata__"]["underpaint"])["codec"]
    weights_id = hashlib.sha256(weights).hexdigest()[:16]
    return lambda data, level=0: page["decode_symbols"](
        data, load(weights), config, weights_id, level
    )


@pytest.fixture(scope="module")
def decode_symbols():
    return _decoder(SHIPPED)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_decoder_on_the_page_agrees_with_odd_weights(profile, tmp_path):
    path = tmp_path / "odd.safetensors"
    write_odd_weights(profile, path)
    _agrees(Codec.load(str(path)), _decoder(path), (33, 50), (), 0)


@pytest.mark.parametrize(
    ("shape", "sizes", "level"),
    [((1, 1), (), 0), ((33, 90), (), 0), ((70, 90), (12, 30), 0), ((70, 90), (12, 30), 1)],
)
def test_the_decoder_on_the_page_agrees_with_the_codec(shape, sizes, level, decode_symbols):
    _agrees(Codec.load(), decode_symbols, shape, sizes, level)


def _agrees(codec, decode_symbols, shape, sizes, level):
    picture = data.astronaut()[60 : 60 + shape[0], 180 : 180 + shape[1]]
    stream = codec.encode([picture], sizes=sizes)[0]
    for layers in (1, 2, codec.layers):
        turn, maps, cells = decode_symbols(b"".join(stream[:layers]), level)
        angles, *expected, flat = codec.symbols(stream[:layers])
        np.testing.assert_array_equal(turn, angles)
        assert len(maps) == len(expected)
        for found, known in zip(maps, expected, strict=True):
            np.testing.assert_array_equal(found, known)
        assert len(cells) == bands_end(level + 1)
        for band, found in enumerate(cells):
            np.testing.assert_array_equal(found, view(flat, geometry(*shape), band))


@pytest.mark.parametrize(
    ("name", "count"), [("many-entries", 2), ("sparse", 6), ("largest-magnitudes", 6)]
)
def test_the_decoder_on_the_page_agrees_with_the_vectors(name, count, decode_symbols):
    path = ROOT / "tests" / "golden" / name
    vector = json.loads(path.with_suffix(".json").read_text("utf-8"))
    joined = path.with_suffix(".underpaint").read_bytes()
    ends = np.cumsum(vector["layer_bytes"])
    turn, maps, cells = decode_symbols(joined[: ends[count - 1]])
    digest = hashlib.sha256()
    for array in (np.array(turn), *maps, *cells):
        digest.update(array.astype("<i2").tobytes())
    assert digest.hexdigest() == vector["symbols"][count - 1]
