"""Detection with NanoDet, which predicts distributions of the distances to the sides of a box.

Source: RangiLyu, NanoDet (2020), with the distribution focal loss of Li et al. 2020 (arXiv
2006.04388): the distance to a side is the mean of a distribution over 0, 1, … strides.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from underpaint.codec.errors import UsageError
from underpaint.pipelines.evaluation.tasks.detection import LEAST_CONFIDENCE, Boxes, suppress
from underpaint.pipelines.evaluation.tasks.network import Network

SIDES = 4
MEAN = np.array([103.53, 116.28, 123.675], np.float32)
DEVIATION = np.array([57.375, 57.12, 58.395], np.float32)
"""Means and deviations of blue, green and red in 0..255."""


def detect(network: Network, pixels: np.ndarray) -> Boxes:
    """Return the boxes that a NanoDet network finds in uint8 [H, W, 3] RGB.

    The photo is resized to the square input. For each grid of cells the network returns class
    scores [1, cells, 80], 0..1, and logits of distances [1, cells, 4 x steps], which have fewer
    columns. Raises UsageError for other outputs.
    """
    side = int(network.input_shape[-1])
    stretched = Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR)
    array = (np.asarray(stretched, np.float32)[..., ::-1] - MEAN) / DEVIATION
    outputs = network(np.ascontiguousarray(array.transpose(2, 0, 1)[None]))
    pairs: dict[int, list[np.ndarray]] = {}
    for output in outputs:
        pairs.setdefault(output.shape[1], []).append(output[0].astype(np.float64))
    corners, scores = [], []
    for cells, pair in pairs.items():
        grid = round(cells**0.5)
        if len(pair) != 2 or grid * grid != cells:
            raise UsageError("the network does not have the interface of NanoDet")
        distances, classes = sorted(pair, key=lambda part: part.shape[1])
        corners.append(_corners(distances, grid))
        scores.append(classes)
    every = np.concatenate(scores)
    best = every.max(1)
    kept = best >= LEAST_CONFIDENCE
    found = np.clip(np.concatenate(corners), 0, 1)
    return suppress(found[kept], every.argmax(1)[kept], best[kept])


def _corners(logits: np.ndarray, grid: int) -> np.ndarray:
    """Return corners [cells, 4], relative to the square, of logits [cells, 4 x steps]."""
    logits = logits.reshape(len(logits), SIDES, -1)
    chances = np.exp(logits - logits.max(-1, keepdims=True))
    chances /= chances.sum(-1, keepdims=True)
    distance = chances @ np.arange(chances.shape[-1])
    y, x = np.mgrid[:grid, :grid].reshape(2, -1) + 0.5
    left, top, right, bottom = distance.T
    return np.stack([x - left, y - top, x + right, y + bottom], 1) / grid
