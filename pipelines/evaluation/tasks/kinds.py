"""The kinds of tasks behind one face, and which of them a folder holds."""

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
"""How the names of networks begin, which say what their interfaces are."""

LOOK_VERSION = 1
"""Raised where a change below changes what is seen; part of the key of cached results."""


class Task(ABC):
    """One question put to networks about each photo of a data set, and how answers are graded."""

    name: str
    label: str
    lower_is_better = False

    @property
    @abstractmethod
    def key(self) -> str:
        """What a cached answer depends on beside the pixels."""

    @abstractmethod
    def has_truth(self, photo: str) -> bool:
        """Whether people have marked this photo."""

    @abstractmethod
    def look(self, photo: str, pixels: np.ndarray) -> Any:
        """What the networks see in uint8 [H, W, 3] pixels of a photo; plain lists and numbers."""

    @abstractmethod
    def grade(self, seen: Mapping[str, Any]) -> float:
        """The score of the answers by photo, over all of them."""

    def kept(self, score: float, of_originals: float) -> float:
        """Share of the originals' score that is kept, 1 for all."""
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
        """All photos: one without a file has no objects."""
        return True

    def look(self, photo: str, pixels: np.ndarray) -> Any:
        """Boxes."""
        detect = nanodet.detect if self.network.name.startswith(NANODET) else detection.detect
        return detect(_network(self.network), pixels).to_lists()

    def grade(self, seen: Mapping[str, Any]) -> float:
        """mAP, 0..1."""
        found = [detection.Boxes.from_lists(rows) for rows in seen.values()]
        truth = [detection.read_truth(self._truth(photo)) for photo in seen]
        return detection.mean_average_precision(found, truth)


@dataclass(frozen=True)
class Segmentation(Task):
    """mIoU of one network over the classes of PASCAL VOC, or over people and all else."""

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
        """Whether there is a mask."""
        return self._truth(photo).exists()

    def look(self, photo: str, pixels: np.ndarray) -> Any:
        """Confusion counts."""
        classes = _mask_classes(self.folder / "classes-masks.yaml")
        truth = segmentation.read_truth(self._truth(photo), classes)
        of_people = self.network.name.startswith(SELFIE)
        look = segmentation.person_confusion if of_people else segmentation.confusion
        return look(_network(self.network), pixels, truth).tolist()

    def grade(self, seen: Mapping[str, Any]) -> float:
        """mIoU, 0..1."""
        return segmentation.mean_iou([np.array(rows) for rows in seen.values()])


@dataclass(frozen=True)
class Landmarks(Task):
    """Error of points on faces; a face that is lost counts as one distance between the eyes."""

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
        """Whether the table has a row of the photo's name."""
        return Path(photo).stem in self._truth()

    def look(self, photo: str, pixels: np.ndarray) -> Any:
        """Error on this face."""
        truth = self._truth()[Path(photo).stem]
        detector, network = _network(self.detector), _network(self.network)
        return landmarks.landmark_error(detector, network, pixels, truth)

    def grade(self, seen: Mapping[str, Any]) -> float:
        """Mean error."""
        return landmarks.mean_error(list(seen.values()))


@dataclass(frozen=True)
class DataSet:
    """Photos and the tasks on them."""

    name: str
    photos: tuple[Path, ...]
    tasks: tuple[Task, ...]


def find_data_sets(folder: Path) -> list[DataSet]:
    """Every data set of a folder of tasks, with every task that can be run.

    Raises UsageError where the folder is missing or holds no task.
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
