"""Pictures that compiled loops write are those that the tensors give, to rounding."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec import Codec

VECTORS = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load()


def _by_tensors(codec: Codec, stream: list[bytes]) -> np.ndarray:
    state = codec._decoded(stream)
    picture = codec._synthesised([state], None, refine=False)[0]
    return picture[:, : state.layout.height, : state.layout.width].numpy()


def _hold(codec: Codec, stream: list[bytes]) -> None:
    (painted,) = codec.decode_tensors([stream], refine=False)
    known = _by_tensors(codec, stream)
    assert painted.dtype == torch.uint8
    assert painted.shape == known.shape
    difference = np.abs(painted.numpy().astype(int) - known)
    assert difference.max() <= 1
    assert difference.mean() < 0.01  # halves alone may fall on either side


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.layers")), ids=lambda path: path.stem)
def test_states_of_the_conformance_vectors(codec, path):
    lengths = json.loads(path.with_suffix(".json").read_text("utf-8"))["layer_bytes"]
    blob, ends = path.read_bytes(), np.cumsum(lengths)
    layers = [blob[end - n : end] for n, end in zip(lengths, ends, strict=True)]
    for count in (1, 3, len(layers)):
        _hold(codec, layers[:count])


@settings(deadline=None, max_examples=25)
@given(height=st.integers(1, 70), width=st.integers(1, 70), seed=st.integers(0, 99))
def test_pictures_of_any_sides(codec, height, width, seed):
    rng = np.random.default_rng(seed)
    rough = rng.integers(0, 256, (height, width, 3), np.uint8)
    smooth = np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8)
    for stream in codec.encode([rough, smooth, rough // 2 + smooth // 2]):
        _hold(codec, list(stream))
