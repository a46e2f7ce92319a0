"""Pictures of an exact shape are those that Pillow scales."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from underpaint.codec.archive.torch.exact import to_shape


@pytest.mark.parametrize("shape", [(144, 144), (300, 700), (512, 100), (7, 5)])
def test_stretched_pictures_are_those_of_pillow(shape):
    photo = data.astronaut()
    scaled = to_shape(torch.from_numpy(photo).permute(2, 0, 1), shape, "stretch")
    wanted = Image.fromarray(photo).resize(shape[::-1], Image.Resampling.BICUBIC)
    assert scaled.dtype == torch.uint8
    assert np.abs(scaled.permute(1, 2, 0).numpy() - np.asarray(wanted, int)).max() <= 1


def test_the_centre_is_kept_at_its_proportions():
    photo = data.chelsea()  # 300 x 451
    scaled = to_shape(torch.from_numpy(photo).permute(2, 0, 1), (100, 100), "crop")
    wanted = Image.fromarray(photo[:, 75:375]).resize((100, 100), Image.Resampling.BICUBIC)
    assert np.abs(scaled.permute(1, 2, 0).numpy() - np.asarray(wanted, int)).max() <= 1


def test_a_picture_of_the_shape_stays_as_it_is():
    picture = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    assert torch.equal(to_shape(picture, (20, 30), "crop"), picture)
