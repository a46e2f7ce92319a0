"""Search at the encoder: fewer bytes for as much picture, streams that anyone reads."""

import numpy as np
import pytest
import torch
from skimage import data

from underpaint import Codec
from underpaint.codec.errors import UsageError
from underpaint.codec.metrics import psnr
from underpaint.codec.quantize.rate_distortion import spare_dear_ones


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load()


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return data.chelsea()[:240, 60:380]


def test_more_effort_takes_fewer_bytes_and_costs_little(codec, photo):
    sizes, qualities = [], []
    for effort in (1, 2, 3):
        (layers,) = codec.encode([photo], effort=effort)
        sizes.append(sum(map(len, layers)))
        qualities.append(psnr(photo, codec.decode([layers])[0]))
    assert sizes[1] < 0.98 * sizes[0]
    assert qualities[1] > qualities[0] - 0.6
    assert sizes[2] < sizes[0]


def test_coarse_layers_are_the_same_with_a_search_of_the_finest_state(codec, photo):
    (plain,), (searched,) = (codec.encode([photo], effort=effort) for effort in (1, 2))
    assert plain[:5] == searched[:5]
    assert codec.encode([photo], layers=5, effort=2) == [plain[:5]]


def test_efforts_do_not_depend_on_the_batch(codec, photo):
    flipped = photo[::-1].copy()
    for effort in (2, 3):
        alone = codec.encode([photo], effort=effort)[0]
        assert codec.encode([flipped, photo], effort=effort)[1] == alone


def test_lonely_ones_go_and_company_stays():
    value = torch.zeros(1, 3, 64, 64)
    value[0, 0, 40, 40] = 0.6
    value[0, 0, 8:16, 8:16] = 1.2
    value[0, 0, 30, 30] = 2.4
    found = spare_dear_ones(value, value.round(), torch.zeros(1, 3, 32, 32))
    assert found[0, 0, 40, 40] == 0
    assert (found[0, 0, 9:15, 9:15] == 1).all()
    assert found[0, 0, 30, 30] == 2
    assert not found[0, 1:].any()


def test_efforts_that_do_not_exist_are_refused(codec, photo):
    with pytest.raises(UsageError, match="effort: 4 of 3"):
        codec.encode([photo], effort=4)
