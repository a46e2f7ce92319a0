"""The search of effort 3: the best by each profile's own measure, for any picture."""

import math

import numpy as np
import pytest
import torch
from skimage import data

from underpaint import Codec
from underpaint.codec.encoder import Encoder
from underpaint.codec.search import Search
from underpaint.codec.weights.loading import load_weights
from underpaint.pipelines.evaluation.scores import SCORES

LAYERS_SEEN = 4


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load("perceptual")


def pictures() -> list[np.ndarray]:
    return [data.chelsea()[:240, 60:380], data.astronaut()[:256, 128:384], data.coffee()[::2, ::2]]


@pytest.mark.parametrize("profile", ["perceptual", "fidelity"])
def test_the_best_is_no_worse_than_the_plain_class_map(profile):
    weights, device = load_weights(profile), torch.device("cpu")
    encoder = Encoder(weights, device)
    better = 0
    for picture in pictures():
        shape = picture.shape[:2]
        pack = lambda symbols, _, layers: encoder._pack(symbols, shape, layers)  # noqa: B023, E731
        (plain,), (best,) = (encoder.symbols([picture], effort, False) for effort in (1, 3))
        bands = encoder._analysis.inspect([picture]).spectrum.bands
        judge = Search(weights, device, pack).judge(picture, bands)
        with torch.inference_mode():
            assert judge.merit(best) <= judge.merit(plain)
            better += judge.merit(best) < judge.merit(plain) - 0.002
    assert better


def test_perceptual_takes_fewer_bytes_for_the_same_score(codec):
    """By the metric itself, where a point is worth a fortieth of the bytes."""
    score, gains = SCORES["ssimulacra2"].of_pictures, []
    for picture in pictures():
        merits = []
        for effort in (1, 3):
            (layers,) = codec.encode([picture], layers=LAYERS_SEEN, effort=effort)
            (decoded,) = codec.decode([layers], refine=False)
            merits.append(math.log(sum(map(len, layers))) - score(picture, decoded) / 40)
        gains.append(merits[0] - merits[1])
    assert np.mean(gains) > 0.01


@pytest.mark.parametrize("sides", [(1, 1), (7, 40), (14, 14), (16, 14)])
def test_pictures_without_scales_keep_their_class_map(codec, sides):
    picture = data.chelsea()[: sides[0], 60 : 60 + sides[1]]
    searched, optimised = (codec.encode([picture], effort=effort)[0] for effort in (3, 2))
    assert searched == optimised


@pytest.mark.parametrize("picture", [
    np.full((64, 64, 3), 128, np.uint8),
    np.random.default_rng(1).integers(0, 256, (33, 47, 3), np.uint8),
    np.tile(np.array([0, 255], np.uint8), (40, 20, 3, 1)).reshape(40, 40, 3),
])  # fmt: skip
def test_pictures_unlike_photos_are_searched_and_read(codec, picture):
    (layers,) = codec.encode([picture], effort=3)
    (decoded,) = codec.decode([layers])
    assert decoded.shape == picture.shape


def test_the_class_map_does_not_depend_on_the_layers_that_are_coded(codec):
    picture = pictures()[0]
    (full,) = codec.encode([picture], effort=3)
    for layers in (1, 3, 5):
        assert codec.encode([picture], layers=layers, effort=3) == [full[:layers]]
