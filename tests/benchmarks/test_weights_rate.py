"""The comparison of weights: what it prints for figures that are known, and a run of it."""

import numpy as np
from PIL import Image
from skimage import data

from tests.benchmarks.weights_rate import main, rates, report
from underpaint.pipelines.evaluation.scores import scores_named

ANCHOR = np.stack(
    [
        np.stack([first * 2.0 ** np.arange(6), 20 + 4.0 * np.arange(6)], 1)
        for first in (0.02, 0.05, 0.1)
    ]
)


def test_a_tenth_fewer_bytes_at_equal_quality_is_minus_ten_percent():
    fewer = ANCHOR * (0.9, 1)
    assert np.allclose(rates(ANCHOR, fewer, slice(1, 6)), -10)
    text = report(ANCHOR, fewer, scores_named(["psnr"]))
    assert "-10.00 %" in text
    assert "+0.000" in text


def test_each_score_has_rates_of_its_own():
    both = np.concatenate([ANCHOR, ANCHOR[..., 1:]], 2)
    better = both + np.array([0, 0, 2])
    found = rates(both, better, slice(1, 6))
    assert np.allclose(found[:, 0], 0)
    assert (found[:, 1] < -20).all()
    text = report(both, better, scores_named(["psnr", "ms-ssim"]))
    assert "MS-SSIM" in text
    assert "+2.000" in text


def test_weights_are_as_good_as_themselves(tmp_path, capsys):
    Image.fromarray(data.coffee()[:128, :160]).save(tmp_path / "coffee.png")
    Image.fromarray(data.astronaut()[:128, :160]).save(tmp_path / "astronaut.png")
    assert main(["fidelity", "fidelity", str(tmp_path), "--metrics", "psnr", "ms-ssim"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("2 photos")
    assert printed.count("+0.00 %") >= 4
    assert main(["fidelity", str(tmp_path / "none.safetensors"), str(tmp_path)]) == 2


def test_efforts_are_compared_with_the_same_weights(tmp_path, capsys):
    Image.fromarray(data.chelsea()[:160, :192]).save(tmp_path / "chelsea.png")
    Image.fromarray(data.astronaut()[:128, :160]).save(tmp_path / "astronaut.png")
    assert main(["perceptual", "perceptual", str(tmp_path), "--efforts", "1", "2"]) == 0
    *coarser, finest = capsys.readouterr().out.strip().splitlines()[-6:]
    assert all("+0.00 %" in line for line in coarser)
    assert finest.split()[1].startswith("-")
