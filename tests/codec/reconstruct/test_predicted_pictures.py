"""Pictures and latents with a learned lifting step: the backends agree in all states and sizes."""

import numpy as np
import pytest
import torch
from skimage import data

from tests.helpers.backends import torch_latents, torch_pictures
from tests.helpers.predictions import predicting_weights
from underpaint import Codec
from underpaint.codec.metrics import psnr
from underpaint.codec.transform.sizes import SHRINKS
from underpaint.codec.weights.header import PROFILES
from underpaint.codec.weights.loading import load_weights, pack_weights

PICTURES = [
    data.astronaut()[:203, 90:331],
    data.coffee()[:64, :96],
    data.chelsea()[:33, :17],
    data.coffee()[:1, :1],
]


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec(predicting_weights(), dtype=torch.float32)


@pytest.fixture(scope="module")
def streams(codec: Codec) -> list[tuple[bytes, ...]]:
    return codec.encode(PICTURES, sizes=(30, 60))


def test_the_finest_state_is_as_good_as_without(codec, streams):
    """The loop is closed: what is predicted wrongly costs bytes, not quality."""
    plain = Codec(load_weights("fidelity").with_prediction(None))
    for picture, stream in zip(PICTURES, streams, strict=True):
        found = psnr(picture, codec.decode([stream], refine=False)[0])
        known = psnr(picture, plain.decode(plain.encode([picture]), refine=False)[0])
        assert found > min(known, 45) - 12  # random details are coded in more than zero cells
        assert found > 33


@pytest.mark.parametrize("effort", [1, 2, 3])
def test_each_effort_writes_what_both_backends_read_alike(codec, effort):
    picture = data.chelsea()[:64, :80]
    (stream,) = codec.encode([picture], effort=effort)
    found = codec.decode_tensors([stream], refine=False)[0].int()
    known = torch_pictures(codec, [stream], refine=False)[0].int()
    assert (found - known).abs().max() <= 1


@pytest.mark.parametrize("profile", PROFILES)
def test_weights_are_packed_as_they_were(profile):
    weights, packed = load_weights(profile), PROFILES[profile].read_bytes()
    assert (weights.prediction_shape is not None) == (profile == "fidelity")
    assert pack_weights(weights) == packed
    without = pack_weights(predicting_weights(profile).with_prediction(None))
    assert without == pack_weights(weights.with_prediction(None))
    assert (without == packed) == (profile == "perceptual")


@pytest.mark.slow
@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("shrink", SHRINKS)
def test_backends_agree(codec, streams, shrink, refine):
    for layers in range(1, codec.layers + 1):
        cut = [stream[:layers] for stream in streams]
        pictures = codec.decode_tensors(cut, shrink=shrink, refine=refine)
        for stream, picture in zip(cut, pictures, strict=True):
            known = torch_pictures(codec, [stream], shrink=shrink, refine=refine)[0]
            difference = (picture.int() - known.int()).abs()
            assert difference.max() <= (2 if refine else 1)
            assert difference.float().mean() < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("levels", range(5))
def test_latents_of_backends_agree(codec, streams, levels):
    for layers in (1, 4, 6):
        cut = [stream[:layers] for stream in streams]
        for stream, found in zip(cut, codec.latents(cut, levels=levels), strict=True):
            (known,) = torch_latents(codec, [stream], levels=levels)
            assert np.abs(found.coefficients - known.coefficients).max() < 1e-2
