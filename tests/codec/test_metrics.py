"""PSNR and MS-SSIM: known values, independent references, small pictures, gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from underpaint.codec import metrics


def noisy(picture: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def batch(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].double()


def ssim_by_skimage(x: np.ndarray, y: np.ndarray) -> float:
    """Mean over the windows wholly inside, as ours; skimage also counts the ones at the rim."""
    _, full = structural_similarity(
        x,
        y,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        full=True,
    )
    return float(full[5:-5, 5:-5].mean())


def test_psnr_of_a_constant_error():
    black = np.zeros((4, 5, 3), np.uint8)
    assert metrics.psnr(black, black + 1) == pytest.approx(20 * math.log10(255))
    assert metrics.psnr(black, black + 255) == 0
    assert metrics.psnr(black, black) == math.inf


def test_psnr_agrees_with_skimage():
    photo = data.astronaut()
    worse = noisy(photo, 9)
    ours = metrics.psnr(photo, worse)
    assert ours == pytest.approx(peak_signal_noise_ratio(photo, worse), abs=1e-4)


@pytest.mark.parametrize(("rows", "columns"), [(512, 512), (61, 40), (11, 12)])
def test_one_scale_agrees_with_skimage(rows, columns):
    photo = data.astronaut()[:rows, :columns]
    worse = noisy(photo, 12)
    ours = float(metrics.ssim(batch(photo), batch(worse), 255)[0])
    assert ours == pytest.approx(ssim_by_skimage(photo, worse), abs=1e-9)


def test_five_scales_are_the_weighted_product_of_the_paper():
    """Luminance only at the last scale, contrast-structure at each, from a second derivation."""
    rng = np.random.default_rng(3)
    x = rng.integers(0, 256, (192, 176, 1)).astype(np.uint8)
    y = noisy(x, 30)
    expected = 1.0
    a, b = x[..., 0].astype(float), y[..., 0].astype(float)
    taps = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)
    window = np.outer(taps, taps) / taps.sum() ** 2
    for scale, exponent in enumerate(metrics.MS_SSIM_EXPONENTS):
        pa = np.lib.stride_tricks.sliding_window_view(a, (11, 11))
        pb = np.lib.stride_tricks.sliding_window_view(b, (11, 11))
        ma, mb = (np.einsum("ijkl,kl->ij", p, window) for p in (pa, pb))
        da, db = pa - ma[..., None, None], pb - mb[..., None, None]
        va, vb, cov = (np.einsum("ijkl,kl->ij", p, window) for p in (da * da, db * db, da * db))
        term = (2 * cov + 0.0009 * 255**2) / (va + vb + 0.0009 * 255**2)
        if scale == 4:
            luminance = (2 * ma * mb + 0.0001 * 255**2) / (ma**2 + mb**2 + 0.0001 * 255**2)
            expected *= (luminance * term).mean() ** exponent
            break
        expected *= term.mean() ** exponent
        a, b = (p.reshape(p.shape[0] // 2, 2, p.shape[1] // 2, 2).mean((1, 3)) for p in (a, b))
    ours = float(metrics.ms_ssim(batch(x), batch(y), 255)[0])
    assert ours == pytest.approx(expected, abs=1e-9)


def test_the_mean_over_channels_is_taken_last():
    photo = data.astronaut()[:200, :200]
    worse = photo.copy()
    worse[..., 2] = noisy(photo[..., 2], 60)
    x, y = batch(photo), batch(worse)
    each = [float(metrics.ms_ssim(x[:, c : c + 1], y[:, c : c + 1], 255)[0]) for c in range(3)]
    assert float(metrics.ms_ssim(x, y, 255)[0]) == pytest.approx(sum(each) / 3)
    assert each[0] == each[1] == pytest.approx(1, abs=1e-12)


def test_pictures_and_tensors_of_any_range_agree():
    photo = data.astronaut()[:180, :250]
    worse = noisy(photo, 20)
    of_pictures = metrics.ms_ssim_of_pictures(photo, worse)
    of_unit_range = float(metrics.ms_ssim(batch(photo) / 255, batch(worse) / 255)[0])
    assert of_pictures == pytest.approx(of_unit_range, abs=1e-5)
    assert 0.5 < of_pictures < 1


def test_a_picture_in_a_batch_has_the_value_it_has_alone():
    photo = data.astronaut()[:64, :64]
    x = torch.cat([batch(photo)] * 3)
    y = torch.cat([batch(noisy(photo, sigma)) for sigma in (2, 10, 40)])
    together = metrics.ms_ssim(x, y, 255)
    alone = torch.cat([metrics.ms_ssim(x[i : i + 1], y[i : i + 1], 255) for i in range(3)])
    torch.testing.assert_close(together, alone)
    assert together[0] > together[1] > together[2]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_small_pictures_have_a_value_in_range(height, width, seed):
    rng = np.random.default_rng(seed)
    x, y = (rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(2))
    assert 0 <= metrics.ms_ssim_of_pictures(x, y) <= 1
    assert metrics.ms_ssim_of_pictures(x, x) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("side", "scales"), [(1, 1), (20, 1), (21, 2), (80, 3), (81, 4), (160, 4), (161, 5), (4000, 5)]
)
def test_scales_that_a_side_has_room_for(side, scales):
    exponents = metrics._exponents(side)
    assert len(exponents) == scales
    assert sum(exponents) == pytest.approx(1, abs=1.5e-4)


def test_gradient_is_finite_and_leads_to_the_original():
    photo = batch(data.astronaut()[:176, :176]).float() / 255
    guess = (1 - photo).requires_grad_()
    before = metrics.ms_ssim(photo, guess)
    (gradient,) = torch.autograd.grad(before.sum(), guess)
    assert torch.isfinite(gradient).all()
    blurred = torch.nn.functional.avg_pool2d(photo, 5, 1, 2).requires_grad_()
    before = metrics.ms_ssim(photo, blurred)
    (gradient,) = torch.autograd.grad(before.sum(), blurred)
    assert torch.isfinite(gradient).all()
    stepped = blurred + 20 * gradient
    assert metrics.ms_ssim(photo, stepped.detach()).item() > before.item()


def test_decibels():
    assert metrics.ms_ssim_decibels(0.99) == pytest.approx(20)
    assert metrics.ms_ssim_decibels(1) == math.inf


def test_unlike_pictures_are_refused():
    x = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="shapes differ"):
        metrics.psnr(x, x[:4])
    with pytest.raises(ValueError, match="uint8"):
        metrics.ms_ssim_of_pictures(x, x.astype(np.float32))
    with pytest.raises(ValueError, match="of one shape"):
        metrics.ms_ssim(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9))
