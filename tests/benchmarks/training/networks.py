"""A small network trained from scratch, and a linear probe on features of a frozen network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.benchmarks.training.inputs import GRID, mirrored_latents
from underpaint.codec.errors import UsageError
from underpaint.codec.extractors import Extractor, open_extractor
from underpaint.codec.reconstruct.backend import fast_dtype

FOLDS = 5
BATCH = 32
CROP = 32
"""Positions of a training crop, of `GRID`; pictures have four pixels a position."""

WIDTHS = (32, 64, 128)
PROBE_STEPS = 400

LEAST_UNIT = 1.0
"""Smallest unit of a latent channel, in pixel values: few layers leave nearly all of some channels
at zero, and the rest must not become huge."""

LEAST_DEVIATION = 0.1
"""Smallest standard deviation by which a channel is divided, for the same reason."""


@dataclass(frozen=True)
class Trained:
    """The accuracy on held-out photos, and CPU seconds of an epoch of training."""

    accuracy: float
    epoch_seconds: float


def held_out(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return which photos are tested with a seed: a fifth of each class, all of them in 5 seeds."""
    rng = np.random.default_rng(seed // FOLDS)
    fold = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == label))
        fold[places] = np.arange(len(places)) % FOLDS
    return fold == seed % FOLDS


class Block(nn.Module):
    """A residual block of two convolutions that halves the sides."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_conv(channels, width, 2),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.skip = nn.Conv2d(channels, width, 1, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return [N, width, h / 2, w / 2]."""
        added: torch.Tensor = functional.relu(self.body(inputs) + self.skip(inputs))
        return added


class Scale(nn.Module):
    """Standardises channels; latents go through asinh first, so that edges do not dominate."""

    unit: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, known: torch.Tensor) -> None:
        super().__init__()
        self.pictures = known.dtype == torch.uint8
        sample = known[:512].float()
        if not self.pictures:
            unit = sample.abs().mean((0, 2, 3), keepdim=True).clamp_(min=LEAST_UNIT)
            self.register_buffer("unit", unit)
            sample = torch.asinh(sample / unit)
        self.register_buffer("mean", sample.mean((0, 2, 3), keepdim=True))
        std = sample.std((0, 2, 3), keepdim=True).clamp_(min=LEAST_DEVIATION)
        self.register_buffer("std", std)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return float32 of the same shape."""
        values = inputs.float()
        if not self.pictures:
            values = torch.asinh(values / self.unit)
        scaled: torch.Tensor = (values - self.mean) / self.std
        return scaled


def network(known: torch.Tensor, classes: int) -> nn.Module:
    """Return one trunk for all inputs, behind two strided convolutions for pictures, one for
    latents.
    """
    channels, first, last = known.shape[1], WIDTHS[0], WIDTHS[-1]
    stem = (
        [*_conv(channels, first // 2, 2), *_conv(first // 2, first, 2)]
        if known.dtype == torch.uint8
        else _conv(channels, first, 1)
    )
    blocks = [Block(before, width) for before, width in pairwise([first, *WIDTHS])]
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(last, classes)]
    return nn.Sequential(Scale(known), *stem, *blocks, *pool)


def train(inputs: torch.Tensor, labels: np.ndarray, seed: int, epochs: int) -> Trained:
    """Train from scratch on uint8 [N, 3, S, S] or latents [N, C, GRID, GRID]; test on a fold."""
    torch.manual_seed(seed)
    test = torch.from_numpy(held_out(labels, seed))
    answers = torch.from_numpy(labels)
    known = torch.nonzero(~test).flatten()
    net = network(inputs[known], int(labels.max()) + 1).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
    steps = epochs * -(-len(known) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    begin = time.process_time()
    for _ in range(epochs):
        for batch in known[torch.randperm(len(known))].split(BATCH):
            with _computing():
                scores = net.train()(augmented(inputs[batch]))
            loss = functional.cross_entropy(scores.float(), answers[batch], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    seconds = (time.process_time() - begin) / epochs
    right = 0
    with torch.inference_mode(), _computing():
        for batch in torch.nonzero(test).flatten().split(BATCH):
            seen = _cropped(inputs[batch], *[(GRID - CROP) // 2] * 2)
            right += int((net.eval()(seen).argmax(1) == answers[batch]).sum())
    return Trained(right / int(test.sum()), seconds)


def augmented(inputs: torch.Tensor) -> torch.Tensor:
    """Crop at random positions, by whole positions of latents, and mirror one in two."""
    seen = []
    pictures = inputs.dtype == torch.uint8
    for one in (inputs if pictures else inputs.float()).split(1):
        top, left = torch.randint(GRID - CROP + 1, (2,)).tolist()
        cropped = _cropped(one, top, left)
        if torch.rand(()) < 0.5:
            cropped = cropped.flip(-1) if pictures else mirrored_latents(cropped)
        seen.append(cropped)
    return torch.cat(seen).contiguous(memory_format=torch.channels_last)


def open_network(folder: Path) -> Extractor:
    """Return SqueezeNet 1.1 of a folder; its features are what its classifier sees, averaged.

    Raises UsageError if there is none.
    """
    found = sorted([*folder.glob("squeezenet*.onnx"), *folder.glob("networks/squeezenet*.onnx")])
    if not found:
        raise UsageError(f"{folder}: no squeezenet*.onnx there or in networks/")
    options = "output=fire9/concat_1&order=bgr&mean=123,117,104&std=1,1,1&crop=0"
    return open_extractor(f"onnx:{found[0]}#{options}")


def features(extractor: Extractor, pictures: Iterator[torch.Tensor]) -> np.ndarray:
    """Return float32 [N, D] of pictures uint8 [3, S, S], computed in batches of 16."""
    found, batch = [], []
    for picture in pictures:
        batch.append(picture.permute(1, 2, 0).numpy())
        if len(batch) == 16:
            found.append(extractor.features(np.stack(batch)))
            batch = []
    if batch:
        found.append(extractor.features(np.stack(batch)))
    return np.concatenate(found)


def probe(vectors: np.ndarray, labels: np.ndarray, seed: int) -> Trained:
    """Train a linear classifier on features [N, D] without augmentation; test on a fold."""
    torch.manual_seed(seed)
    test = held_out(labels, seed)
    known = torch.from_numpy(vectors[~test])
    mean, std = known.mean(0), known.std(0) + 1e-6
    seen, answers = (known - mean) / std, torch.from_numpy(labels[~test])
    asked = (torch.from_numpy(vectors[test]) - mean) / std
    layer = nn.Linear(vectors.shape[1], int(labels.max()) + 1)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-3, weight_decay=1.0)
    begin = time.process_time()
    for _ in range(PROBE_STEPS):
        batch = torch.randint(len(seen), (256,))
        loss = functional.cross_entropy(layer(seen[batch]), answers[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    seconds = (time.process_time() - begin) * len(seen) / (256 * PROBE_STEPS)
    right = (layer(asked).argmax(1).numpy() == labels[test]).mean()
    return Trained(float(right), seconds)


def _cropped(inputs: torch.Tensor, top: int, left: int) -> torch.Tensor:
    cell = inputs.shape[-1] // GRID
    top, left, side = cell * top, cell * left, cell * CROP
    return inputs[..., top : top + side, left : left + side]


def _conv(channels: int, width: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
    return [conv, nn.BatchNorm2d(width), nn.ReLU()]


def _computing() -> torch.autocast:
    """Compute in bfloat16 if the CPU supports it."""
    dtype = fast_dtype(torch.device("cpu"))
    return torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16)
