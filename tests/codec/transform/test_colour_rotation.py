"""The colour rotation of a picture: found, written, inverted."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage import data

from tests.helpers.backends import torch_latents
from underpaint import Codec
from underpaint.codec.transform.colour_rotation import (
    NO_ROTATION,
    ColourRotation,
    find_rotations,
    rotate_colours,
)
from underpaint.codec.transform.colours import mix_colours
from underpaint.codec.transform.pictures import bands_picture, pad_to_blocks, picture_bands
from underpaint.codec.weights.loading import load_weights

ANGLES = st.integers(-100, 100)
ROTATIONS = [
    NO_ROTATION,
    ColourRotation(0, 0, 1),
    ColourRotation(30, -20, 50),
    ColourRotation(-128, 127, -1),
]


@pytest.fixture(scope="module")
def orange() -> np.ndarray:
    """A photo in shades of one hue, far from any axis of the opponent colours."""
    return (data.camera()[100:228, 150:280, None] * np.array([1, 0.55, 0.1])).astype(np.uint8)


@given(ANGLES, ANGLES, ANGLES)
def test_angles_give_a_rotation_and_are_found_again(first, second, third):
    rotation = ColourRotation(first, second, third)
    matrix = rotation.matrix()
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)
    assert ColourRotation.nearest(matrix) == rotation


def test_a_positive_angle_takes_the_second_axis_towards_the_first():
    for place, (i, j) in enumerate(((1, 2), (0, 1), (0, 2))):
        rotation = ColourRotation(*(64 if at == place else 0 for at in range(3)))
        np.testing.assert_allclose(
            rotation.matrix() @ np.eye(3)[j], (np.eye(3)[i] + np.eye(3)[j]) / 2**0.5
        )


@pytest.mark.parametrize("kept", [False, True], ids=["loops", "tensors"])
def test_the_inverse_rotation_restores_the_picture(kept):
    rng = np.random.default_rng(3)
    pixels = torch.from_numpy(rng.uniform(0, 255, (len(ROTATIONS), 3, 64, 48)).astype(np.float32))
    bands = [band.requires_grad_(kept) for band in picture_bands(pixels)]
    there = rotate_colours(bands, ROTATIONS)
    for band, other in zip(bands[:3], there[:3], strict=True):
        assert other is band  # the finest level keeps its axes
    for image, rotation in enumerate(ROTATIONS):
        for band, other in zip(bands[3:], there[3:], strict=True):
            expected = torch.einsum(
                "ij,jhw->ihw", torch.from_numpy(rotation.matrix()), band[image].double()
            )
            torch.testing.assert_close(other[image].double(), expected, rtol=0, atol=1e-3)
    picture = bands_picture(there, ROTATIONS)
    torch.testing.assert_close(picture, pixels, rtol=0, atol=1e-2)
    assert rotate_colours(bands[3:], ROTATIONS, 2)[0].equal(there[3])


def test_planes_are_rotated_back_in_place():
    planes = np.random.default_rng(4).normal(0, 50, (3, 5, 7)).astype(np.float32)
    for rotation in ROTATIONS:
        there = np.einsum("ij,jhw->ihw", rotation.matrix(), planes).astype(np.float32)
        mix_colours(there, rotation.inverse_matrix(), there)
        np.testing.assert_allclose(there, planes, atol=1e-3)


def test_a_picture_of_one_hue_is_rotated_and_takes_fewer_bytes(orange, monkeypatch):
    codec = Codec.load("fidelity")
    [stream] = codec.encode([orange])
    angles, *_ = codec.symbols(stream)
    assert angles.any()
    bands = picture_bands(pad_to_blocks([orange], torch.device("cpu")))
    bands = rotate_colours(bands, [ColourRotation(*map(int, angles))])
    energies = torch.stack([band[0].square().sum((1, 2)) for band in bands[3:-1]]).sum(0)
    assert energies[1:].sum() < 0.02 * energies[0]
    monkeypatch.setattr(
        "underpaint.codec.analysis.find_rotations",
        lambda bands, profile: [NO_ROTATION] * len(bands[0]),
    )
    [fixed] = codec.encode([orange])
    assert not codec.symbols(fixed)[0].any()
    for layers in range(2, 7):
        rotated, plain = (codec.decode([s[:layers]])[0] for s in (stream, fixed))
        bytes_of = [sum(map(len, s[:layers])) for s in (stream, fixed)]
        errors = [np.square(p.astype(float) - orange).mean() for p in (rotated, plain)]
        assert bytes_of[0] < 0.95 * bytes_of[1]
        assert errors[0] < 1.1 * errors[1]


def test_grey_and_flat_pictures_are_not_rotated():
    grey = np.repeat(data.camera()[:96, :96, None], 3, 2)
    flat = np.full((40, 40, 3), (200, 30, 90), np.uint8)
    codec = Codec.load("fidelity")
    for stream in codec.encode([grey, flat]):
        assert not codec.symbols(stream)[0].any()


def test_the_perceptual_profile_rotates_nothing(orange):
    codec = Codec.load("perceptual")
    assert not codec.symbols(codec.encode([orange])[0])[0].any()


def test_rotations_do_not_depend_on_the_batch(orange):
    others = [data.astronaut()[:128, :130], orange, data.coffee()[:128, :130]]
    bands = picture_bands(pad_to_blocks(others, torch.device("cpu")))
    together = find_rotations(bands, "fidelity")
    assert together == [
        find_rotations([band[i : i + 1] for band in bands], "fidelity")[0] for i in range(3)
    ]
    assert together[1] != NO_ROTATION
    alone = rotate_colours([band[1:2] for band in bands], together[1:2])
    for band, other in zip(rotate_colours(bands, together), alone, strict=True):
        assert band[1:2].equal(other)


def test_latents_have_the_axes_of_all_pictures(orange):
    codec = Codec(load_weights("fidelity").with_prediction(None))  # predictions are rounded
    [stream] = codec.encode([orange])
    opponent = picture_bands(pad_to_blocks([orange], torch.device("cpu")))
    for levels in (0, 2, 4):
        [found] = codec.latents([stream], levels=levels)
        [known] = torch_latents(codec, [stream], levels=levels)
        np.testing.assert_array_equal(found.coefficients, known.coefficients)
        if levels:
            level_4 = torch.cat(opponent[9:12], 1)[0].numpy()
            assert np.abs(found.coefficients[3:12] - level_4).max() < 12
