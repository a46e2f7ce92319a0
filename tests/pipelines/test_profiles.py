"""The profiles in the package: found by name, and by the name that streams carry."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from underpaint import Codec
from underpaint.codec.archive import Archive, LayerDataset
from underpaint.codec.errors import UsageError
from underpaint.codec.metrics import ms_ssim_of_pictures, psnr
from underpaint.codec.weights.header import PROFILES
from underpaint.codec.weights.loading import load_weights
from underpaint.pipelines.cli.main import main


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return data.astronaut()[:224, 80:400]


def test_profiles_are_named_in_their_own_weights():
    assert set(PROFILES) == {"perceptual", "fidelity"}
    for profile in PROFILES:
        assert load_weights(profile).config.profile == profile
    assert load_weights(None).config.profile == "perceptual"
    with pytest.raises(UsageError, match="no weights at colourful"):
        load_weights("colourful")


def test_each_profile_is_the_better_one_at_what_it_is_for(photo):
    """Between the two states of `fidelity` around a rate of `perceptual`, on a line in log rate."""
    curves = {}
    for profile in PROFILES:
        codec = Codec.load(profile)
        (layers,) = codec.encode([photo])
        points = []
        for count in range(2, codec.layers):
            (decoded,) = codec.decode([layers[:count]])
            unlike = -10 * np.log10(1 - ms_ssim_of_pictures(photo, decoded))
            points.append((np.log(sum(map(len, layers[:count]))), psnr(photo, decoded), unlike))
        curves[profile] = np.array(points).T
    rate, *scores = curves["perceptual"]
    other_rate, *other_scores = curves["fidelity"]
    within = (rate > other_rate[0]) & (rate < other_rate[-1])
    assert within.sum() >= 2
    error, structure = (
        (ours - np.interp(rate, other_rate, theirs))[within].mean()
        for ours, theirs in zip(scores, other_scores, strict=True)
    )
    assert error < 0 < structure


def test_an_archive_is_read_with_the_profile_that_made_it(photo, tmp_path: Path):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    archive, out = str(tmp_path / "archive"), tmp_path / "out"
    arguments = ["encode", str(tmp_path / "photo.png"), "--output", archive]
    assert main([*arguments, "--weights", "fidelity", "--workers", "1"]) == 0
    assert main(["decode", archive, "--output", str(out), "--workers", "1"]) == 0
    [decoded] = [np.asarray(Image.open(path)) for path in out.rglob("*.png")]
    assert psnr(photo, decoded) > 38
    assert main(["verify", archive]) == 0
    assert Archive.open(archive).weights_id == load_weights("fidelity").id
    [sample] = list(LayerDataset(archive, layers=2, output="image"))
    assert sample["image"].shape == (3, *photo.shape[:2])
    assert main(["decode", archive, "--output", str(out), "--weights", "perceptual"]) == 2
