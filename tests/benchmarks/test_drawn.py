"""Flat and drawn pictures: refining changes them little, and the table says how much."""

import numpy as np
import pytest

from tests.benchmarks.drawn import HEIGHT, WIDTH, drawings, errors, flat_pictures, main, report
from underpaint import Codec

MOST = {"perceptual": (7, 4, 2, 2, 2, 2), "fidelity": (2, 2, 2, 2, 2, 2)}
"""Grey levels by which refining may add to the worst error of a flat picture, by layers."""

MOST_PALE = {"perceptual": (4, 3, 2, 2, 2, 2), "fidelity": (5, 3, 2, 2, 2, 2)}
"""The same for a grey near white, of which the edges of a picture grow lighter."""


@pytest.mark.parametrize("profile", ["perceptual", "fidelity"])
def test_refining_leaves_flat_pictures_nearly_as_they_are(profile):
    pictures = flat_pictures()
    found = errors(Codec.load(profile), list(pictures.values()))
    for place, name in enumerate(pictures):
        most = np.array((MOST_PALE if name == "pale" else MOST)[profile])
        plain, refined = found[:, place, :, 0].T
        assert (refined <= plain + most).all(), report([name], found[:, place : place + 1])


@pytest.mark.parametrize("profile", ["perceptual", "fidelity"])
def test_refining_brings_drawings_closer(profile):
    """But for text on dark ground at one layer, which `perceptual` leaves as far as it was."""
    found = errors(Codec.load(profile), list(drawings().values()))
    plain, refined = found[..., 1].transpose(2, 0, 1)
    assert (refined <= 1.01 * plain).all()
    assert (refined < 0.99 * plain).mean() > 0.8


def test_drawings_fill_the_canvas_and_the_table_names_them(capsys):
    pictures = flat_pictures() | drawings()
    assert all(picture.shape == (HEIGHT, WIDTH, 3) for picture in pictures.values())
    text = report(["one"], np.array([[[(4, 0.5), (12, 0.25)]]]))
    assert "4 (0.50)" in text
    assert "12 (0.25)" in text
    assert main(["nowhere.safetensors"]) == 2
    assert "nowhere.safetensors" in capsys.readouterr().err
