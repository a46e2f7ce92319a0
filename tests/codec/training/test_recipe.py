"""What a recipe says about quantisation steps, and classes and head in the steps of another."""

import numpy as np
import pytest
import torch
from skimage import data

from underpaint.codec.analysis import transform
from underpaint.codec.palette.classes import TEXTURE_INDEX
from underpaint.codec.palette.semantic_head import own_inputs
from underpaint.codec.training.recipe import finest_steps
from underpaint.codec.training.settings import PROFILES, Recipe
from underpaint.codec.transform.pictures import pad_to_blocks
from underpaint.codec.transform.subbands import band_index
from underpaint.codec.weights.loading import load_weights

LEVEL_STEPS = (0.8, 2.0, 1.0, 1.0, 0.5, 1.0, 1.0)


def test_factors_of_a_recipe_apply_to_their_bands_alone():
    recipe = Recipe(
        level_steps=LEVEL_STEPS,
        first_chroma_steps=(1.5, 1.0, 1.0, 1.0, 1.25, 1.0, 1.0),
        second_chroma_steps=(1.0, 0.75, 1.0, 1.0, 1.0, 1.0, 3.0),
        diagonal_steps=(1.0, 1.0, 1.0, 2.0, 1.0, 1.0),
    )
    steps = finest_steps(recipe)
    assert [steps[band_index(0, c, 0)] for c in range(3)] == [8, 12, 8]
    assert [[steps[band_index(4, c, o)] for o in range(3)] for c in range(3)] == [
        [5, 5, 10],
        [6.25, 6.25, 6.25],
        [5, 5, 5],
    ]
    assert [[steps[band_index(1, c, o)] for o in range(3)] for c in range(3)] == [
        [20, 20, 20],
        [20, 20, 20],
        [15, 15, 15],
    ]
    assert [steps[band_index(6, c, 2)] for c in range(3)] == [10, 10, 30]
    assert np.unique(finest_steps(PROFILES["fidelity"][0])).tolist() == [10]


@pytest.fixture(scope="module")
def weights():
    return load_weights("fidelity")


def test_classes_and_head_say_the_same_in_other_steps(weights):
    ratio = np.random.default_rng(4).uniform(0.7, 1.4, len(weights.steps)).astype(np.float32)
    pixels = pad_to_blocks([data.coffee()[:160, :240]], torch.device("cpu"))
    before = transform(pixels, weights.steps, None)
    after = transform(pixels, weights.steps * ratio, None)
    textures = ratio[TEXTURE_INDEX]
    (energies,), (others,) = before.energies_by_position, after.energies_by_position
    assert not np.allclose(energies, others, rtol=0.1)
    flat = energies.reshape(-1, len(textures)), others.reshape(-1, len(textures))
    classes = weights.classes.in_steps(textures)
    lengths = weights.classes.code_lengths(flat[0])
    same = classes.code_lengths(flat[1])
    # a class that costs more than another does so by as much
    np.testing.assert_allclose(same - same[:, :1], lengths - lengths[:, :1], atol=0.02)
    head = weights.head
    # one more on each energy: above the floor, the head is exact
    colours = np.zeros((*energies.shape[:2], 3), np.float32)
    own = own_inputs(energies + 1, colours)
    restated = own_inputs((energies + 1) / textures, colours)
    np.testing.assert_allclose(head.in_steps(textures).embed(restated), head.embed(own), atol=1e-4)
    assert np.abs(head.embed(restated) - head.embed(own)).max() > 0.01
