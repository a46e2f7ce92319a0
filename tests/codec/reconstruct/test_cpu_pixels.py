"""Pictures that compiled loops write are those that the tensors give, to rounding."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from tests.helpers.backends import torch_pictures
from underpaint import Codec
from underpaint.codec.transform.sizes import SHRINKS
from underpaint.codec.weights.loading import load_weights

PATHS = sorted((Path(__file__).parents[2] / "golden").glob("*.underpaint"))


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec(load_weights(None), dtype=torch.float32)


def _hold(codec: Codec, streams: list[list[bytes]], shrink: int = 1) -> None:
    for refine, most in ((False, 1), (True, 2)):
        painted = codec.decode_tensors(streams, shrink=shrink, refine=refine)
        for stream, picture in zip(streams, painted, strict=True):
            known = torch_pictures(codec, [stream], shrink=shrink, refine=refine)[0].numpy()
            assert picture.dtype == torch.uint8
            assert picture.shape == known.shape
            difference = _difference(picture, known)
            assert difference.max() <= most
            assert difference.mean() < 0.01  # halves may fall on either side, and little else


def _difference(picture: torch.Tensor, known: np.ndarray) -> np.ndarray:
    return np.abs(picture.numpy().astype(int) - known)


def _vector(path: Path) -> list[list[bytes]]:
    """Return states of a conformance vector, as streams of one, three and all layers."""
    lengths = json.loads(path.with_suffix(".json").read_text("utf-8"))["layer_bytes"]
    blob, ends = path.read_bytes(), np.cumsum(lengths)
    layers = [blob[end - n : end] for n, end in zip(lengths, ends, strict=True)]
    return [layers[:count] for count in (1, 3, len(layers))]


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_states_of_the_conformance_vectors(codec, path):
    _hold(codec, _vector(path))


@pytest.mark.slow
def test_bfloat16_costs_compiled_loops_no_more_than_tensors(codec):
    """They round at other places, so each is compared with float32.

    Lines of one pixel are left out: one rounding there counts as much as a whole picture.
    """
    half = Codec(load_weights(None), dtype=torch.bfloat16)
    errors = []
    for path in PATHS:
        for stream in _vector(path):
            exact = torch_pictures(codec, [stream])[0].numpy()
            if min(exact.shape[1:]) == 1:
                continue
            loops = half.decode_tensors([stream])[0]
            tensors = torch_pictures(half, [stream])[0]
            errors.append([_difference(picture, exact).mean() for picture in (loops, tensors)])
    loops, tensors = np.array(errors).T
    assert loops.mean() < tensors.mean()
    assert loops.max() < 1.5 * tensors.max()


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(height=st.integers(1, 70), width=st.integers(1, 70), seed=st.integers(0, 99))
def test_pictures_of_any_sides(codec, height, width, seed):
    rng = np.random.default_rng(seed)
    rough = rng.integers(0, 256, (height, width, 3), np.uint8)
    smooth = np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8)
    _hold(codec, codec.encode([rough, smooth, rough // 2 + smooth // 2]))


@pytest.mark.slow
@pytest.mark.parametrize("shrink", SHRINKS[1:])
def test_small_pictures(codec, shrink):
    pictures = [data.astronaut()[:203, 90:331], data.coffee()[:64, :96], data.chelsea()[:33, :17]]
    streams = codec.encode(pictures, sizes=(30, 60))
    _hold(codec, [stream[:layers] for stream in streams for layers in (1, 4, 6)], shrink)
