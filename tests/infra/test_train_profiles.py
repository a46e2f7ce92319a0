"""The recipe of the weights in the package: each line of the script can be given, in its order."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from underpaint.pipelines.cli.main import build_parser
from underpaint.pipelines.cli.train import settings_of

ROOT = Path(__file__).parents[2]
SIZES = ("width", "hidden", "depth")
NETWORK = tuple(f"{part}_{size}" for part in ("coarse", "fine") for size in SIZES)
RECORDER = """#!{python}
import json, pathlib, sys
words = sys.argv[1:]
pathlib.Path(words[words.index("--output") + 1]).write_text("weights")
with open({log!r}, "a") as log:
    print(json.dumps(words), file=log)
"""
UNLIKE = {"steps_asked_for", "checkpoint_every", "profile", "extractor", "extractor_input"}
"""Settings that do not decide the weights, or that the script names by a path."""


def script(folder: Path, *options: str) -> list[argparse.Namespace]:
    """Run the script with a command that only notes how it is called; return the calls, parsed."""
    log, command = folder / "log", folder / "bin" / "underpaint"
    command.parent.mkdir(exist_ok=True)
    command.write_text(RECORDER.format(python=sys.executable, log=str(log)))
    command.chmod(0o755)
    log.write_text("")
    words = ["sh", str(ROOT / "infra" / "train_profiles.sh"), "my photos", "net.onnx", *options]
    words[4:4] = [str(folder / "out folder")]
    path = f"{command.parent}:{os.environ['PATH']}"
    subprocess.run(words, env={**os.environ, "PATH": path}, check=True, capture_output=True)
    parser = build_parser()
    return [parser.parse_args(json.loads(line)) for line in log.read_text().splitlines()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[argparse.Namespace]:
    return script(tmp_path_factory.mktemp("recipe"))


def test_each_run_starts_from_files_of_runs_before(runs: list[argparse.Namespace]) -> None:
    made: dict[str, dict[str, Any]] = {}
    for run in runs:
        _, plan, _ = settings_of(run)
        assert run.photos == ["my photos"]
        needed = [run.start_from, run.network_from, run.teacher]
        assert {path for path in needed if path} <= made.keys()
        network = run.network_from or run.start_from
        sizes = {name: getattr(plan, name) for name in NETWORK}
        if network:  # a network can be pruned, and not grown
            assert all(sizes[name] <= made[network][name] for name in NETWORK), run.output
        made[str(run.output)] = sizes
    assert [Path(path).stem for path in made][-3:] == [
        "perceptual-sheared",
        "perceptual",
        "fidelity",
    ]


def test_settings_are_those_on_record(runs: list[argparse.Namespace]) -> None:
    for run in runs:
        name = run.output.stem
        record = json.loads((ROOT / f"codec/profiles/{name}-settings.json").read_text())
        recipe, plan, lifting = settings_of(run)
        parts = {"recipe": recipe, "plan": plan, "lifting": lifting}
        for part, settings in parts.items():
            now = json.loads(json.dumps(asdict(settings)))
            then = {key: value for key, value in record.get(part, {}).items() if key not in UNLIKE}
            if name == "perceptual-refined":  # its record names unused steps
                unused = ("level_steps", "chroma_step", "power")
                then = {key: value for key, value in then.items() if key not in unused}
            if name == "perceptual":  # latents were measured again on more photos
                then.pop("latent_photos", None)
            if (chroma := then.pop("chroma_step", None)) is not None:
                then |= {f"{which}_chroma_steps": [chroma] * 7 for which in ("first", "second")}
            if "learning_rate" in then and not plan.steps:
                del then["learning_rate"]
            differing = {key for key, value in then.items() if now[key] != value}
            assert not differing, (name, part)
        if plan.steps and "drawn" not in record["plan"]:
            assert not plan.drawn, name


def test_options_that_follow_replace_those_of_every_run(tmp_path: Path) -> None:
    assert {run.steps for run in script(tmp_path, "--steps", "2", "--classes", "4")} == {2}
    assert script(tmp_path) == [], "runs that are done are done again"


def test_without_arguments_it_says_how_it_is_used() -> None:
    command = ["sh", str(ROOT / "infra" / "train_profiles.sh")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: sh infra/train_profiles.sh PHOTOS EXTRACTOR FOLDER")
