"""`underpaint train`: options reach the recipe and both plans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from underpaint.codec.weights.header import PROFILES
from underpaint.codec.weights.loading import unpack_weights
from underpaint.pipelines.cli.main import main

SHORT = [
    "--context-photos=2", "--latent-photos=2", "--lifting-steps=2", "--lifting-warm-up=1",
    "--lifting-batch=2", "--lifting-crop=64", "--lifting-widths", "3", "4", "5", "6",
    "--steps=2", "--warm-up=1", "--batch=2", "--crop=64", "--seed=7",
]  # fmt: skip


@pytest.mark.slow
def test_a_lifting_step_is_trained_for_weights_in_the_package(tmp_path: Path) -> None:
    photos, output = tmp_path / "photos", tmp_path / "weights.safetensors"
    photos.mkdir()
    for number, name in enumerate(("astronaut", "coffee", "chelsea")):
        Image.fromarray(getattr(data, name)()[40:168, 30:190]).save(photos / f"{number}.png")
    earlier = unpack_weights(PROFILES["fidelity"].read_bytes())
    command = ["train", str(photos), "--output", str(output), "--profile", "fidelity"]
    kept = ["--start-from", str(PROFILES["fidelity"]), "--keep", "all"]
    assert main([*command, *kept, *SHORT]) == 0
    weights = unpack_weights(output.read_bytes())
    assert weights.prediction_shape is not None
    assert weights.prediction_shape.widths == (3, 4, 5, 6)
    assert weights.network_shape == earlier.network_shape
    assert (weights.classes.scale == earlier.classes.scale).all()
    settings = json.loads((tmp_path / "weights-settings.json").read_text())
    assert settings["recipe"]["context_photos"] == 2
    assert settings["lifting"]["lifting_widths"] == [3, 4, 5, 6]
    assert {settings[part]["seed"] for part in ("recipe", "plan", "lifting")} == {7}
