"""`underpaint train`: wrong options are one line at the start, and leave nothing behind."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image
from skimage import data

from underpaint.codec.errors import UsageError
from underpaint.codec.palette.semantic_head import HEAD_INPUTS
from underpaint.codec.storage.locks import alone
from underpaint.codec.training.photos import load_photos
from underpaint.codec.training.semantic_layers import PREPARATIONS
from underpaint.codec.training.settings import (
    EXTRACTOR_INPUTS,
    MOST_EMBEDDING,
    PROFILES,
    Kept,
    LiftingPlan,
    Recipe,
    TrainingPlan,
)
from underpaint.pipelines.cli.main import main

SHORT = [
    "--keep=all", "--start-from=fidelity", "--profile=fidelity", "--latent-photos=2",
    "--steps=2", "--warm-up=1", "--batch=2", "--crop=64", "--drawn=0",
]  # fmt: skip

OPTIONS = [field for part in (Recipe, TrainingPlan, LiftingPlan) for field in fields(part)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "coffee", "chelsea"):
        Image.fromarray(getattr(data, name)()[40:168, 30:190]).save(folder / f"{name}.png")
    return folder


def _refusal(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    try:
        status: object = main([*map(str, words)])
    except SystemExit as ended:  # argparse refuses what is no number
        status = ended.code
    assert status == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--crop 33", "--crop 33: want a whole number of 64 or more, a multiple of 32"),
        ("--crop 32", "--crop 32: want a whole number of 64 or more, a multiple of 32"),
        ("--finest-step nan", "--finest-step nan: want a number from 0.01 to 10000"),
        ("--finest-step 0", "--finest-step 0.0: want a number from 0.01 to"),
        ("--learning-rate inf", "--learning-rate inf: want a number above 0 and of 1 or less"),
        ("--drawn 2", "--drawn 2.0: want a number from 0 to 1"),
        ("--average 1", "--average 1.0: want a number of 0 or more and below 1"),
        ("--batch 0", "--batch 0: want a whole number of 1 or more"),
        ("--steps -1", "--steps -1: want a whole number of 0 or more"),
        ("--threads 999999", "--threads: not an integer from 1 to 1024: '999999'"),
        ("--seed -1", "--seed -1: want a whole number from 0"),
        ("--classes 100000", "--classes 100000: want a whole number from 1 to"),
        ("--coarse-width 99999", "--coarse-width 99999: want a whole number from 1 to"),
        ("--shear 0.5 7", "--shear 0.5 7.0: want numbers from -1 to 1"),
        ("--level-steps 1 1 1 0 1 1 1", "--level-steps 1.0 1.0 1.0 0.0 1.0 1.0 1.0: want numbers"),
        ("--lifting-widths 4 4 0 4", "--lifting-widths 4 4 0 4: want whole numbers from 1 to"),
        ("--lifting-crop 100", "--lifting-crop 100: want a whole number of 64 or more, a multiple"),
        ("--extractor-input rgb", "--extractor-input rgb: want one of imagenet, caffe, unit"),
        ("--salience 1", "--salience: no effect without --extractor"),
        ("--ssim-weight 0.9 --feature-weight 0.2", "--ssim-weight 0.9 and --feature-weight 0.2"),
        ("--crop 256", "--crop 256: no photo has sides of so many pixels"),
        ("--lifting-steps 1 --lifting-crop 256", "--lifting-crop 256: no photo has sides"),
        ("--extractor gone.onnx", "no extractor at gone.onnx"),
        ("--start-from gone", "--start-from: no weights at gone"),
        ("--teacher gone --teacher-weight 0.5", "--teacher: no weights at gone"),
        ("--start-from perceptual --network-from gone", "--network-from: no weights at gone"),
        ("--start-from perceptual --fine-width 128", "which cannot grow to 128"),
        (
            "--teacher perceptual --teacher-weight 1 --classes 3",
            "--teacher: its network is for 64 classes and 6 layers, not 3 and 6",
        ),
    ],
)
def test_a_wrong_option_is_one_line_and_leaves_nothing(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, line: str
) -> None:
    output = tmp_path / "w.safetensors"
    said = _refusal(capsys, "train", photos, "--output", output, *words.split())
    assert line in said.splitlines()[-1]
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_every_option_says_what_it_may_be() -> None:
    for field in OPTIONS:
        assert field.name == "profile" or "allowed" in field.metadata, field.name


@pytest.mark.parametrize("part", [Recipe, TrainingPlan, LiftingPlan])
def test_numbers_of_an_option_are_counted(part: Any) -> None:
    for field in fields(part):
        if isinstance(field.default, tuple):
            with pytest.raises(UsageError, match=r"numbers, not 9"):
                part(**{field.name: field.default[:1] * 9})


def test_what_the_command_line_offers_is_what_there_is() -> None:
    assert set(EXTRACTOR_INPUTS) == PREPARATIONS.keys()
    assert MOST_EMBEDDING == HEAD_INPUTS
    assert "network" in get_args(Kept)
    for recipe, plan, lifting in PROFILES.values():  # each is checked when it is made
        assert recipe.seed == plan.seed == lifting.seed == 1


def test_a_failed_start_does_not_block_the_right_command(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "w.safetensors"
    command = ["train", str(photos), "--output", str(output), *SHORT]
    assert "cannot grow" in _refusal(capsys, *command, "--fine-depth", "9")
    assert main(command) == 0
    record = json.loads((tmp_path / "w.safetensors.run" / "settings.json").read_text())
    assert record["plan"]["fine_depth"] == 4
    said = _refusal(capsys, *command, "--masking", "0.25", "--batch", "3", "--seed", "2")
    assert "was started with other settings: --masking 0.0, now 0.25; --seed" in said.replace(
        ", --", "; --"
    )
    assert "--batch 2, now 3" in said
    assert "give those again, another --run-folder, or delete this one" in said


def test_two_runs_in_one_folder_are_refused(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(photos), "--output", str(tmp_path / "w.safetensors"), *SHORT]
    run = tmp_path / "w.safetensors.run"
    expected = f"underpaint: {run} is in use by process {os.getpid()}; wait for its end, or choose "
    run.mkdir()
    for steps in ("0", "1"):  # the first one before there is a record, the second one after
        with alone(run / "lock", "the first run"):
            said = _refusal(capsys, *command, "--steps", steps)
        assert said.splitlines()[-1].startswith(expected)
        assert main([*command, "--steps", steps]) == 0


def test_photos_that_cannot_be_read_are_named_and_left_out(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "torn.png").write_bytes((photos / "coffee.png").read_bytes()[:300])
    Image.fromarray(np.zeros((4, 200, 3), np.uint8)).save(tmp_path / "flat.png")
    with caplog.at_level("INFO"):
        paths = [tmp_path / "torn.png", photos / "coffee.png", tmp_path / "flat.png"]
        found = list(load_photos(paths))
    assert [picture.shape for picture in found] == [(128, 160, 3)]
    [torn] = [record for record in caplog.messages if "torn.png" in record]
    assert "\n" not in torn
