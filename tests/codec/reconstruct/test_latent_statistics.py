"""Normalised latents: mean 0 and deviation 1 over photos, at any size, mirrored or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from tests.helpers.backends import torch_latents
from underpaint import ArchiveWriter, Codec, LayerDataset, LayerMap
from underpaint.codec.archive import Row, publish
from underpaint.codec.archive.torch.augmentation import mirrored_coefficients
from underpaint.codec.errors import UsageError
from underpaint.codec.reconstruct.latent_statistics import (
    LATENT_BANDS,
    LatentStatistics,
    band_of_channel,
)
from underpaint.codec.training.latent_statistics import LEAST_SHARE, with_latent_statistics
from underpaint.codec.weights.header import PROFILES
from underpaint.codec.weights.loading import load_weights

LAYERS = 6


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load()


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    """Photos of 256 x 256 pixels out of the middle of others."""
    return [
        np.ascontiguousarray(photo[top : top + 256, left : left + 256, :3])
        for photo in (
            getattr(data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")
        )
        for top, left in [((photo.shape[0] - 256) // 2, (photo.shape[1] - 256) // 2)]
    ]


@pytest.fixture(scope="module")
def streams(codec: Codec, photos: list[np.ndarray]) -> list[tuple[bytes, ...]]:
    return codec.encode(photos)


def of_bands(coefficients: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each band over photos of one size, [LATENT_BANDS]."""
    values = np.stack(coefficients).astype(np.float64)
    bands = band_of_channel()[: values.shape[1]]
    parts = [values[:, bands == band] for band in range(bands[-1] + 1)]
    return np.array([part.mean() for part in parts]), np.array([part.std() for part in parts])


@pytest.mark.parametrize("layers", [1, 2, 3, LAYERS])
def test_other_photos_have_about_mean_0_and_deviation_1(
    codec: Codec, streams: list[tuple[bytes, ...]], layers: int
) -> None:
    cut = [stream[:layers] for stream in streams]
    latents = codec.latents(cut, normalize=True)
    mean, std = of_bands([one.coefficients for one in latents])
    assert (np.abs(mean[:3]) < 0.75).all()  # four photos have colours of their own
    assert (np.abs(mean[3:]) < 0.15).all()
    lightness = std[::3]
    assert ((lightness > 0.5) & (lightness < 1.5)).all()
    plain, _ = of_bands([one.coefficients for one in codec.latents(cut)])
    assert np.abs(plain[0]) > 50


@pytest.mark.parametrize("profile", PROFILES)
def test_measured_statistics_give_mean_0_and_deviation_1(
    profile: str, photos: list[np.ndarray]
) -> None:
    weights = with_latent_statistics(load_weights(profile), photos)
    codec = Codec(weights)
    streams = codec.encode(photos)
    for layers in range(1, LAYERS + 1):
        cut = [stream[:layers] for stream in streams]
        latents = codec.latents(cut, levels=4, normalize=True)
        mean, std = of_bands([one.coefficients for one in latents])
        np.testing.assert_allclose(mean, 0, atol=1e-4)
        floor = np.maximum(1, weights.latents.std[-1] * LEAST_SHARE)
        above = weights.latents.std[layers - 1] > floor * 1.001
        np.testing.assert_allclose(std[above], 1, atol=1e-3)
        assert (std[~above] <= 1.001).all()
        assert above[:3].all()
        assert layers < LAYERS or above.sum() > LATENT_BANDS - 6


