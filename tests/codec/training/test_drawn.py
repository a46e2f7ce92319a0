"""Drawn pictures: what they show, how often they are taken, and what an error on them costs."""

import numpy as np
import pytest
import torch
from skimage import data

from underpaint import Codec
from underpaint.codec.training.drawn import (
    chart,
    drawn_pictures,
    flat,
    gradient,
    photo_on_ground,
    screen,
    shapes,
    text,
)
from underpaint.codec.training.samples import CropSource
from underpaint.codec.training.train_network import LEAST_ERROR, relative_errors

PHOTOS = [data.astronaut(), data.coffee()[:100, :150]]


def colours(picture: np.ndarray) -> np.ndarray:
    """How many pixels have each colour that a picture shows."""
    return np.unique(picture @ [1, 1 << 8, 1 << 16], return_counts=True)[1]


def commonest(picture: np.ndarray) -> float:
    """Share of the pixels that have the commonest colour."""
    return colours(picture).max() / colours(picture).sum()


@pytest.mark.parametrize("kind", [flat, gradient, shapes, text, photo_on_ground, chart, screen])
@pytest.mark.parametrize("side", [64, 320])
def test_each_kind_fills_a_square(kind, side):
    rng = np.random.default_rng(5)
    pictures = [kind(PHOTOS, side, rng) for _ in range(20)]
    for picture in pictures:
        assert (picture.shape, picture.dtype) == ((side, side, 3), np.uint8)
    assert (max(len(colours(picture)) for picture in pictures) == 1) == (kind is flat)
    assert len({picture.tobytes() for picture in pictures}) >= 10


@pytest.mark.parametrize(("kind", "least"), [(text, 0.5), (photo_on_ground, 0.35), (chart, 0.5)])
def test_most_of_a_drawing_is_flat_ground(kind, least):
    rng = np.random.default_rng(6)
    assert np.median([commonest(kind(PHOTOS, 320, rng)) for _ in range(30)]) >= least


def test_a_gradient_has_small_steps():
    rng = np.random.default_rng(7)
    for _ in range(20):
        picture = gradient(PHOTOS, 320, rng).astype(int)
        assert all(np.abs(np.diff(picture, axis=axis)).max() <= 2 for axis in (0, 1))


def test_the_seed_decides_the_pictures():
    first, again, other = (
        drawn_pictures(PHOTOS, 12, 96, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    flats = [commonest(picture) == 1 for picture in drawn_pictures(PHOTOS, 200, 32, _rng())]
    assert 0.2 < np.mean(flats) < 0.5


def _rng() -> np.random.Generator:
    return np.random.default_rng(8)


def test_a_share_of_the_crops_is_drawn():
    codec = Codec.load()
    photo, white = PHOTOS[0][:160, :200], np.full((96, 128, 3), 255, np.uint8)

    def shares(share: float) -> tuple[float, float]:
        source = CropSource(
            [photo], lambda picture: codec.quantised([picture])[0], 64, [white], share
        )
        pixels, rotations, *maps, drawn = source.draw(400, 1, _rng())
        assert pixels.shape == (400, 3, 64, 64)
        assert len(rotations) == 400
        assert all(kind.shape == (400, 4, 4) for kind in maps)
        is_white = (pixels == 255).all((1, 2, 3))
        return drawn.float().mean().item(), (drawn == is_white).float().mean().item()

    assert shares(0.0) == (0.0, 1.0)
    found, right = shares(0.3)
    assert (round(found, 1), right) == (0.3, 1.0)


def test_grey_on_white_costs_though_white_was_exact():
    before = torch.full((3, 3, 32, 32), 255.0)
    pixels, after = before.clone(), before.clone()
    pixels[1] -= 20  # wrong by 20 before, by 10 after
    after[1] -= 10
    after[2] -= 6
    found = relative_errors(pixels, before, after).tolist()
    assert found == pytest.approx([0, 100 / (400 + LEAST_ERROR), 36 / LEAST_ERROR])
