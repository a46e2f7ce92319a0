"""The benchmark of steps: its groups, what a change of steps does, and a run of it."""

import numpy as np
from PIL import Image
from skimage import data

from tests.benchmarks.allocation import groups, main, report, with_steps
from tests.benchmarks.weights_rate import measured
from underpaint.codec.codec import Codec
from underpaint.codec.transform.subbands import BANDS
from underpaint.codec.weights.loading import load_weights
from underpaint.pipelines.evaluation.scores import scores_named


def test_levels_of_lightness_and_chroma_cover_each_band_once():
    found = groups()
    levels = [v for name, v in found.items() if name.split("-")[0] in ("lightness", "chroma")
              and name != "chroma-balance"]  # fmt: skip
    np.testing.assert_array_equal(sum(levels), np.ones(BANDS))
    for name in ("diagonal-1", "diagonal-4", "chroma-balance"):
        assert found[name].sum() == 0
        assert found[name].any()


def test_coarser_steps_take_fewer_bytes_and_lose_quality():
    weights = load_weights("fidelity")
    photo = data.coffee()[:128, :160]
    scores = scores_named(["psnr"])
    coarser = with_steps(weights, np.full(BANDS, 1.3, np.float32))
    assert coarser.id != weights.id
    np.testing.assert_allclose(coarser.steps, 1.3 * weights.steps)
    before, after = (measured(Codec(w), [photo], scores, False)[0] for w in (weights, coarser))
    assert (after < before).all()
    assert (after[:, 0] > 0.6 * before[:, 0]).all()


def test_rates_by_score_are_printed_for_both_directions():
    found = np.array([[-12.0], [-8.0]])
    text = report({"chroma-2": (found, -found)}, scores_named(["psnr"]))
    assert "chroma-2" in text
    assert "-10.00 / +10.00" in text


def test_the_command_measures_the_groups_it_is_given(tmp_path, capsys):
    Image.fromarray(data.coffee()[:96, :128]).save(tmp_path / "coffee.png")
    options = ["--weights", "fidelity", "--metrics", "psnr", "--groups", "lightness-1"]
    assert main([str(tmp_path), *options]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("1 photos; steps times and divided by 1.2")
    assert "lightness-1" in printed
    assert "chroma-1" not in printed
    assert main([str(tmp_path), "--factor", "0.9"]) == 2
    assert "--factor 0.9" in capsys.readouterr().err
