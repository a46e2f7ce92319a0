"""The decoder in the browser agrees with the conformance vectors, symbol by symbol."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data

from tests.golden.regenerate import FOLDER, VECTORS
from tests.helpers.odd_weights import write_odd_weights
from tests.helpers.predictions import predicting_weights
from tests.helpers.second_reader import read_weights, states
from underpaint import Codec
from underpaint.codec.entropy.estimates import Estimates
from underpaint.codec.weights.header import PROFILES
from underpaint.codec.weights.loading import pack_weights

pytestmark = pytest.mark.slow

DECODER = Path(__file__).parents[3] / "pipelines" / "serve" / "static" / "decoder"
LARGE = 200_000
"""Pixels from which only the finest state is compared: a megapixel takes ten seconds."""

LONGEST = "longest-side"
"""A megapixel with its padding: only its smallest pictures are compared."""

SCRIPT = """
import { Weights, decode, decodeSymbols, digestInput } from "./decoder/index.js";

const buffer = async (url) => (await fetch(url)).arrayBuffer();
const digits = (byte) => byte.toString(16).padStart(2, "0");
const hex = (bytes) => Array.from(new Uint8Array(bytes), digits).join("");
const weights = await Weights.read(await buffer("weights.safetensors"));
const predicting = await Weights.read(await buffer("predicting.safetensors"));
const known = {
  predicted: predicting,
  "odd-perceptual": await Weights.read(await buffer("odd-perceptual.safetensors")),
  "odd-fidelity": await Weights.read(await buffer("odd-fidelity.safetensors")),
};

window.symbolDigests = async (name, ends) => {
  const stream = new Uint8Array(await buffer(`${name}.underpaint`));
  const digests = [];
  for (const end of ends) {
    const symbols = decodeSymbols(stream.subarray(0, end), known[name] ?? weights);
    digests.push(hex(await crypto.subtle.digest("SHA-256", digestInput(symbols))));
  }
  return digests;
};

window.probes = async (name, end, options, rows, columns) => {
  const stream = new Uint8Array(await buffer(`${name}.underpaint`)).subarray(0, end);
  const { width, height, data, layers } = decode(stream, known[name] ?? weights, options);
  const place = (i, count, side) => (count > 1 ? Math.floor((i * (side - 1)) / (count - 1)) : 0);
  const pixels = [];
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const at = 4 * (place(i, rows, height) * width + place(j, columns, width));
      pixels.push(...data.subarray(at, at + 3));
    }
  }
  return { width, height, layers, pixels };
};

window.attempt = (bytes, options) => {
  try {
    const { layers, damage } = decode(Uint8Array.from(bytes), weights, options);
    return { layers, rule: damage?.rule ?? null };
  } catch (error) {
    return { error: error.name, rule: error.rule ?? null };
  }
};

window.refusal = async (url) => {
  try {
    await Weights.read(await buffer(url));
    return null;
  } catch (error) {
    return error.message;
  }
};

window.ready = true;
"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


Odd = dict[str, tuple[Path, tuple[bytes, ...]]]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Odd:
    """Odd weights of each profile, and the layers of a crop of a photo with them."""
    found = {}
    for profile in PROFILES:
        path = tmp_path_factory.mktemp("odd") / f"{profile}.safetensors"
        write_odd_weights(profile, path)
        (layers,) = Codec.load(str(path)).encode([data.coffee()[60:107, 200:265]], sizes=())
        found[profile] = path, layers
    return found


