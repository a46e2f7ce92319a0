"""SSIMULACRA2 without its finest scale: the reference's own parts, finite differences, sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data
from ssimulacra2 import ssimulacra2 as reference

from underpaint.codec.ssimulacra2 import Ssimulacra2


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return data.chelsea()[20:231, 60:283]


def as_tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)


def blocky(picture: np.ndarray, side: int) -> np.ndarray:
    """Replace blocks by their first pixel; errors are large and of both signs."""
    rows, columns = (np.arange(n) // side * side for n in picture.shape[:2])
    return picture[rows][:, columns]


def noisy(picture: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def by_reference(original: np.ndarray, decoded: np.ndarray) -> float:
    """The reference's score with all its weights, but those of the finest scale."""
    lights = [reference.srgb_to_linear(p.astype(np.float64)) for p in (original, decoded)]
    result = reference.Msssim()
    result.scales.append(reference.MsssimScale())
    for _ in range(1, reference.kNumScales):
        lights = [reference.downsample(light, 2, 2) for light in lights]
        if min(lights[0].shape[:2]) < 8:
            break
        x, y = (reference.make_positive_xyb(reference.linear_rgb_to_xyb(light)) for light in lights)
        means = [reference.blur_image(field) for field in (x, y)]
        products = [reference.blur_image(field) for field in (x * x, y * y, x * y)]
        scale = reference.MsssimScale()
        scale.avg_ssim = reference.ssim_map(*means, *products)
        scale.avg_edgediff = reference.edge_diff_map(x, means[0], y, means[1])
        result.scales.append(scale)
    while len(result.scales) < reference.kNumScales:  # weights are listed by plane, then scale
        result.scales.append(reference.MsssimScale())
    return float(result.score())


@pytest.mark.parametrize("sides", [(211, 223), (64, 211), (17, 40)])
@pytest.mark.parametrize("worsen", [lambda p: blocky(p, 3), lambda p: noisy(p, 12)])
def test_score_is_that_of_the_reference_without_its_finest_scale(photo, sides, worsen):
    original = photo[: sides[0], : sides[1]]
    decoded = worsen(original)
    found = Ssimulacra2(as_tensor(original)).score(as_tensor(decoded))
    assert found == pytest.approx(by_reference(original, decoded), abs=0.05)
    assert found < 90


def test_equal_pictures_have_the_best_score_and_nothing_shows(photo):
    judge = Ssimulacra2(as_tensor(photo))
    assert judge.score(as_tensor(photo)) == pytest.approx(100, abs=0.1)
    assert not judge.sensitivity(as_tensor(photo)).any()


def test_sensitivity_is_what_a_larger_error_at_a_position_costs(photo):
    decoded = as_tensor(noisy(photo, 8))
    original = as_tensor(photo)
    judge = Ssimulacra2(original)
    found = judge.sensitivity(decoded)
    assert found.shape == (14, 14)
    places = [(0, 0), (3, 4), (6, 6), (9, 2), (11, 9), (13, 13)]
    lost = []
    for row, column in places:
        worse = decoded.clone()
        block = slice(16 * row, 16 * row + 16), slice(16 * column, 16 * column + 16)
        worse[:, *block] += 0.2 * (decoded - original)[:, *block]
        lost.append(judge.score(decoded) - judge.score(worse.clamp(0, 255)))
    expected = np.array([found[place] for place in places])
    assert np.corrcoef(lost, expected)[0, 1] > 0.97
    assert expected.max() > 2 * expected.min()


@pytest.mark.parametrize("sides", [(1, 1), (14, 90), (90, 14)])
def test_a_picture_without_scales_shows_no_error(photo, sides):
    original = as_tensor(photo[: sides[0], : sides[1]])
    judge = Ssimulacra2(original)
    assert judge.score(255 - original) == 100
    found = judge.sensitivity(255 - original)
    assert found.shape == tuple(-(-side // 16) for side in sides)
    assert not found.any()


def test_sensitivity_is_found_within_inference_mode_too(photo):
    with torch.inference_mode():
        inside = Ssimulacra2(as_tensor(photo)).sensitivity(as_tensor(blocky(photo, 3)))
    outside = Ssimulacra2(as_tensor(photo)).sensitivity(as_tensor(blocky(photo, 3)))
    assert inside.equal(outside)
    assert inside.any()
