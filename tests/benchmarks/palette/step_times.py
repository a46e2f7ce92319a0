"""CPU time of each step of the encoder's analysis."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from underpaint.codec.analysis import PALETTES, Analysis, Proposal
from underpaint.codec.weights.model import Weights
from underpaint.pipelines.evaluation.photos import Photo

WITHOUT_AFFINITIES = f"{PALETTES}, latent distortion alone"


class StepClock:
    """Observes the steps of an analysis: CPU seconds by name, summed since `reset`."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the CPU time of the step that runs inside."""
        start = time.process_time()
        yield
        self.seconds[name] += time.process_time() - start

    def reset(self) -> dict[str, float]:
        """Return the seconds so far and start anew."""
        seconds, self.seconds = self.seconds, Counter()
        return dict(seconds)


def step_times(weights: Weights, photos: Sequence[Photo], repeat: int) -> dict[str, float]:
    """Return CPU seconds a megapixel of each step over all photos, the fastest of `repeat` runs.

    The encoder's own analysis runs, one photo at a time. A last entry is the palette chain where
    entries merge by latent distortion alone.
    """
    merge = replace(weights.config.merge, texture=0, semantic=0, colour=0)
    alone = replace(weights, config=replace(weights.config, merge=merge))
    totals: Counter[str] = Counter()
    pixels = 0
    for photo in photos:
        picture = photo.read()
        pixels += picture.shape[0] * picture.shape[1]
        times = _fastest(weights, picture, repeat)
        times[WITHOUT_AFFINITIES] = _fastest(alone, picture, repeat)[PALETTES]
        totals.update(times)
    return {name: 1e6 * seconds / pixels for name, seconds in totals.items()}


def _fastest(weights: Weights, picture: np.ndarray, repeat: int) -> dict[str, float]:
    """Return the least CPU seconds of each step of `repeat` analyses of a picture."""
    clock = StepClock()
    analysis = Analysis(weights, torch.device("cpu"), clock)
    runs = []
    for _ in range(repeat):
        inspected = analysis.inspect([picture])
        proposals = [Proposal(position.costs) for position in inspected.positions]
        analysis.symbols(inspected, proposals, optimise=False)
        runs.append(clock.reset())
    return {name: min(run[name] for run in runs) for name in runs[0]}
