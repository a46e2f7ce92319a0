"""The kinds of tasks, with one interface, and the search for tasks in a folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from underpaint.codec.errors import UsageError
from underpaint.codec.image_io.read import PICTURE_SUFFIXES
from underpaint.pipelines.evaluation.tasks import detection, landmarks, nanodet, segmentation
from underpaint.pipelines.evaluation.tasks.network import Network

YOLOX, NANODET, DEEPLAB, SELFIE = "yolox", "nanodet", "deeplab", "selfie"
"""Prefixes of the file names of networks, which identify their interfaces."""

LOOK_VERSION = 1
"""Version of the outputs of tasks; part of the cache key."""


class Task(ABC):
    """A task of networks on each photo of a data set, and its score."""

    name: str
    label: str
    lower_is_better = False

    @property
    @abstractmethod
    def key(self) -> str:
        """Cache key of outputs, besides the pixels."""

    @abstractmethod
    def has_truth(self, photo: str) -> bool:
        """Return whether this photo has a ground truth."""

    @abstractmethod
    def look(self, photo: str, pixels: np.ndarray) -> Any:
        """Return the output for uint8 [H, W, 3] pixels of a photo, as lists and numbers."""

    @abstractmethod
    def grade(self, seen: Mapping[str, Any]) -> float:
        """Return the score of the outputs of all photos, by photo."""

    def kept(self, score: float, of_originals: float) -> float:
        """Return the share of the score on originals that is kept, 1 for all."""
        if self.lower_is_better:
            return of_originals / score
        return score / of_originals if of_originals else 0.0


@dataclass(frozen=True)
class Detection(Task):
    """mAP at IoU 0.5 of one detector."""

    folder: Path
    network: Path

    @property
    def name(self) -> str:  # type: ignore[override]
        """Kind and network."""
        return f"detection, {self.network.stem}"

    label = "mAP at IoU 0.5"

    @property
    def key(self) -> str:
        """Network and version."""
        return f"detection {LOOK_VERSION} {_network(self.network).id}"

    def _truth(self, photo: str) -> Path:
        return self.folder / "boxes" / f"{Path(photo).stem}.txt"

    def has_truth(self, photo: str) -> bool:
        """Return True: a photo without a file has no objects."""
        return True

    def look(self, photo: str, pixels: np.ndarray) -> Any:
        """Return boxes."""
        detect = nanodet.detect if self.network.name.startswith(NANODET) else detection.detect
        return detect(_network(self.network), pixels).to_lists()

    def grade(self, seen: Mapping[str, Any]) -> float:
        """Return the mAP, 0..1."""
        found = [detection.Boxes.from_lists(rows) for rows in seen.values()]
        truth = [detection.read_truth(self._truth(photo)) for photo in seen]
        return detection.mean_average_precision(found, truth)


@dataclass(frozen=True)
class Segmentation(Task):
    """mIoU of one network over the classes of PASCAL VOC, or over people and background."""

    folder: Path
    network: Path

    @property
    def name(self) -> str:  # type: ignore[override]
        """Kind and network."""
        return f"segmentation, {self.network.stem}"

    label = "mIoU"

    @property
    def key(self) -> str:
        """Network and version."""
        return f"segmentation {LOOK_VERSION} {_network(self.network).id}"

    def _truth(self, photo: str) -> Path:
        return self.folder / "masks" / f"{Path(photo).stem}.png"

    def has_truth(self, photo: str) -> bool:
        """Return whether there is a mask."""
        return self._truth(photo).exists()

    def look(self, photo: str, pixels: np.ndarray) -> Any:
        """Return confusion counts."""
        classes = _mask_classes(self.folder / "classes-masks.yaml")
        truth = segmentation.read_truth(self._truth(photo), classes)
        of_people = self.network.name.startswith(SELFIE)
        look = segmentation.person_confusion if of_people else segmentation.confusion
        return look(_network(self.network), pixels, truth).tolist()

    def grade(self, seen: Mapping[str, Any]) -> float:
        """Return the mIoU, 0..1."""
        return segmentation.mean_iou([np.array(rows) for rows in seen.values()])


@dataclass(frozen=True)
class Landmarks(Task):
    """Error of points on faces; a face that is not found counts as one distance of the eyes."""

    folder: Path
    detector: Path
    network: Path

    @property
    def name(self) -> str:  # type: ignore[override]
        """Kind and network."""
        return f"landmarks, {self.network.stem}"

    label = "landmark error, distances between the eyes"
    lower_is_better = True

    @property
    def key(self) -> str:
        """Networks and version."""
        return f"landmarks {LOOK_VERSION} {_network(self.detector).id} {_network(self.network).id}"

    def _truth(self) -> dict[str, np.ndarray]:
        return _landmarks(self.folder / "landmarks.csv")

    def has_truth(self, photo: str) -> bool:
        """Return whether the table has a row for the photo."""
        return Path(photo).stem in self._truth()

    def look(self, photo: str, pixels: np.ndarray) -> Any:
        """Return the error on this face."""
        truth = self._truth()[Path(photo).stem]
        detector, network = _network(self.detector), _network(self.network)
        return landmarks.landmark_error(detector, network, pixels, truth)

    def grade(self, seen: Mapping[str, Any]) -> float:
        """Return the mean error."""
        return landmarks.mean_error(list(seen.values()))


@dataclass(frozen=True)
class DataSet:
    """Photos and the tasks on them."""

    name: str
    photos: tuple[Path, ...]
    tasks: tuple[Task, ...]


def find_data_sets(folder: Path) -> list[DataSet]:
    """Return the data sets of a folder of tasks, each with the tasks that can run.

    Raises UsageError if the folder is missing or has no task.
    """
    if not folder.is_dir():
        raise UsageError(f"no such folder: {folder}")
    networks = sorted(folder.glob("networks/*.onnx"))

    def named(*starts: str) -> list[Path]:
        return [path for path in networks if path.name.startswith(starts)]

    found = []
    for images in sorted(folder.glob("*/images")):
        data = images.parent
        tasks: list[Task] = []
        if (data / "boxes").is_dir():
            tasks += [Detection(data, network) for network in named(YOLOX, NANODET)]
        if (data / "masks").is_dir() and (data / "classes-masks.yaml").exists():
            tasks += [Segmentation(data, network) for network in named(DEEPLAB, SELFIE)]
        if (data / "landmarks.csv").exists():
            tasks += [
                Landmarks(data, detector, network)
                for detector in named("face_")
                for network in named("landmarks_openseeface")
            ]
        photos = sorted(p for p in images.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
        if tasks and photos:
            found.append(DataSet(data.name, tuple(photos), tuple(tasks)))
    if not found:
        raise UsageError(f"{folder}: no task with photos, truth and networks")
    return found


@cache
def _network(path: Path) -> Network:
    return Network(path)


@cache
def _mask_classes(path: Path) -> np.ndarray:
    return segmentation.read_mask_classes(path)


@cache
def _landmarks(path: Path) -> dict[str, np.ndarray]:
    return landmarks.read_truth(path)