def test_photos_of_any_size_count_the_same(photos: list[np.ndarray]) -> None:
    weights = load_weights(None)
    small, large = photos[0][:64, :64], photos[1]
    alone = [with_latent_statistics(weights, [photo]).latents for photo in (small, large)]
    both = with_latent_statistics(weights, [small, large]).latents
    np.testing.assert_allclose(both.mean, (alone[0].mean + alone[1].mean) / 2, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("levels", range(5))
def test_mirroring_and_normalising_may_be_exchanged(
    codec: Codec, streams: list[tuple[bytes, ...]], levels: int
) -> None:
    plain, normal = (
        torch.from_numpy(
            codec.latents([streams[0][:3]], levels=levels, normalize=n)[0].coefficients
        )
        for n in (False, True)
    )
    [mirrored] = mirrored_coefficients(plain[None])
    statistics = load_weights(None).latents
    expected = statistics.normalize(mirrored.numpy().copy(), 3)
    assert np.array_equal(mirrored_coefficients(normal[None])[0], expected)


@pytest.mark.parametrize("layers", [1, 4])
@pytest.mark.parametrize("levels", [0, 2, 4])
def test_both_backends_normalise_alike(
    codec: Codec, streams: list[tuple[bytes, ...]], layers: int, levels: int
) -> None:
    cut = [stream[:layers] for stream in streams[:2]]
    compiled = codec.latents(cut, levels=levels, normalize=True)
    for one, other in zip(
        compiled, torch_latents(codec, cut, levels=levels, normalize=True), strict=True
    ):
        assert np.array_equal(one.coefficients, other.coefficients)


def test_channels_are_those_that_the_guide_lists(codec: Codec) -> None:
    """Stripes of each direction excite the bands that are high along it, and no others."""
    rows, columns = np.mgrid[:64, :64]
    for orientation, stripes in enumerate((columns, rows, rows + columns)):
        grey = np.where(stripes % 2, 255, 0).astype(np.uint8)
        (latents,) = codec.latents(codec.encode([np.repeat(grey[..., None], 3, 2)]), levels=4)
        energy = np.square(latents.coefficients[192:]).sum((1, 2)).reshape(3, 3, 64)
        found = energy.sum(2)
        assert np.unravel_index(found.argmax(), (3, 3)) == (orientation, 0)
        assert found[orientation, 0] > 0.99 * found.sum()
    bright = np.zeros((64, 64, 3), np.uint8)
    bright[16 + 3, 32 + 5] = 255  # one pixel of one position: the finest channel of its offset
    (latents,) = codec.latents(codec.encode([bright]), levels=4)
    lightness = np.abs(latents.coefficients[192 + 2 * 3 * 64 :][:64])
    channel, row, column = np.unravel_index(lightness.argmax(), lightness.shape)
    assert (row, column) == (1, 2)
    assert divmod(int(channel), 8) in {(1, 2), (0, 2), (1, 1), (0, 1)}


def test_bands_have_as_many_channels_as_samples() -> None:
    counts = np.bincount(band_of_channel())
    assert counts.tolist() == [1] * 3 + [1] * 9 + [4] * 9 + [16] * 9 + [64] * 9
    neutral = LatentStatistics.neutral(2)
    values = np.arange(3 * 48, dtype=np.float32).reshape(48, 1, 3)
    assert np.array_equal(neutral.normalize(values.copy(), 2), values)


@pytest.fixture(scope="module")
def archive(
    tmp_path_factory: pytest.TempPathFactory, codec: Codec, photos: list[np.ndarray]
) -> Path:
    root = tmp_path_factory.mktemp("archive")
    sizes = (64, 128)
    with ArchiveWriter(
        root, "unit", layers=codec.layer_names, weights_id=codec.weights_id, sizes=(*sizes, 0)
    ) as writer:
        for at, stream in enumerate(codec.encode(photos, sizes=sizes)):
            writer.add(Row(f"{at}", stream, 256, 256))
    publish(root)
    return root


@pytest.mark.parametrize("size", [None, 64, 128])
@pytest.mark.parametrize("layers", [1, 2, None])
def test_data_sets_give_them_at_any_size(
    archive: Path, size: int | None, layers: int | None
) -> None:
    plain = LayerMap(archive, layers=layers, size=size)
    normal = LayerMap(archive, layers=layers, size=size, normalize=True)
    mean, std = map(torch.from_numpy, load_weights(None).latents.of_channels(layers or LAYERS, 48))
    for one, other in zip(plain, normal, strict=True):
        expected = (one["coefficients"] - mean[:, None, None]) / std[:, None, None]
        assert torch.equal(other["coefficients"], expected)
        assert torch.equal(other["embedding"], one["embedding"])
    [batch] = LayerDataset(
        archive, layers=layers, size=size, normalize=True, batch_size=4, seed=None
    )
    assert torch.equal(batch["coefficients"][1], normal[1]["coefficients"])


@pytest.mark.parametrize("output", ["image", "pil", "bytes"])
def test_only_latents_are_normalised(archive: Path, output: str) -> None:
    with pytest.raises(UsageError, match=r'normalize: .* output="latent"'):
        LayerDataset(archive, output=output, normalize=True)
