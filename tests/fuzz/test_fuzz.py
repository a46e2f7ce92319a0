"""Fuzzing: past findings stay mended, seeds pass, and a short run of each harness is clean."""

import gc
import importlib.util
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz import harnesses
from tests.fuzz.__main__ import trace_plain_comparisons
from tests.fuzz.harnesses import FOLDER, HARNESSES

ROOT = FOLDER.parents[1]
FOUND = sorted(path for path in (FOLDER / "found").glob("*/*"))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_once_failed_passes(path: Path) -> None:
    HARNESSES[path.parent.name].run(path.read_bytes())


@pytest.mark.parametrize("name", HARNESSES)
def test_seeds_are_short_enough_and_pass(name: str) -> None:
    seeds = list(HARNESSES[name].seeds())
    assert len(set(seeds)) >= 4
    for seed in seeds:
        assert len(seed) <= HARNESSES[name].longest
        HARNESSES[name].run(seed)


def test_harnesses_reach_what_they_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mended streams are walked to their last layer, and small weights are read."""
    reached = set()
    walked = harnesses.walked

    def spy(codec, layers):
        state = walked(codec, layers)
        reached.add((codec.layers, len(layers)))
        return state

    monkeypatch.setattr(harnesses, "walked", spy)
    for name in ("stream", "walk", "weights"):
        for seed in HARNESSES[name].seeds():
            HARNESSES[name].run(seed)
    layers = harnesses._codec().layers
    assert {(layers, layers), (2, 2)} <= reached


def test_every_finding_belongs_to_a_harness() -> None:
    assert FOUND
    assert {path.parent.name for path in FOUND} <= set(HARNESSES)


def test_no_compared_arrays_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What memory a harness takes is what the codec takes: atheris adds nothing of its own."""
    atheris = pytest.importorskip("atheris")

    def positive(values: np.ndarray) -> np.ndarray:
        return values > 0

    def counted() -> tuple[list[bool], int]:
        results = [instrumented(np.array([-1, value])) for value in range(3)]
        watched = [weakref.ref(result) for result in results]
        found = [bool(result[1]) for result in results]
        del results
        gc.collect()
        return found, sum(reference() is not None for reference in watched)

    instrumented = atheris.instrument_func(positive)
    monkeypatch.setattr(atheris, "_trace_cmp", atheris._trace_cmp)  # put back at the end
    assert counted() == ([False, True, True], 3)
    trace_plain_comparisons.__wrapped__()
    assert counted() == ([False, True, True], 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", HARNESSES)
def test_a_short_run_finds_nothing(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: the extra fuzz installs it")
    command = [sys.executable, "-m", "tests.fuzz", name, "--seconds", "5"]
    done = subprocess.run(
        [*command, "--artifacts", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no finding" in done.stdout
    assert list(tmp_path.iterdir()) == []
