"""BD-rate and average precision agree with public implementations of them."""

from __future__ import annotations

import contextlib
import io

import bjontegaard
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from underpaint.pipelines.evaluation.curves import bd_rate
from underpaint.pipelines.evaluation.tasks.detection import Boxes, mean_average_precision

SIDE = 64
"""Side of the made-up photos in pixels; a power of two, so that coordinates are exact."""


def curve(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A rising curve of 3 to 9 points around 0.05 to 3 bits per pixel and 25 to 40 dB."""
    count = rng.integers(3, 10)
    rate = rng.uniform(0.05, 0.2) * np.cumprod(rng.uniform(1.1, 2.5, count))
    return rate, 25 + np.cumsum(rng.uniform(0.3, 4, count))


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**32 - 1))
def test_bd_rate_is_that_of_the_bjontegaard_package(seed):
    rng = np.random.default_rng(seed)
    anchor, tested = curve(rng), curve(rng)
    found = bd_rate(*anchor, *tested)
    low, high = (
        pick(a, b)
        for pick, a, b in (
            (max, anchor[1].min(), tested[1].min()),
            (min, anchor[1].max(), tested[1].max()),
        )
    )
    if low >= high:
        assert np.isnan(found)
        return
    expected = bjontegaard.bd_rate(
        *anchor, *tested, method="pchip", require_matching_points=False, min_overlap=0
    )
    assert 1 + found / 100 == pytest.approx(1 + expected / 100, rel=1e-9)


def scene(rng: np.random.Generator, crowded: bool) -> tuple[Boxes, Boxes]:
    """Truth and detections of one photo, on a coarse grid.

    Boxes coincide, scores tie, objects are found twice, missed or given another class; in a crowded
    scene all objects overlap.
    """
    reach = 4 if crowded else 24

    def corners(count: int) -> np.ndarray:
        start = rng.integers(0, reach, (count, 2))
        return np.concatenate([start, start + rng.integers(4, 13, (count, 2))], 1)

    count = int(rng.integers(0, 7))
    truth, classes = corners(count), rng.integers(0, 3, count)
    copies = np.repeat(np.arange(count), rng.integers(0, 3, count))
    near = truth[copies] + rng.integers(-2, 3, (len(copies), 4)) * rng.integers(0, 2, (1, 4))
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
    wrong = corners(int(rng.integers(0, 4)))
    found = np.concatenate([near, wrong])
    labels = np.concatenate([classes[copies], rng.integers(0, 3, len(wrong))])
    labels = np.where(rng.random(len(labels)) < 0.1, 2 - labels, labels)
    scores = np.sort(rng.integers(1, 6, len(found)) / 5)[::-1]
    order = rng.permutation(len(found))
    return (
        Boxes(truth / SIDE, classes, np.ones(count)),
        Boxes(found[order] / SIDE, labels[order], scores),
    )


def coco_map(found: list[Boxes], truth: list[Boxes]) -> float:
    """Mean average precision at IoU 0.5 by pycocotools."""

    def rows(all_boxes: list[Boxes], scored: bool) -> list[dict]:
        made = []
        for image, boxes in enumerate(all_boxes, 1):
            for box, label, score in zip(boxes.corners, boxes.classes, boxes.scores, strict=True):
                left, top, right, bottom = box * SIDE
                width, height = right - left, bottom - top
                made.append(
                    {
                        "id": len(made) + 1, "image_id": image, "category_id": int(label),
                        "bbox": [left, top, width, height], "area": width * height, "iscrowd": 0,
                    } | ({"score": float(score)} if scored else {})
                )  # fmt: skip
        return made

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": image} for image in range(1, len(truth) + 1)],
            "annotations": rows(truth, scored=False),
            "categories": [{"id": label} for label in range(3)],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(rows(found, scored=True)), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, :, 0, 0]
    return float(precision[:, (precision > -1).all(0)].mean())


@pytest.mark.parametrize("crowded", [False, True])
@settings(deadline=None, max_examples=150)
@given(seed=st.integers(0, 2**32 - 1))
@example(seed=5533195)  # a detection overlaps two objects equally
def test_average_precision_is_that_of_coco(crowded, seed):
    rng = np.random.default_rng(seed)
    scenes = [scene(rng, crowded) for _ in range(4)]
    truth, found = [t for t, _ in scenes], [f for _, f in scenes]
    if not any(len(boxes.classes) for boxes in truth) or not any(len(b.classes) for b in found):
        return
    assert mean_average_precision(found, truth) == pytest.approx(coco_map(found, truth), abs=1e-9)
