"""Grading of tasks, and networks from end to end: small real ONNX networks built here."""

from __future__ import annotations

import argparse
import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.task_networks import (
    blue_cells,
    bright_cell_detector,
    bright_cell_nanodet,
    colour_segmenter,
    constant_network,
    make_task_folder,
    red_person,
)
from underpaint.codec.errors import UsageError
from underpaint.codec.image_io.read import read_picture
from underpaint.pipelines.cli import evaluate
from underpaint.pipelines.evaluation.tasks import detection, landmarks, nanodet, segmentation
from underpaint.pipelines.evaluation.tasks.detection import Boxes, iou, mean_average_precision
from underpaint.pipelines.evaluation.tasks.kinds import find_data_sets
from underpaint.pipelines.evaluation.tasks.network import Network
from underpaint.pipelines.evaluation.tasks.run import TaskCurve


def boxes(*rows: tuple[float, float, float, float, int, float]) -> Boxes:
    return Boxes.from_lists(rows)


# Grading


def test_all_boxes_found_is_one_and_none_is_zero():
    truth = [boxes((0, 0, 0.5, 0.5, 1, 1), (0.5, 0.5, 1, 1, 2, 1)), boxes()]
    assert mean_average_precision(truth, truth) == 1
    assert mean_average_precision([boxes(), boxes()], truth) == 0


def test_a_box_counts_once_and_only_at_half_overlap():
    truth = [boxes((0, 0, 0.5, 0.5, 1, 1))]
    twice = [boxes((0, 0, 0.5, 0.5, 1, 0.9), (0, 0, 0.5, 0.5, 1, 0.8))]
    assert mean_average_precision(twice, truth) == 1
    false_first = [boxes((0.5, 0.5, 1, 1, 1, 0.9), (0, 0, 0.5, 0.5, 1, 0.8))]
    assert mean_average_precision(false_first, truth) == pytest.approx(0.5)
    other_class = [boxes((0, 0, 0.5, 0.5, 3, 0.9))]
    assert mean_average_precision(other_class, truth) == 0
    assert mean_average_precision([boxes((0, 0, 0.5, 0.26, 1, 1))], truth) == 1
    assert mean_average_precision([boxes((0, 0, 0.5, 0.24, 1, 1))], truth) == 0


def test_average_precision_of_a_worked_example():
    """Three objects; hit, miss, hit, miss: precision 1 to recall 1/3, then 2/3 to recall 2/3."""
    truth = [boxes(*((0.3 * i, 0, 0.3 * i + 0.2, 0.2, 0, 1) for i in range(3)))]
    found = [
        boxes(
            (0, 0, 0.2, 0.2, 0, 0.9),
            (0, 0.5, 0.2, 0.7, 0, 0.8),
            (0.3, 0, 0.5, 0.2, 0, 0.7),
            (0.5, 0.5, 0.7, 0.7, 0, 0.6),
        )
    ]
    expected = (34 * 1 + 33 * 2 / 3) / 101
    assert mean_average_precision(found, truth) == pytest.approx(expected)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(*[st.integers(0, 9)] * 4), min_size=2, max_size=2))
def test_iou_counts_cells(pair):
    corners = np.array([[x, y, x + 1 + w, y + 1 + h] for x, y, w, h in pair], float)
    painted = np.zeros((2, 20, 20), bool)
    for canvas, (left, top, right, bottom) in zip(painted, corners.astype(int), strict=True):
        canvas[top:bottom, left:right] = True
    expected = (painted[0] & painted[1]).sum() / (painted[0] | painted[1]).sum()
    assert iou(corners[:1], corners[1:])[0, 0] == pytest.approx(expected)


def test_boxes_survive_json():
    before = boxes((0.1, 0.2, 0.3, 0.4, 7, 0.5), (0, 0, 1, 1, 0, 0.25))
    after = Boxes.from_lists(before.to_lists())
    np.testing.assert_allclose(after.corners, before.corners)
    np.testing.assert_array_equal(after.classes, [7, 0])
    assert len(Boxes.from_lists([]).corners) == 0


def test_mean_iou_of_a_worked_example():
    """Background 6 of 8 right, class 15 2 of 4 right, and a class that only the network sees."""
    table = np.zeros((21, 21), np.int64)
    table[0, 0], table[0, 15], table[0, 3] = 6, 1, 1
    table[15, 15], table[15, 0] = 2, 2
    assert segmentation.mean_iou([table]) == pytest.approx((6 / 10 + 2 / 5) / 2)
    assert segmentation.mean_iou([table, table]) == pytest.approx((6 / 10 + 2 / 5) / 2)


def test_mask_classes_by_name(tmp_path):
    path = tmp_path / "classes.yaml"
    path.write_text("# ids\nclasses:\n  0: unlabeled\n  1: person\n  63: couch\n  90: toothbrush\n")
    table = segmentation.read_mask_classes(path)
    assert [table[i] for i in (0, 1, 63, 90)] == [segmentation.UNKNOWN, 15, 18, 0]
    path.write_text("nothing: here\n")
    with pytest.raises(UsageError, match="names no class"):
        segmentation.read_mask_classes(path)


