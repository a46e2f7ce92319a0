"""Segmentation: mIoU of the pixel classes of a DeepLab network against annotated masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from underpaint.codec.arguments import whole_number
from underpaint.codec.errors import UsageError
from underpaint.pipelines.evaluation.tasks.network import Network

VOC_CLASSES = (
    ("background",),
    ("airplane", "aeroplane"),
    ("bicycle",),
    ("bird",),
    ("boat",),
    ("bottle",),
    ("bus",),
    ("car",),
    ("cat",),
    ("chair",),
    ("cow",),
    ("dining table", "diningtable"),
    ("dog",),
    ("horse",),
    ("motorcycle", "motorbike"),
    ("person",),
    ("potted plant", "pottedplant"),
    ("sheep",),
    ("couch", "sofa"),
    ("train",),
    ("tv", "tvmonitor"),
)
"""Classes of the network, each with the names that lists of classes use for it."""

PERSON = next(index for index, names in enumerate(VOC_CLASSES) if "person" in names)

UNKNOWN = 255
"""Value of pixels of a mask that are not evaluated."""


def read_mask_classes(path: Path) -> np.ndarray:
    """Read the map from mask values to VOC classes, uint8 [256], from lines `  number: name`.

    Value 0 ("unlabeled") becomes `UNKNOWN`; classes that VOC does not have become background.
    Raises UsageError if no class is known.
    """
    voc = {name: index for index, names in enumerate(VOC_CLASSES) for name in names}
    table = np.zeros(256, np.uint8)
    table[0] = UNKNOWN
    for line in path.read_text(encoding="utf-8").splitlines():
        value, colon, name = line.strip().partition(":")
        number = whole_number(value)
        if colon and number is not None and number < 256 and name.strip() in voc:
            table[number] = voc[name.strip()]
    if not (table[1:] > 0).any():
        raise UsageError(f"{path}: names no class that the network knows")
    return table


def read_truth(path: Path, classes: np.ndarray) -> np.ndarray:
    """Read a mask as VOC classes, uint8 [H, W]; `classes` from `read_mask_classes`."""
    with Image.open(path) as mask:
        return np.asarray(classes[np.asarray(mask.convert("L"))])


def confusion(network: Network, pixels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return pixel counts by true class (row) and predicted class (column), int64 [21, 21].

    The photo, uint8 [H, W, 3] RGB, is scaled to fit the square input, in its top left corner on
    grey, in -1..1. Its class scores are resized to the mask before the best class is taken.
    """
    side = int(network.input_shape[1])
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    fitted = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = np.zeros((side, side, 3), np.float32)
    resized = Image.fromarray(pixels).resize(fitted, Image.Resampling.BILINEAR)
    canvas[: fitted[1], : fitted[0]] = np.asarray(resized, np.float32) / 127.5 - 1
    (scores,) = network(canvas[None])
    planes = torch.from_numpy(scores).permute(0, 3, 1, 2)[..., : fitted[1], : fitted[0]]
    shape = (int(truth.shape[0]), int(truth.shape[1]))
    seen = F.interpolate(planes, shape, mode="bilinear").argmax(1)[0].numpy()
    known = truth != UNKNOWN
    count = len(VOC_CLASSES)
    pairs = truth[known].astype(np.int64) * count + seen[known]
    return np.bincount(pairs, minlength=count * count).reshape(count, count)


def person_confusion(network: Network, pixels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return as `confusion` for a network of people only: all other classes are background.

    The photo is resized to the square input, in 0..1. The network returns the probability of a
    person for each pixel.
    """
    side = int(network.input_shape[1])
    stretched = Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR)
    (chances,) = network(np.asarray(stretched, np.float32)[None] / 255)
    shape = (int(truth.shape[0]), int(truth.shape[1]))
    plane = torch.from_numpy(chances).permute(0, 3, 1, 2)
    seen = F.interpolate(plane, shape, mode="bilinear")[0, 0].numpy() > 0.5
    known, count = truth != UNKNOWN, len(VOC_CLASSES)
    real, found = ((mask[known] * PERSON).astype(np.int64) for mask in (truth == PERSON, seen))
    return np.bincount(real * count + found, minlength=count * count).reshape(count, count)


def mean_iou(confusions: Sequence[np.ndarray]) -> float:
    """Return the mean intersection over union, 0..1, over the classes in the ground truth."""
    total = np.sum(confusions, axis=0).astype(np.float64)
    shared = np.diag(total)
    union = total.sum(0) + total.sum(1) - shared
    present = total.sum(1) > 0
    return float((shared[present] / union[present]).mean())
