"""The recipe for a GPU, with a few steps and small crops on the CPU."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from underpaint.codec.weights.loading import unpack_weights

ROOT = Path(__file__).parents[2]
SMALL = shlex.split(
    "--device cpu --threads 1 --steps 2 --batch 2 --crop 64 --lifting-steps 3 --lifting-batch 2 "
    "--lifting-crop 64 --lifting-warm-up 1 --classes 4 --class-rounds 2 --pseudo-labels 4 "
    "--contrastive-steps 4"
)


def train_wide(*arguments: object) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return subprocess.run(
        ["sh", ROOT / "infra" / "train_wide.sh", *map(str, arguments)],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_wide_weights_are_trained_and_resumed(tmp_path):
    for name in ("astronaut", "coffee", "chelsea"):
        Image.fromarray(getattr(data, name)()[:96, :128]).save(tmp_path / f"{name}.png")
    output = tmp_path / "wide.safetensors"
    done = train_wide(tmp_path, output, *SMALL)
    assert done.returncode == 0, done.stderr
    weights = unpack_weights(output.read_bytes())
    assert weights.prediction_shape.widths == (48, 64, 96, 96)
    assert (weights.network.shape.fine_width, weights.network.shape.fine_depth) == (96, 6)
    again = train_wide(tmp_path, output, *SMALL)
    assert again.stdout == done.stdout
    assert "reusing the fitted parts" in again.stderr


def test_without_arguments_it_says_how_it_is_used():
    done = train_wide()
    assert done.returncode == 2
    assert done.stderr.startswith("usage: sh infra/train_wide.sh PHOTOS OUTPUT")
