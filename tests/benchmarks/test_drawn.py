"""Flat and drawn pictures: refining changes them little, and the table says how much."""

import numpy as np
import pytest

from tests.benchmarks.drawn import HEIGHT, WIDTH, drawings, errors, flat_pictures, main, report
from underpaint import Codec


@pytest.mark.parametrize("profile", ["perceptual", "fidelity"])
def test_refining_leaves_flat_pictures_as_they_are(profile):
    """Within two grey levels of the error of the picture without the network, in any state."""
    pictures = flat_pictures()
    found = errors(Codec.load(profile), list(pictures.values()))
    plain, refined = found[..., 0, 0], found[..., 1, 0]
    late = [
        (layers + 1, list(pictures)[place]) for layers, place in np.argwhere(refined > plain + 2)
    ]
    assert not late, report(list(pictures), found)


@pytest.mark.parametrize("profile", ["perceptual", "fidelity"])
def test_refining_brings_drawings_closer(profile):
    found = errors(Codec.load(profile), list(drawings().values()))
    assert (found[..., 1, 1] < found[..., 0, 1]).all()


def test_drawings_fill_the_canvas_and_the_table_names_them(capsys):
    pictures = flat_pictures() | drawings()
    assert all(picture.shape == (HEIGHT, WIDTH, 3) for picture in pictures.values())
    text = report(["one"], np.array([[[(4, 0.5), (12, 0.25)]]]))
    assert "4 (0.50)" in text
    assert "12 (0.25)" in text
    assert main(["nowhere.safetensors"]) == 2
    assert "nowhere.safetensors" in capsys.readouterr().err
