"""Weights that no training chose: steps in thirds and halves, extreme tables and estimates."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from underpaint.codec.entropy.tables import TOTAL, TableLayout, frequencies_from_counts
from underpaint.codec.weights.header import METADATA, PROFILES
from underpaint.codec.weights.loading import load_weights

WIDTHS = (108, 36, 18, 6, 3, 1)


def write_odd_weights(profile: str, path: Path) -> None:
    """Write a weights file that is made of a profile's; always the same."""
    with safe_open(PROFILES[profile], "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    config = json.loads(metadata[METADATA])
    config["codec"]["widths"] = WIDTHS
    metadata[METADATA] = json.dumps(config)
    rng = np.random.default_rng(5)
    tensors["activity"] >>= 2  # widths are larger: rule W10
    tensors["frequencies"] = _tables(rng, profile, tensors["frequencies"].shape)
    for name, ends, values in (
        ("shares", (1, 2, TOTAL - 1), (1, TOTAL)),
        ("counts", (0, 89, 90), (0, 91)),
        ("mixing", (-131072, 0, 131072), (-131072, 131073)),
    ):
        before = tensors[f"estimates.{name}"]
        at_an_end, anywhere = rng.choice(ends, before.shape), rng.integers(*values, before.shape)
        chosen = np.where(rng.random(before.shape) < 0.5, at_an_end, anywhere)
        tensors[f"estimates.{name}"] = chosen.astype(before.dtype)
    save_file(tensors, path, metadata)


def _tables(rng: np.random.Generator, profile: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return tables of random shares; a fifth of those with two symbols hardly know one of them."""
    chain = list(replace(load_weights(profile).config, widths=WIDTHS).chain)
    layout = TableLayout(2, len(WIDTHS))
    tables = frequencies_from_counts(rng.geometric(0.01, shape), layout, chain)
    extreme = (tables > 0).sum(1) == 2
    extreme &= (np.arange(len(tables)) > 0) & (rng.random(len(tables)) < 0.2)
    tables[extreme, 0] = rng.choice([1, TOTAL - 1], extreme.sum())
    tables[extreme, 1] = TOTAL - tables[extreme, 0].astype(int)
    return tables
