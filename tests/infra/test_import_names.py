"""A module of the product is loaded once, under `underpaint`, and never under its folder's name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

LOAD_ALL = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*(name for name in sys.modules if name.split(".")[0] in ("codec", "transforms", "pipelines")))
"""

BARE_IMPORT = """
import codec  # found because the repository is the current folder

def test_that_loads_a_bare_module(): pass
"""


def test_no_module_imports_another_under_its_bare_name() -> None:
    paths = [
        path.relative_to(ROOT).with_suffix("")
        for folder in ("codec", "transforms", "pipelines")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]
    names = [f"underpaint.{'.'.join(path.parts)}".removesuffix(".__init__") for path in paths]
    assert len(names) > 100
    # without -P, so that the bare names can be imported
    command = [sys.executable, "-c", LOAD_ALL, *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_a_test_run_that_loads_a_bare_module_fails(tmp_path: Path) -> None:
    (tmp_path / "test_bare.py").write_text(BARE_IMPORT)
    command = [sys.executable, "-m", "pytest", "--rootdir", str(ROOT), "-p", "tests.conftest"]
    command += ["-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, str(tmp_path / "test_bare.py")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "import these from `underpaint`: ['codec']" in done.stdout
