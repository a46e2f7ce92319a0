"""The proof on a tiny folder: every input is written, read, timed and trained from."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from tests.benchmarks.proof import main
from tests.benchmarks.training.inputs import GRID, all_inputs, on_grid
from tests.benchmarks.training.networks import held_out
from tests.benchmarks.training.stores import avif_within
from tests.helpers.task_networks import save_network


@pytest.fixture
def labelled(tmp_path):
    for name, photo in (("cat", data.chelsea()), ("person", data.astronaut())):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(6):
            crop = photo[20 * number : 20 * number + 120, : 100 + 8 * number]
            Image.fromarray(crop).save(tmp_path / "photos" / name / f"{number}.jpg", quality=90)
    return tmp_path / "photos"


@pytest.fixture
def networks(tmp_path):
    """A network with the name and the tensor of SqueezeNet: the means of 32 x 32 pixels."""
    from onnx import helper

    pool = {"kernel_shape": [32, 32], "strides": [32, 32]}
    nodes = [
        helper.make_node("AveragePool", ["data"], ["fire9/concat_1"], **pool),
        helper.make_node("GlobalAveragePool", ["fire9/concat_1"], ["scores"]),
    ]
    shapes = {"data": [1, 3, 224, 224]}, {"scores": [1, 3, 1, 1]}
    save_network(tmp_path / "networks" / "squeezenet_tiny.onnx", nodes, *shapes, {})
    return tmp_path


@pytest.mark.slow
def test_the_proof_runs_and_continues(labelled, networks, tmp_path, capsys):
    work = tmp_path / "work"
    chosen = "original,jpeg-50,avif-2,half-3,latents-2"
    command = [str(labelled), "--networks", str(networks), "--work", str(work), "--seeds", "1"]
    command += ["--epochs", "1", "--rounds", "1", "--images", "6", "--inputs", chosen]
    assert main(command) == 0
    assert (work / "proof.png").stat().st_size > 1000
    lines = (work / "results.jsonl").read_text().splitlines()
    found = {(line["kind"], line["input"]): line for line in map(json.loads, lines)}
    for name in chosen.split(","):
        assert 0 <= found["scratch", name]["value"] <= 1
        assert found["bytes", name]["value"] > 0
        assert (("probe", name) in found) == (name != "latents-2")
    assert found["rate", "draft"]["value"] > 0
    assert {name for kind, name in found if kind == "rate"} > {one.name for one in all_inputs()}

    assert main(command) == 0  # nothing is measured again
    assert (work / "results.jsonl").read_text().splitlines() == lines
    assert "3 layers, pictures at 1/2" in capsys.readouterr().out


def test_avif_files_fit_in_their_bytes():
    picture = Image.fromarray(data.astronaut()[:200, :260])
    files = avif_within(picture, [600, 2000, 8000])
    sizes = [Image.open(io.BytesIO(file)).size for file in files]
    assert all(len(file) <= most for file, most in zip(files, [600, 2000, 8000], strict=True))
    assert sizes[0] < sizes[1] == sizes[2] == (260, 200)
    assert len(files[1]) < len(files[2])
    (smallest,) = avif_within(picture, [10])  # no file is that small
    assert 16 <= min(Image.open(io.BytesIO(smallest)).size) < 16 / 0.75


def test_mistakes_get_one_line(labelled, networks, tmp_path, capsys):
    command = ["--networks", str(networks), "--work", str(tmp_path / "work")]
    assert main([str(labelled / "cat"), *command]) == 2
    assert "is in no class folder" in capsys.readouterr().err
    assert main([str(labelled), *command, "--inputs", "half-9"]) == 2
    assert "no 'half-9'; choose from original, " in capsys.readouterr().err


def test_latents_are_centred_by_whole_positions():
    wide = torch.arange(1, 1 + 45, dtype=torch.float32).expand(2, 10, 45)
    placed = on_grid(wide)
    assert placed.shape == (2, GRID, GRID)
    assert torch.equal(placed[0, GRID // 2], torch.arange(5, 5 + GRID, dtype=torch.float32))
    assert int((placed[0, :, 0] != 0).sum()) == 10


def test_five_seeds_test_every_photo_once():
    labels = np.repeat([0, 1, 2], [23, 40, 11])
    tested = np.stack([held_out(labels, seed) for seed in range(5)])
    assert (tested.sum(0) == 1).all()
    assert all(set(labels[test]) == {0, 1, 2} for test in tested)
    assert not np.array_equal(held_out(labels, 5), tested[0])
