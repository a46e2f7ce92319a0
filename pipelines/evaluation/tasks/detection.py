"""Detection: mAP at IoU 0.5 of the boxes of a YOLOX network against annotated boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from underpaint.pipelines.evaluation.tasks.network import Network

LEAST_CONFIDENCE = 0.01
MOST_BOXES = 100
SUPPRESSION_IOU = 0.5
MATCH_IOU = 0.5
STRIDES = (8, 16, 32)
PADDING = 114


@dataclass(frozen=True)
class Boxes:
    """Boxes of one photo, relative to its sides.

    corners  float64 [K, 4]: left, top, right, bottom, 0..1
    classes  int64 [K]
    scores   float64 [K], descending; 1 for annotated boxes
    """

    corners: np.ndarray
    classes: np.ndarray
    scores: np.ndarray

    def to_lists(self) -> list[list[float]]:
        """Return rows (left, top, right, bottom, class, score) for JSON."""
        rows = np.column_stack([self.corners, self.classes, self.scores])
        return [[round(float(v), 5) for v in row] for row in rows]

    @classmethod
    def from_lists(cls, rows: Sequence[Sequence[float]]) -> Boxes:
        """Return the boxes of rows from `to_lists`."""
        table = np.asarray(rows, np.float64).reshape(-1, 6)
        return cls(table[:, :4], table[:, 4].astype(np.int64), table[:, 5])


def read_truth(path: Path) -> Boxes:
    """Read a text file with one `class centre_x centre_y width height` per line; may be missing."""
    lines = path.read_text().split("\n") if path.exists() else []
    rows = np.array([line.split() for line in lines if line.strip()], np.float64).reshape(-1, 5)
    centre, size = rows[:, 1:3], rows[:, 3:5]
    corners = np.concatenate([centre - size / 2, centre + size / 2], 1)
    return Boxes(corners, rows[:, 0].astype(np.int64), np.ones(len(rows)))


def detect(network: Network, pixels: np.ndarray) -> Boxes:
    """Return the boxes that a YOLOX network finds in uint8 [H, W, 3] RGB.

    The photo is scaled to fit the square input, in its top left corner on grey, as BGR 0..255.

    Source: the demonstration of YOLOX (Ge et al. 2021).
    """
    side = int(network.input_shape[-1])
    height, width = pixels.shape[:2]
    scale = min(side / height, side / width)
    fitted = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = np.full((side, side, 3), PADDING, np.float32)
    resized = Image.fromarray(pixels).resize(fitted, Image.Resampling.BILINEAR)
    canvas[: fitted[1], : fitted[0]] = np.asarray(resized)[..., ::-1]
    (output,) = network(np.ascontiguousarray(canvas.transpose(2, 0, 1)[None]))
    raw = output[0].astype(np.float64)
    cells, strides = _grid(side)
    centre = (raw[:, :2] + cells) * strides
    size = np.exp(raw[:, 2:4]) * strides
    corners = np.concatenate([centre - size / 2, centre + size / 2], 1)
    corners /= np.array([*fitted, *fitted])
    scores = raw[:, 4:5] * raw[:, 5:]
    classes = scores.argmax(1)
    best = scores.max(1)
    kept = best >= LEAST_CONFIDENCE
    return suppress(np.clip(corners[kept], 0, 1), classes[kept], best[kept])


def mean_average_precision(found: Sequence[Boxes], truth: Sequence[Boxes]) -> float:
    """Return the mAP at IoU 0.5 over all photos, 0..1: the mean over the annotated classes.

    Source: average precision of COCO, monotone precision at 101 recalls (Lin et al. 2014).
    """
    classes = np.unique(np.concatenate([boxes.classes for boxes in truth]))
    return float(np.mean([_average_precision(found, truth, int(c)) for c in classes]))


def _average_precision(found: Sequence[Boxes], truth: Sequence[Boxes], wanted: int) -> float:
    scores: list[float] = []
    hits: list[bool] = []
    total = 0
    for guess, real in zip(found, truth, strict=True):
        targets = real.corners[real.classes == wanted]
        total += len(targets)
        mine = guess.classes == wanted
        free = np.ones(len(targets), bool)
        overlaps = iou(guess.corners[mine], targets)
        for overlap, score in zip(overlaps, guess.scores[mine], strict=True):
            open_overlap = np.where(free, overlap, 0)
            hit = bool(open_overlap.max(initial=0) >= MATCH_IOU)
            if hit:
                last_best = len(free) - 1 - open_overlap[::-1].argmax()  # of equal ones, as COCO
                free[last_best] = False
            scores.append(float(score))
            hits.append(hit)
    if not hits:
        return 0.0
    order = np.argsort(-np.array(scores), kind="stable")
    true = np.cumsum(np.array(hits)[order])
    precision = true / np.arange(1, len(true) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    ranks = np.searchsorted(true / total, np.linspace(0, 1, 101), side="left")
    return float(np.append(precision, 0.0)[ranks].mean())


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the intersection over union of corners [K, 4] and [L, 4], float64 [K, L]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (a, b)]
    union = areas[0][:, None] + areas[1][None] - shared
    return shared / np.maximum(union, 1e-12)


def suppress(corners: np.ndarray, classes: np.ndarray, scores: np.ndarray) -> Boxes:
    """Return boxes by score, without those that overlap a better one of the same class."""
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    for at in order:
        rivals = [i for i in kept if classes[i] == classes[at]]
        if rivals and iou(corners[at][None], corners[rivals]).max() > SUPPRESSION_IOU:
            continue
        kept.append(int(at))
        if len(kept) == MOST_BOXES:
            break
    return Boxes(corners[kept], classes[kept], scores[kept])


def _grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return cell [K, 2] (x, y) and stride [K, 1] of each prediction of YOLOX."""
    cells, strides = [], []
    for stride in STRIDES:
        count = side // stride
        y, x = np.mgrid[:count, :count]
        cells.append(np.stack([x.ravel(), y.ravel()], 1))
        strides.append(np.full((count * count, 1), stride))
    return np.concatenate(cells), np.concatenate(strides)
