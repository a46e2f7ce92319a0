"""Facial landmarks: distance of the points that a network finds from annotated points."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from underpaint.codec.errors import UsageError
from underpaint.pipelines.evaluation.tasks.detection import iou
from underpaint.pipelines.evaluation.tasks.network import Network

LEAST_CONFIDENCE = 0.6
LEAST_OVERLAP = 0.3
"""Least IoU of a found face with the box around the annotated points."""

ERROR_OF_LOST_FACE = 1.0
"""Error of a face that is not found, and the largest error of a face."""

POINTS = (*range(48), 49, 50, 51, 52, 53, 55, 56, 57, 58, 59, 48, 61, 62, 63, 54, 65, 66, 67)
"""For each of the 66 points of OpenSeeFace its index among the 68 annotated points (iBUG 300-W):
all but the inner corners of the mouth, with the outer corners last. Found by matching points on
originals."""

EYES = (36, 45)
"""Outer corners of the eyes; their distance is the unit of the error, as in 300-W."""

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
OFFSET_FACTOR = 16.0


def read_truth(path: Path) -> dict[str, np.ndarray]:
    """Read the points of each image by its name, float64 [68, 2] in pixels (x, y).

    From a CSV file with columns `image`, x0, y0 ... x67, y67. Raises UsageError for other files.
    """
    truth = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                points = [[float(row[f"x{i}"]), float(row[f"y{i}"])] for i in range(68)]
            except (KeyError, TypeError, ValueError) as error:
                raise UsageError(f"{path}: not 68 points a row ({error})") from error
            truth[row["image"]] = np.array(points)
    return truth


def landmark_error(
    detector: Network, landmarker: Network, pixels: np.ndarray, truth: np.ndarray
) -> float:
    """Return the mean distance of found from annotated points, in distances between the eyes.

    At most `ERROR_OF_LOST_FACE`, also if no face is found. `pixels` uint8 [H, W, 3] RGB, `truth`
    float64 [68, 2].
    """
    face = find_face(detector, pixels, truth)
    if face is None:
        return ERROR_OF_LOST_FACE
    points = place_points(landmarker, pixels, face)
    distances = np.linalg.norm(points - truth[list(POINTS)], axis=1)
    unit = float(np.linalg.norm(truth[EYES[0]] - truth[EYES[1]]))
    return min(float(distances.mean()) / unit, ERROR_OF_LOST_FACE)


def mean_error(errors: Sequence[float]) -> float:
    """Return the mean over faces."""
    return float(np.mean(errors))


def find_face(detector: Network, pixels: np.ndarray, truth: np.ndarray) -> np.ndarray | None:
    """Return the corners [4] of the best face that overlaps the annotated points, or None."""
    _, _, rows, columns = detector.input_shape
    height, width = pixels.shape[:2]
    resized = Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BILINEAR)
    array = (np.asarray(resized, np.float32) - 127) / 128
    scores, boxes = detector(np.ascontiguousarray(array.transpose(2, 0, 1)[None]))
    likely = scores[0, :, 1] >= LEAST_CONFIDENCE
    if not likely.any():
        return None
    corners = boxes[0, likely].astype(np.float64) * np.array([width, height, width, height])
    wanted = np.concatenate([truth.min(0), truth.max(0)])
    overlap = iou(wanted[None], corners)[0]
    near = overlap >= LEAST_OVERLAP
    if not near.any():
        return None
    best = scores[0, likely, 1][near].argmax()
    return np.asarray(corners[near][best])


def place_points(landmarker: Network, pixels: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Return the 66 points of OpenSeeFace on a face, float64 [66, 2] in pixels (x, y).

    The input is the box, a tenth wider on each side, as 224 x 224 RGB. For each point the network
    returns a 28 x 28 map of its position and two maps of logistic offsets from there.
    """
    width, height = face[2] - face[0], face[3] - face[1]
    margin = np.array([0.1 * width, 0.125 * height])
    low, high = face[:2] - margin, face[2:] + margin
    box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    side = 224
    crop = Image.fromarray(pixels).transform(
        (side, side),
        Image.Transform.EXTENT,
        box,
        Image.Resampling.BILINEAR,
    )
    array = (np.asarray(crop, np.float32) / 255 - MEAN) / DEVIATION
    (maps,) = landmarker(np.ascontiguousarray(array.transpose(2, 0, 1)[None]))
    count, cells = len(POINTS), maps.shape[-1]
    flat = maps[0].reshape(3, count, cells * cells).astype(np.float64)
    at = flat[0].argmax(1)
    every = np.arange(count)
    row_offset, column_offset = (_offset(flat[i, every, at]) for i in (1, 2))
    place = np.stack([at % cells, at // cells], 1) / (cells - 1)
    place += np.stack([column_offset, row_offset], 1)
    return low + place * (side - 1) / side * (high - low)


def _offset(logistic: np.ndarray) -> np.ndarray:
    """Return the offset, in units of the crop, of a logistic output."""
    p = np.clip(logistic, 1e-7, 1 - 1e-7)
    return np.asarray(np.log(p / (1 - p)) / OFFSET_FACTOR)
