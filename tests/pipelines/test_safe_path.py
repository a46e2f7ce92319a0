"""No command, helper process or worker imports what lies in the current folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

HOSTILE = (
    "codec", "json", "mmap", "numpy", "pipelines", "queue", "random", "signal", "socket", "struct",
    "tempfile", "torch", "transforms", "underpaint",
)  # fmt: skip
"""Names of modules that the product or the standard library imports."""

TRAP = """
import os, pathlib
pathlib.Path(os.environ["TRAP"], __name__.replace(".", "_")).touch()
raise SystemExit(77)
"""

READER = """
import sys
from torch.utils.data import DataLoader
from underpaint import LayerDataset

samples = LayerDataset(sys.argv[1], layers=2, output="latent", window_bytes=1)
loader = DataLoader(samples, batch_size=None, num_workers=2)
assert len([sample["key"] for sample in loader]) == 4
"""


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder of photos that also holds Python files with names of modules."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in HOSTILE:
        (folder / f"{name}.py").write_text(TRAP)
    for number in range(4):
        picture = data.astronaut()[64 * number : 64 * number + 64, :96]
        Image.fromarray(picture).save(folder / f"{number}.png")
    return folder


def run(folder: Path, *command: str) -> None:
    """Run a command in a folder; every hostile file that is imported leaves a mark."""
    marks = folder.parent / "marks"
    marks.mkdir(exist_ok=True)
    environment = {**os.environ, "TRAP": str(marks)}
    environment.pop("PYTHONPATH", None)
    environment.pop("PYTHONSAFEPATH", None)
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert not list(marks.iterdir()), (command, done.stderr)
    assert done.returncode == 0, (command, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["console script", "module"])
def test_commands_import_nothing_of_the_current_folder(hostile: Path, start: str) -> None:
    script = Path(sys.executable).with_name("underpaint")
    underpaint = [sys.executable, "-P", "-m", "underpaint"]
    if start == "console script":
        underpaint = [str(script)]
    archive = str(hostile.parent / "archive")
    two = str(hostile.parent / "two")
    out = hostile.parent / "out"
    run(hostile, *underpaint, "--help")
    run(hostile, *underpaint, "encode", ".", "--output", archive, "--embedding", "underpaint")
    run(hostile, *underpaint, "encode", ".", "--output", two, "--workers", "2", "--unit-size", "1")
    run(hostile, *underpaint, "inspect", archive)
    run(hostile, *underpaint, "decode", archive, "--output", str(out / "a"), "--workers", "2")
    run(hostile, *underpaint, "verify", archive, "--workers", "2")
    run(hostile, *underpaint, "view", archive, "0.png", "--html", str(hostile.parent / "page.html"))
    run(hostile, *underpaint, "search", archive, "--like", "0.png")
    run(hostile, *underpaint, "trim", archive, "--layers", "2", "--output", str(out / "trimmed"))
    run(hostile, *underpaint, "export", archive, "--output", str(out / "tar"))
    run(hostile, *underpaint, "merge", archive, "--output", str(out / "merged"))
    run(hostile, *underpaint, "sweep", archive)
    run(hostile, *underpaint, "train", "--help")
    run(
        hostile, *underpaint, "evaluate", "0.png", "--output", str(out / "e"), "--peers", "jpeg",
        "--speed-photos", "0", "--metrics", "psnr", "--workers", "2",
    )  # fmt: skip
    run(hostile, *underpaint, "benchmark", "0.png", "--codec-photos", "1", "--workers", "2")


@pytest.mark.slow
def test_a_training_job_imports_nothing_of_the_current_folder(hostile: Path) -> None:
    archive = hostile.parent / "archive"
    run(hostile, sys.executable, "-P", "-m", "underpaint", "encode", ".", "--output", str(archive))
    script = hostile.parent / "train" / "train.py"
    script.parent.mkdir()
    script.write_text(READER)
    run(hostile, sys.executable, str(script), str(archive))