@pytest.fixture(scope="module")
def page(browser: Any, odd: Odd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("browser")
    shutil.copytree(DECODER, folder / "decoder")
    shutil.copy(PROFILES["perceptual"], folder / "weights.safetensors")
    weights = predicting_weights()
    (folder / "predicting.safetensors").write_bytes(pack_weights(weights))
    (folder / "predicted.underpaint").write_bytes(b"".join(_predicted()))
    for profile in PROFILES:
        shutil.copy(odd[profile][0], folder / f"odd-{profile}.safetensors")
        (folder / f"odd-{profile}.underpaint").write_bytes(b"".join(odd[profile][1]))
    for name, estimates in _broken(weights.estimates).items():
        broken = pack_weights(replace(weights, estimates=estimates))
        (folder / f"{name}.safetensors").write_bytes(broken)
    for name in VECTORS:
        shutil.copy(FOLDER / f"{name}.underpaint", folder)
    (folder / "main.js").write_text(SCRIPT)
    (folder / "index.html").write_text('<script type="module" src="main.js"></script>')
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page()
    page.set_default_timeout(300_000)
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    page.wait_for_function("window.ready")
    yield page
    page.close()
    server.shutdown()


@functools.cache
def _predicted() -> tuple[bytes, ...]:
    """The layers of a crop of a photo, with weights that have a learned lifting step."""
    (layers,) = Codec(predicting_weights()).encode([data.coffee()[60:107, 200:265]], sizes=(20,))
    return layers


def _broken(estimates: Estimates) -> dict[str, Estimates]:
    """Return estimates that break rule W13, by the tensor that does."""
    shares, counts, mixing = (
        a.copy() for a in (estimates.shares, estimates.counts, estimates.mixing)
    )
    shares[3, 2, 1], counts[3, 2, 1], mixing[3, 2, 1] = 0, 91, -131073
    return {
        "shares": replace(estimates, shares=shares),
        "counts": replace(estimates, counts=counts),
        "mixing": replace(estimates, mixing=mixing),
    }


@pytest.mark.parametrize("name", ["shares", "counts", "mixing"])
def test_estimates_that_break_a_rule_are_refused(page: Any, name: str) -> None:
    assert "W13" in page.evaluate("(url) => refusal(url)", f"{name}.safetensors")
    assert page.evaluate("(url) => refusal(url)", "predicting.safetensors") is None


@pytest.mark.parametrize("profile", PROFILES)
def test_symbols_with_odd_weights_are_those_of_the_second_reader(
    page: Any, odd: Odd, profile: str
) -> None:
    path, layers = odd[profile]
    known = [symbols.digest() for symbols in states(layers, read_weights(path.read_bytes()))]
    ends = np.cumsum([len(layer) for layer in layers]).tolist()
    assert page.evaluate("(all) => symbolDigests(...all)", [f"odd-{profile}", ends]) == known


@pytest.mark.parametrize("refine", [False, True])
def test_predicted_details_are_those_of_the_codec(page: Any, refine: bool) -> None:
    codec = Codec(predicting_weights(), dtype=torch.float32)
    layers = _predicted()
    for count in (1, 3, len(layers)):
        end = sum(map(len, layers[:count]))
        for level in range(4):
            (known,) = codec.decode([layers[:count]], shrink=1 << level, refine=refine)
            options = {"shrinkLevel": level, "refine": refine}
            everywhere = ["predicted", end, options, *known.shape[:2]]
            found = page.evaluate("(all) => probes(...all)", everywhere)
            difference = np.abs(np.reshape(found["pixels"], known.shape) - known.astype(int))
            assert difference.max() <= (2 if refine else 1)
            assert difference.mean() < 0.02


def _described(name: str) -> tuple[dict[str, Any], list[int]]:
    described = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    sizes = described["layer_bytes"]
    return described, [sum(sizes[: count + 1]) for count in range(len(sizes))]


@pytest.mark.parametrize("name", VECTORS)
def test_symbols_are_those_of_the_vectors(page: Any, name: str) -> None:
    described, ends = _described(name)
    found = page.evaluate("([name, ends]) => symbolDigests(name, ends)", [name, ends])
    assert found == described["symbols"]


@pytest.mark.parametrize("name", VECTORS)
def test_pictures_are_within_their_tolerance(page: Any, name: str) -> None:
    described, ends = _described(name)
    large = described["height"] * described["width"] > LARGE
    counts = [len(ends)] if large else range(1, len(ends) + 1)
    for count in counts if name != LONGEST else []:
        _compare(page, name, ends[count - 1], 0, bytes.fromhex(described["pixels"][count - 1]))
    for shrink, known in described["small"].items():
        if name == LONGEST and int(shrink) < 8:
            continue
        _compare(page, name, ends[-1], int(shrink).bit_length() - 1, bytes.fromhex(known))


def _compare(page: Any, name: str, end: int, level: int, known: bytes) -> None:
    described, _ = _described(name)
    height, width = (-(-described[side] // (1 << level)) for side in ("height", "width"))
    rows, columns = (
        min(most, side) for most, side in zip(described["grid"], (height, width), strict=True)
    )
    options = {"shrinkLevel": level, "refine": True}
    found = page.evaluate("(all) => probes(...all)", [name, end, options, rows, columns])
    assert (found["height"], found["width"]) == (height, width)
    differences = [abs(a - b) for a, b in zip(found["pixels"], known, strict=True)]
    assert max(differences) <= described["tolerance"]["pixels"]


def test_any_cut_shows_the_layers_before_it(page: Any) -> None:
    _, ends = _described("sizes")
    stream = list((FOLDER / "sizes.underpaint").read_bytes())
    for cut in [0, 1, 2, 20, ends[0] - 1, ends[0], ends[0] + 1, ends[2] - 1, ends[3] + 7]:
        found = page.evaluate("(all) => attempt(...all)", [stream[:cut], {}])
        complete = sum(end <= cut for end in ends)
        if complete:
            assert found["layers"] == complete
        else:
            assert found["error"] == "LayerDamaged"


def test_flipped_bits_are_noticed(page: Any) -> None:
    _, ends = _described("photo")
    stream = (FOLDER / "photo.underpaint").read_bytes()
    for at in range(0, len(stream), 97):
        flipped = bytearray(stream)
        flipped[at] ^= 1 << at % 8
        found = page.evaluate("(all) => attempt(...all)", [list(flipped), {}])
        layer = sum(end <= at for end in ends)
        if at == 1:
            assert found["error"] == "NotReadable"
        elif layer == 0:
            assert found["error"] == "LayerDamaged"
        else:
            assert found["layers"] == layer
            assert found["rule"] is not None
