"""The comparison of decoding times: its table for times that are known, and a run of it."""

import numpy as np
import pytest
from PIL import Image
from skimage import data

from tests.benchmarks.refine_speed import main, report, with_untrained
from underpaint.codec.errors import UsageError
from underpaint.codec.weights.loading import load_weights


def test_the_table_has_the_least_time_and_the_median_of_ratios():
    times = np.full((3, 1, 2, 2), 40.0)
    times[:, 0, 1] = [[100, 50], [400, 100], [120, 60]]
    plain, _, refined, other = report(["now", "new"], [6], times).splitlines()[-4:]
    assert plain.split() == ["now", "plain", "6", "40.0", "25.0", "1.00"]
    assert refined.split() == ["now", "refined", "6", "100.0", "10.0", "1.00"]
    assert other.split() == ["new", "refined", "6", "50.0", "20.0", "2.00"]


def test_an_untrained_network_has_the_shape_that_was_asked_for():
    shape = with_untrained(load_weights("perceptual"), "16x8x2").network_shape
    assert (shape.fine_width, shape.fine_hidden, shape.fine_depth) == (16, 8, 2)
    with pytest.raises(UsageError, match="48x48x3"):
        with_untrained(load_weights("perceptual"), "16x8")


def test_weights_and_shapes_are_measured(tmp_path, capsys):
    Image.fromarray(data.coffee()[:128, :160]).save(tmp_path / "coffee.png")
    options = ["--photos", str(tmp_path), "--layers", "6", "--rounds", "1"]
    assert main(["perceptual", *options, "--untrained", "16x8x2"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("1 photos")
    assert printed.count("16x8x2") == 2
    assert main(["perceptual", *options, "--untrained", "16"]) == 2
    assert "WIDTHxHIDDENxDEPTH" in capsys.readouterr().err
