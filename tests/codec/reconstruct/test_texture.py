"""Texture for the eye: of the right strength, seeded, and only where a state knows nothing."""

import numpy as np
import pytest
from skimage import data

from underpaint import Codec


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load()


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return data.gravel()[:192, :256, None].repeat(3, 2)


@pytest.fixture(scope="module")
def stream(codec, photo) -> tuple[bytes, ...]:
    return codec.encode([photo])[0]


def _roughness(picture: np.ndarray) -> float:
    """The mean squared difference of neighbours in lightness."""
    return float(np.square(np.diff(picture.astype(np.float64).mean(-1), axis=1)).mean())


def test_a_coarse_state_gets_nearer_to_the_roughness_of_the_photo(codec, photo, stream):
    plain, drawn = (codec.decode([stream[:2]], texture=seed)[0] for seed in (None, 1))
    assert _roughness(plain) < _roughness(drawn) < 1.5 * _roughness(photo)


def test_draws_follow_from_the_seed_and_not_from_the_batch(codec, photo, stream):
    other = codec.encode([photo[::-1].copy()])[0]
    alone = codec.decode([stream[:2]], texture=3)[0]
    _, together = codec.decode([other[:2], stream[:2]], texture=3)
    assert np.abs(alone.astype(int) - together).max() <= 1  # the network's rounding may differ
    assert not np.array_equal(alone, codec.decode([stream[:2]], texture=4)[0])


def test_what_is_known_is_not_touched(codec, stream):
    full = codec.decode([stream])[0]
    assert np.array_equal(full, codec.decode([stream], texture=1)[0])
    quick, drawn = (codec.decode([stream], texture=s, refine=False)[0] for s in (None, 1))
    assert np.array_equal(quick, drawn)
    grey = np.full((64, 64, 3), 128, np.uint8)
    (layers,) = codec.encode([grey])
    plain, drawn = (codec.decode([layers[:2]], texture=seed)[0] for seed in (None, 1))
    assert np.abs(plain.astype(int) - drawn).max() <= 2
