"""Reports on the palette chain: each runs on real photos and says what it measured."""

import csv

import numpy as np
import pytest
from PIL import Image
from skimage import data

from tests.benchmarks.palette.ablation import Setting, merges, without_learning
from tests.benchmarks.palette.chain_picture import draw_chain
from tests.benchmarks.palette.left_out import (
    CHOICES,
    LeftOut,
    leave_out,
    positions_of_objects,
)
from tests.benchmarks.palette_report import main
from tests.helpers.task_networks import make_task_folder
from underpaint.codec.palette.merging import MergeWeights
from underpaint.codec.transform.subbands import BANDS, geometry, view
from underpaint.codec.weights.loading import load_weights
from underpaint.pipelines.evaluation.tasks.kinds import find_data_sets


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
    heading, _, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["step", "ms", "per", "megapixel", "relative", "to", "transform"]
    assert [line.split("  ")[0] for line in lines][:2] == ["transform", "texture energies"]
    assert len(lines) == 7
    assert all(float(number) > 0 for line in lines for number in line.split()[-2:])


@pytest.mark.slow
def test_a_head_without_learning_differs_and_merges_otherwise(photos, tmp_path):
    weights = load_weights(None)
    setting = Setting(tmp_path, (str(photos),), 2, "", "imagenet", 1, None)
    plain = without_learning(weights, setting)
    assert not plain.head.narrow.any()
    assert plain.classes.embedding.shape == weights.classes.embedding.shape
    np.testing.assert_array_equal(
        plain.classes.expected_magnitude, weights.classes.expected_magnitude
    )
    assert plain.id == weights.id
    assert merges(MergeWeights(1, 2, 3, 0))["all"] == MergeWeights(1, 2, 3, 0)


@pytest.mark.slow
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


def test_what_is_left_out_is_zero_and_the_rest_is_as_it_was():
    layout = geometry(64, 96)
    before = np.random.default_rng(0).integers(1, 9, layout.size).astype(np.int16)
    objects = np.zeros((4, 6), bool)
    objects[1:3, 2:] = True
    q = before.copy()
    leave_out(q, layout, LeftOut("test", levels=(1,), outside=(3,), chroma=(2,)), objects)
    for band in range(BANDS):
        level, component = layout.bands[band, 4:6]
        left, known = view(q, layout, band), view(before, layout, band)
        if level == 1 or (level == 2 and component):
            assert not left.any()
        elif level == 3:
            inside = objects.repeat(2, 0).repeat(2, 1)
            np.testing.assert_array_equal(left, np.where(inside, known, 0))
        else:
            np.testing.assert_array_equal(left, known)


def test_objects_are_where_the_boxes_are(tmp_path):
    (data_set,) = find_data_sets(make_task_folder(tmp_path))
    found = positions_of_objects(data_set, "1.png", geometry(64, 64))
    (box,) = (np.array([[3, 2]]) + 0.5) * 8 / 16  # row and column of its middle, in positions
    assert found[int(box[0]), int(box[1])]
    assert not found[:, -1].any()
    assert not positions_of_objects(data_set, "none.png", geometry(64, 64)).any()


def test_leaving_out_saves_bits(tmp_path, capsys):
    tasks, output = make_task_folder(tmp_path / "tasks"), tmp_path / "left.csv"
    assert main(["left-out", str(tasks), "--output", str(output), "--layers", "5"]) == 0
    assert "bpp, 90%" in capsys.readouterr().out
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(CHOICES) * 2 * 4
    bits = {(row["left out"], row["layers"]): float(row["bpp"]) for row in rows}
    assert bits["level 1", "5"] < bits["nothing", "5"]
    assert all(bits[choice.name, "5"] <= bits["nothing", "5"] for choice in CHOICES)