def test_points_of_both_schemes_are_distinct():
    assert len(set(landmarks.POINTS)) == 66
    assert set(range(68)) - set(landmarks.POINTS) == {60, 64}


# Networks


def test_a_detector_finds_boxes_where_they_are(tmp_path):
    network = Network(bright_cell_detector(tmp_path / "yolox_cells.onnx"))
    found = detection.detect(network, blue_cells((1, 2), (6, 7)))
    order = np.argsort(found.corners[:, 0])
    np.testing.assert_allclose(found.corners[order] * 8, [[2, 1, 3, 2], [7, 6, 8, 7]], atol=1e-6)
    np.testing.assert_allclose(found.scores, 1, atol=1e-6)


def test_a_wide_photo_is_fitted_to_the_detector(tmp_path):
    """Half the height of the network's square: the grey below shows nothing of the photo."""
    network = Network(bright_cell_detector(tmp_path / "yolox_cells.onnx"))
    found = detection.detect(network, blue_cells((1, 2), shape=(32, 64)))
    best = found.scores.argmax()
    np.testing.assert_allclose(found.corners[best], [2 / 8, 1 / 4, 3 / 8, 2 / 4], atol=1e-6)


def test_a_nanodet_finds_boxes_where_its_laws_say(tmp_path):
    network = Network(bright_cell_nanodet(tmp_path / "nanodet_cells.onnx"))
    found = nanodet.detect(network, blue_cells((1, 2), (6, 5)))
    order = np.argsort(found.corners[:, 0])
    np.testing.assert_allclose(found.corners[order] * 8, [[2, 1, 4, 3], [5, 6, 7, 8]], atol=1e-4)
    assert found.classes.tolist() == [0, 0]
    assert (found.scores > 0.5).all()
    stretched = nanodet.detect(network, blue_cells((1, 2), shape=(32, 64)))
    tops = stretched.corners[stretched.scores > 0.5, 1]  # one cell is two when stretched
    np.testing.assert_allclose(sorted(tops * 8), [2, 3], atol=1e-4)
    other = Network(bright_cell_detector(tmp_path / "yolox_cells.onnx"))
    with pytest.raises(UsageError, match="interface"):
        nanodet.detect(other, blue_cells((1, 2)))


def test_a_segmenter_of_people_is_graded_on_people(tmp_path):
    network = Network(red_person(tmp_path / "selfie_red.onnx"))
    picture = np.zeros((96, 64, 3), np.uint8)
    picture[:48] = 255, 0, 0
    truth = np.full((96, 64), 2, np.uint8)
    truth[:48] = segmentation.PERSON
    truth[:, 60:] = segmentation.UNKNOWN
    table = segmentation.person_confusion(network, picture, truth)
    assert table.sum() == 96 * 60
    assert set(np.flatnonzero(table.sum(1))) == {0, 15}
    assert segmentation.mean_iou([table]) > 0.9
    wrong = segmentation.person_confusion(network, picture[::-1].copy(), truth)
    assert segmentation.mean_iou([wrong]) < 0.1


def test_networks_are_taken_for_what_their_names_say(task_folder, tmp_path):
    folder = tmp_path / "tasks"
    shutil.copytree(task_folder, folder)
    bright_cell_nanodet(folder / "networks" / "nanodet_cells.onnx")
    red_person(folder / "networks" / "selfie_red.onnx")
    (data_set,) = find_data_sets(folder)
    assert [task.name for task in data_set.tasks] == [
        "detection, nanodet_cells", "detection, yolox_cells",
        "segmentation, deeplab_red", "segmentation, selfie_red",
    ]  # fmt: skip
    pixels = read_picture(data_set.photos[0].read_bytes()).pixels
    seen = [task.look("0.png", pixels) for task in data_set.tasks]
    assert len(seen[0]) == len(seen[1]) == 2
    assert data_set.tasks[3].grade({"0.png": seen[3]}) > 0.8


def test_a_segmenter_is_graded_at_the_size_of_the_mask(tmp_path):
    network = Network(colour_segmenter(tmp_path / "deeplab_red.onnx"))
    picture = np.zeros((96, 64, 3), np.uint8)
    picture[:48] = 255, 0, 0
    truth = np.zeros((96, 64), np.uint8)
    truth[:48] = 15
    truth[:, 60:] = segmentation.UNKNOWN
    table = segmentation.confusion(network, picture, truth)
    assert table.sum() == 96 * 60
    assert segmentation.mean_iou([table]) > 0.9
    wrong = segmentation.confusion(network, picture[::-1].copy(), truth)
    assert segmentation.mean_iou([wrong]) < 0.1


def test_points_are_put_back_into_the_photo(tmp_path):
    """Every point in cell (row 14, column 7) of the map, moved right by a tenth of the crop."""
    maps = np.zeros((1, 198, 28, 28))
    maps[:, :66, 14, 7] = 1
    maps[:, 66:132] = 0.5
    maps[:, 132:] = 1 / (1 + np.exp(-16 * 0.1))
    network = Network(constant_network(tmp_path / "l.onnx", (1, 3, 224, 224), output=maps))
    picture = np.zeros((200, 300, 3), np.uint8)
    points = landmarks.place_points(network, picture, np.array([100.0, 50, 200, 130]))
    x = 90 + (7 / 27 + 0.1) * 223 / 224 * 120
    y = 40 + 14 / 27 * 223 / 224 * 100
    np.testing.assert_allclose(points, np.tile([x, y], (66, 1)), atol=1e-3)


