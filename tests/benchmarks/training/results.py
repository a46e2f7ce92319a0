"""Results as JSON lines, their table, and the plot of accuracy against bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.training.inputs import ORIGINAL, Input

SEEDED = ("scratch", "probe")
TITLES = {"scratch": "trained from scratch", "probe": "linear probe on SqueezeNet 1.1"}


class Results:
    """Lines of {kind, input, seed, value, seconds}; a line is written as soon as it is known."""

    def __init__(self, path: Path, epochs: int) -> None:
        self._path, self._epochs = path, epochs
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        self._lines: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def has(self, kind: str, name: str, seed: int) -> bool:
        """Return whether a result is known."""
        return any(line["seed"] == seed for line in self._of(kind, name))

    def add(self, kind: str, name: str, seed: int, value: float, seconds: float = 0) -> None:
        """Append a result: an accuracy, bytes an image or seconds an image."""
        line = {"kind": kind, "input": name, "seed": seed, "value": value, "seconds": seconds}
        if kind == "scratch":
            line["epochs"] = self._epochs
        self._lines.append(line)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def values(self, kind: str, name: str) -> dict[int, float]:
        """Return the values by seed."""
        return {line["seed"]: line["value"] for line in self._of(kind, name)}

    def epoch_seconds(self, kind: str, name: str) -> float | None:
        """Return the median CPU time of an epoch of training, without reading."""
        found = [line["seconds"] for line in self._of(kind, name)]
        return float(np.median(found)) if found else None

    def _of(self, kind: str, name: str) -> list[dict[str, Any]]:
        return [
            line
            for line in self._lines
            if (line["kind"], line["input"]) == (kind, name)
            and line.get("epochs", self._epochs) == self._epochs
        ]


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error over seeds; nan for one seed."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return float(np.mean(values)), float(error)


def table_rows(results: Results, inputs: Sequence[Input]) -> list[tuple[str, ...]]:
    """Return the table; differences from originals are those of equal seeds."""
    rows: list[tuple[str, ...]] = [
        (
            "read", "bytes", "images/s", "scratch, %", "minus originals", "seeds", "epoch, s",
            "probe, %", "minus originals",
        )
    ]  # fmt: skip
    for one in inputs:
        counted = results.values("bytes", one.name)
        rates = list(results.values("rate", one.name).values())
        seconds = results.epoch_seconds("scratch", one.name)
        scratch, probe = (_accuracy(results, kind, one.name) for kind in SEEDED)
        rows.append(
            (
                one.title,
                f"{counted[0]:,.0f}" if counted else "",
                f"{1 / np.median(rates):,.0f}" if rates else "",
                *scratch,
                str(len(results.values("scratch", one.name)) or ""),
                f"{seconds:.1f}" if seconds else "",
                *probe,
            )
        )
    return rows


def _accuracy(results: Results, kind: str, name: str) -> tuple[str, str]:
    """Return the accuracy, and its difference from originals over the seeds that both have."""
    found, originals = results.values(kind, name), results.values(kind, ORIGINAL)
    if not found:
        return "", ""
    both = sorted(found.keys() & originals.keys())
    shown = [f"{100 * m:.1f} ± {100 * e:.1f}" for m, e in [mean_and_error([*found.values()])]]
    if name == ORIGINAL or not both:
        return shown[0], ""
    mean, error = mean_and_error([found[seed] - originals[seed] for seed in both])
    return shown[0], f"{100 * mean:+.1f} ± {100 * error:.1f}"


def plot(results: Results, inputs: Sequence[Input], path: Path) -> None:
    """Draw accuracy against bytes an image, on a logarithmic axis, with standard errors."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), layout="constrained")
    both = figure.subplots(1, 2)
    for axes, kind in zip(both, SEEDED, strict=True):
        for group in dict.fromkeys(one.group for one in inputs):
            points = [
                (results.values("bytes", one.name)[0], *mean_and_error([*found.values()]))
                for one in inputs
                if one.group == group and (found := results.values(kind, one.name))
            ]
            if points:
                counted, means, errors = np.array(sorted(points)).T
                axes.errorbar(counted, 100 * means, 100 * errors, marker="o", label=group)
        axes.set(xscale="log", title=TITLES[kind], xlabel="bytes an image", ylabel="accuracy, %")
        axes.grid(alpha=0.3)
    lines, names = both[0].get_legend_handles_labels()  # which has every group
    figure.legend(lines, names, loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=100)
