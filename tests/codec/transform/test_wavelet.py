"""The linear path loses nothing and moves no energy, for sides of any length."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from underpaint.codec.transform.colours import to_opponent, to_rgb
from underpaint.codec.transform.wavelet import analyse, synthesise


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    levels=st.integers(1, 6),
    seed=st.integers(0, 2**31),
)
def test_synthesis_inverts_analysis(height, width, levels, seed):
    x = torch.randn(2, height, width, generator=torch.Generator().manual_seed(seed)).double()
    bands = analyse(x, levels)
    assert sum(band.numel() for band in bands) == x.numel()
    torch.testing.assert_close(synthesise(bands), x, rtol=0, atol=1e-9)


def test_colour_transform_is_orthonormal():
    rgb = torch.rand(2, 3, 4, 5, dtype=torch.float64) * 255
    opponent = to_opponent(rgb)
    torch.testing.assert_close(to_rgb(opponent), rgb, rtol=0, atol=1e-10)
    torch.testing.assert_close(
        (opponent[0] - opponent[1]).square().sum(), (rgb[0] - rgb[1]).square().sum()
    )
    assert to_opponent(torch.full((1, 3, 1, 1), 128.0)).abs().max() < 1e-4


def test_shear_changes_lightness_alone():
    rgb = torch.rand(2, 3, 4, 5, dtype=torch.float64) * 255
    plain, sheared = to_opponent(rgb), to_opponent(rgb, (0.125, 0.5))
    torch.testing.assert_close(to_rgb(sheared, (0.125, 0.5)), rgb, rtol=0, atol=1e-10)
    torch.testing.assert_close(sheared[:, 1:], plain[:, 1:])
    added = 0.125 * plain[:, 1] + 0.5 * plain[:, 2]
    torch.testing.assert_close(sheared[:, 0], plain[:, 0] + added)
    grey = torch.full((1, 3, 1, 1), 200.0, dtype=torch.float64)
    torch.testing.assert_close(to_opponent(grey, (0.125, 0.5)), to_opponent(grey))


@pytest.mark.slow
def test_wavelet_is_nearly_orthonormal():
    """An error in a coefficient costs about as much in pixels, whatever its band."""
    bands = analyse(torch.zeros(1024, 1024, dtype=torch.float64))
    for index, band in enumerate(bands):
        marked = [torch.zeros_like(other) for other in bands]
        marked[index][band.shape[0] // 2, band.shape[1] // 2] = 1
        assert synthesise(marked).norm().item() == pytest.approx(1, abs=0.1)


def test_a_flat_picture_has_no_details():
    bands = analyse(torch.full((1, 48, 80), 7.0, dtype=torch.float64))
    assert max(band.abs().max().item() for band in bands[:-1]) < 1e-9


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 1), (2, 2), (17, 33), (48, 112)])
def test_compiled_loops_give_the_bits_of_the_tensors(shape):
    x = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(4)) * 100
    learning = x.clone().requires_grad_()
    slow = analyse(learning)
    fast = analyse(x)
    assert all(band.requires_grad for band in slow)
    for one, other in zip(fast, slow, strict=True):
        assert torch.equal(one, other.detach())
    whole = synthesise(slow)
    assert whole.requires_grad
    assert torch.equal(synthesise(fast), whole.detach())
