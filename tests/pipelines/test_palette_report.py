"""Reports on the palette chain: each runs on real photos and says what it measured."""

import csv

import numpy as np
import pytest
from PIL import Image
from skimage import data
from task_networks import make_task_folder

from codec.palette import MergeWeights
from codec.weights import load_weights
from pipelines.evaluation.palette.ablation import Setting, merges, without_learning
from pipelines.evaluation.palette.chain_picture import draw_chain
from pipelines.palette_report import main


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name in ("coffee", "chelsea"):
        Image.fromarray(getattr(data, name)()[:160, :200]).save(folder / f"{name}.png")
    return folder


def test_the_picture_shows_states_that_lead_to_each_other(photos, tmp_path):
    assert main(["picture", str(photos / "chelsea.png"), "--output", str(tmp_path / "c.png")]) == 0
    assert Image.open(tmp_path / "c.png").size[0] > 800
    figure = draw_chain(load_weights(None), data.chelsea(), budgets=(0.4, 1.8))
    matrices = [panel.images[0].get_array() for panel in figure.axes if "Q_" in panel.get_title()]
    first, last = (np.asarray(matrix) for matrix in matrices)
    assert first.shape[1] == last.shape[0]
    assert last.shape[1] == 1
    assert (first.sum(1) == 1).all()
    assert (first.sum(0) >= 1).all()


def test_times_are_given_for_each_step(photos, capsys):
    assert main(["time", str(photos), "--limit", "1", "--repeat", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines][:2] == ["analysis", "texture energies"]
    assert len(lines) == 6
    assert all("of analysis" in line for line in lines)


def test_a_head_without_learning_differs_and_merges_otherwise(photos, tmp_path):
    weights = load_weights(None)
    setting = Setting(tmp_path, (str(photos),), 2, "", "imagenet", 1, None)
    plain = without_learning(weights, setting)
    assert not plain.head.narrow.any()
    assert plain.classes.embedding.shape == weights.classes.embedding.shape
    np.testing.assert_array_equal(plain.classes.law, weights.classes.law)
    assert plain.id == weights.id
    assert merges(MergeWeights(1, 2, 3, 0))["all"] == MergeWeights(1, 2, 3, 0)


def test_the_ablation_writes_a_row_for_each_variant_task_and_state(photos, tmp_path, capsys):
    tasks, output = make_task_folder(tmp_path / "tasks"), tmp_path / "ablation.csv"
    arguments = ["ablation", str(tasks), "--photos", str(photos), "--output", str(output)]
    assert main([*arguments, "--layers", "2", "--fit-photos", "2"]) == 0
    assert "merged by" in capsys.readouterr().out
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    heads = {(row["merged by"], row["head"]) for row in rows}
    assert len(heads) == 7
    assert len(rows) == 7 * 2 * 2
    assert all(float(row["bpp"]) > 0 and 0 <= float(row["score"]) <= 1 for row in rows)
    assert main([*arguments[:1], str(tmp_path / "nowhere"), *arguments[2:]]) == 2
    assert main(["picture", str(tmp_path / "none.png"), "--output", "x.png"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 2