def test_a_face_that_is_elsewhere_is_not_the_face(tmp_path):
    scores = np.array([[[0.1, 0.9], [0.05, 0.95]]])
    places = np.array([[[0.2, 0.2, 0.4, 0.4], [0.6, 0.6, 0.9, 0.9]]])
    path = tmp_path / "face_constant.onnx"
    network = Network(constant_network(path, (1, 3, 240, 320), scores=scores, boxes=places))
    picture = np.zeros((100, 200, 3), np.uint8)
    face = np.random.default_rng(0).uniform([40, 20], [80, 40], (68, 2))
    found = landmarks.find_face(network, picture, face)
    assert found is not None
    np.testing.assert_allclose(found, [40, 20, 80, 40], atol=1e-3)
    face[:, 1] += 50
    assert landmarks.find_face(network, picture, face) is None
    lost = landmarks.landmark_error(network, network, picture, face)
    assert lost == landmarks.ERROR_OF_LOST_FACE


@pytest.fixture(scope="module")
def task_folder(tmp_path_factory) -> Path:
    return make_task_folder(tmp_path_factory.mktemp("tasks"))


def test_rate_at_a_share_of_the_score():
    rates, shares = (0.1, 0.2, 0.4), (0.7, 0.9, 0.85)
    curve = TaskCurve("avif", "AVIF", ("a", "b", "c"), rates, (1.0, 2.0, 4.0), shares, shares)
    assert curve.bpp_at(0.9) == pytest.approx(0.2)
    assert 0.1 < curve.bpp_at(0.8) < 0.2
    assert np.isnan(curve.bpp_at(0.95))
    assert (curve.bpp_at(0.6), curve.is_bound(0.6)) == (0.1, True)
    assert not curve.is_bound(0.8)


@pytest.mark.slow
def test_tasks_from_folder_to_files(task_folder, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    evaluate.add_parser(parser.add_subparsers())
    out, cache = tmp_path / "out", tmp_path / "cache"
    arguments = ["evaluate", "--tasks", str(task_folder), "--output", str(out), "--workers", "1"]
    parsed = parser.parse_args([*arguments, "--peers", "jpeg", "--cache", str(cache)])
    assert parsed.run(parsed) == 0
    printed = capsys.readouterr().out
    assert "detection, yolox_cells: mAP at IoU 0.5, 2 photos" in printed
    assert "Rate at which a task is kept" in printed
    with (out / "tasks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    fine = [float(r["kept"]) for r in rows if r["codec"] == "underpaint"][-1]
    assert fine == pytest.approx(1, abs=0.05)
    jpeg = [r for r in rows if r["codec"] == "jpeg" and r["task"].startswith("segmentation")]
    assert float(jpeg[0]["kept"]) < float(jpeg[-1]["kept"]) <= 1.01
    assert (out / "tasks.png").read_bytes().startswith(b"\x89PNG")

    first = (out / "tasks.csv").read_text()
    assert parsed.run(parsed) == 0
    assert (out / "tasks.csv").read_text() == first

    parsed.texture = 1
    assert parsed.run(parsed) == 0
    with (out / "tasks.csv").open(newline="") as file:
        drawn = list(csv.DictReader(file))
    changed = {
        old["codec"] for old, new in zip(rows, drawn, strict=True) if old["score"] != new["score"]
    }
    assert changed == {"underpaint"}
    assert [row["bpp"] for row in drawn] == [row["bpp"] for row in rows]


def test_a_folder_without_tasks_is_a_mistake(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        find_data_sets(tmp_path / "absent")
    with pytest.raises(UsageError, match="no task with photos, truth and networks"):
        find_data_sets(tmp_path)
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    with pytest.raises(UsageError, match=r"broken\.onnx"):
        Network(tmp_path / "broken.onnx")


def test_photos_of_tasks_that_cannot_be_read_are_left_out(task_folder, tmp_path, capfd):
    folder, out = tmp_path / "tasks", tmp_path / "out"
    shutil.copytree(task_folder, folder)
    torn = next(path for path in sorted(folder.rglob("*")) if path.suffix in {".png", ".jpg"})
    torn.write_bytes(torn.read_bytes()[:500])
    parser = argparse.ArgumentParser()
    evaluate.add_parser(parser.add_subparsers())
    arguments = ["evaluate", "--tasks", str(folder), "--output", str(out), "--workers", "1"]
    parsed = parser.parse_args([*arguments, "--peers", "jpeg", "--peers-only"])
    assert parsed.run(parsed) == 1
    said = capfd.readouterr()
    assert f"left out: {torn.name}: " in said.err
    assert "detection, yolox_cells: mAP at IoU 0.5, 1 photo" in said.out
