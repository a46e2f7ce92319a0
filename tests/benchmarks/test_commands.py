"""The page of the benchmarks names every script, and commands that exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
PAGE = (FOLDER / "README.md").read_text("utf-8")
COMMAND = r"python\s+-m\s+(tests\.benchmarks\.\w+)(?: ([a-z][a-z-]*))?"
COMMANDS = sorted(set(re.findall(f"`{COMMAND}[ `]", PAGE)))


def test_every_script_is_on_the_page():
    scripts = {
        f"tests.benchmarks.{path.stem}"
        for path in FOLDER.glob("*.py")
        if not path.name.startswith("test_") and '__name__ == "__main__"' in path.read_text("utf-8")
    }
    assert scripts == {module for module, _ in COMMANDS}


@pytest.mark.parametrize(("module", "command"), COMMANDS)
def test_every_command_on_the_page_exists(module, command):
    root = FOLDER.parents[1]
    arguments = [sys.executable, "-m", module, *([command] if command else []), "--help"]
    shown = subprocess.run(arguments, cwd=root, capture_output=True, text=True, check=True).stdout
    assert shown.startswith(" ".join(["usage: python -m", module, command]).rstrip())


def test_every_command_in_the_documentation_is_on_the_page():
    root = FOLDER.parents[1]
    pages = [root / "README.md", root / "codec/profiles/README.md", *root.glob("docs/*.md")]
    named = {found for page in pages for found in re.findall(COMMAND, page.read_text("utf-8"))}
    assert named
    assert named <= set(COMMANDS)
