"""Mirrored coefficients are those of the mirrored photo."""

import numpy as np
import pytest
import torch
from skimage import data

from underpaint import Codec
from underpaint.codec.archive.torch.augmentation import mirrored_coefficients
from underpaint.codec.archive.torch.collate import collate
from underpaint.codec.errors import UsageError


@pytest.fixture(scope="module")
def codec():
    return Codec.load()


@pytest.mark.parametrize("levels", [0, 1, 2, 3, 4])
def test_they_are_those_of_the_mirrored_photo_one_pixel_further(codec, levels):
    photo = data.astronaut()[:256, :256]
    seen = []
    for pixels in (photo, np.ascontiguousarray(np.roll(photo[:, ::-1], 1, 1))):
        (latents,) = codec.latents(codec.encode([pixels]), levels=levels)
        seen.append(torch.from_numpy(latents.coefficients)[None])
    guess = mirrored_coefficients(seen[0])
    assert guess.shape == seen[1].shape
    ends = [3 * 4**level for level in range(levels + 1)]
    for first, end, least in zip([0, *ends], ends, (0.999, 0.99, 0.99, 0.98, 0.92), strict=False):
        pair = [one[:, first:end, :, 1:-1].flatten() for one in (guess, seen[1])]  # not the edges
        assert float(torch.corrcoef(torch.stack(pair))[0, 1]) > least, end


def test_mirroring_twice_shifts_low_passes_alone(codec):
    (latents,) = codec.latents(codec.encode([data.coffee()[:128, :160]]))
    once = torch.from_numpy(latents.coefficients)[None]
    twice = mirrored_coefficients(mirrored_coefficients(once))
    inner = slice(1, -1)
    high = [*range(3, 6), *range(9, 12)]  # level 4: high-pass in x
    assert torch.equal(twice[:, high], once[:, high])
    assert torch.equal(twice[:, :3, :, inner], once[:, :3, :, inner])


@pytest.mark.parametrize("levels", [0, 1, 2, 3])
def test_padded_batches_are_mirrored_as_each_picture_alone(codec, levels):
    photos = [data.coffee()[:128, :160], data.chelsea()[:96, :208], data.rocket()[:64, :64]]
    samples = [
        {"coefficients": torch.from_numpy(latents.coefficients)}
        for latents in codec.latents(codec.encode(photos), levels=levels)
    ]
    batch = collate(samples)
    mirrored = mirrored_coefficients(batch["coefficients"], batch["mask"])
    assert mirrored.shape == batch["coefficients"].shape
    for sample, result in zip(samples, mirrored, strict=True):
        alone = mirrored_coefficients(sample["coefficients"])
        _, height, width = alone.shape
        assert torch.equal(result[:, :height, -width:], alone)
        assert not result[:, height:].any()
        assert not result[..., :-width].any()


def test_other_shapes_are_refused():
    with pytest.raises(UsageError, match="2 dimensions"):
        mirrored_coefficients(torch.zeros(4, 4))
    with pytest.raises(UsageError, match="a mask of"):
        mirrored_coefficients(torch.zeros(2, 3, 4, 4), torch.ones(2, 4, 5, dtype=torch.bool))


def test_another_number_of_channels_is_refused():
    with pytest.raises(UsageError, match="64 channels: want 3, 12, 48"):
        mirrored_coefficients(torch.zeros(1, 64, 4, 4))
    with pytest.raises(UsageError, match="13 channels"):
        mirrored_coefficients(torch.zeros(13, 3, 3))
