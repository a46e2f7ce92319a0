"""Commands import what they use: a heavy package that a command does not need costs seconds."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests.helpers.pictures import encode, make_photos

HEAVY = frozenset(
    ("aiohttp", "apache_beam", "jinja2", "matplotlib", "numba", "onnxruntime", "pandas", "torch")
)
"""Packages that take long to import. scipy is missing here: numba imports it where it is installed,
and pyarrow and Beam would import pandas."""

CODEC = frozenset(("numba", "torch"))

COMPILED = frozenset(("numba",))

GPU_POSSIBLE = COMPILED if metadata.version("torch").endswith("+cpu") else CODEC
"""Where torch is not built for the CPU alone, it is imported to look for a GPU."""

PROGRAM = """\
import sys
from underpaint.pipelines.cli.main import main
heavy = set(sys.argv.pop(1).split())
status = main()
print(*sorted(heavy & set(sys.modules)), file=sys.stderr)
sys.exit(status)
"""

ALLOWED = {
    "inspect ARCHIVE": frozenset(),
    "sweep ARCHIVE": frozenset(),
    "trim ARCHIVE --layers 1 --output OUT": frozenset(),
    "merge ARCHIVE --output OUT": frozenset(),
    "decode ARCHIVE --output OUT": CODEC,
    "decode ARCHIVE --output OUT --no-refine": GPU_POSSIBLE,
    "decode ARCHIVE --output OUT --no-refine --size 64": GPU_POSSIBLE,
    "decode ARCHIVE --output OUT --format latents --layers 2": GPU_POSSIBLE,
    "verify ARCHIVE": GPU_POSSIBLE,
    "view ARCHIVE": COMPILED,
    "view ARCHIVE --html OUT": CODEC | {"jinja2"},
    "encode PHOTOS --output OUT": CODEC | {"apache_beam"},
}
"""Command line -> the heavy packages that it may import."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start-up")
    make_photos(folder / "photos", 1)
    assert encode(folder / "photos", "--output", folder / "archive") == 0
    return folder


@pytest.mark.parametrize("line", ALLOWED)
def test_a_command_imports_only_the_heavy_packages_that_it_uses(
    line: str, made: Path, tmp_path: Path
) -> None:
    paths = {"ARCHIVE": made / "archive", "PHOTOS": made / "photos", "OUT": tmp_path / "out"}
    words = [str(paths.get(word, word)) for word in line.split()]
    command = [sys.executable, "-P", "-c", PROGRAM, " ".join(HEAVY), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.splitlines()[-1].split())
    assert loaded <= ALLOWED[line]
    assert CODEC & ALLOWED[line] <= loaded, "the list of loaded packages is not what was printed"
