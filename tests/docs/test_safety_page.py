"""SAFETY.md keeps its word: its tests and limits exist, and nothing is unpickled."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "safety.md").read_text("utf-8")
SOURCES = sorted(
    path
    for folder in ("codec", "transforms", "pipelines")
    for path in (ROOT / folder).rglob("*.py")
)

CODE_FROM_DATA = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "yaml"}
CALLS = {"eval", "exec", "compile", "__import__"}
LOADS = {("torch", "load"), ("np", "load"), ("numpy", "load"), ("torch", "jit")}


def breaches(source: str) -> list[str]:
    """What of a module could turn data into code."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in CODE_FROM_DATA]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module] if node.module.split(".")[0] in CODE_FROM_DATA else []
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found += [node.func.id] if node.func.id in CALLS else []
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = (node.value.id, node.attr)
            found += [".".join(name)] if name in LOADS else []
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_unpickles_or_evaluates_what_it_reads(path: Path) -> None:
    assert breaches(path.read_text("utf-8")) == []


def test_what_would_unpickle_or_evaluate_is_found() -> None:
    for source in ("import pickle", "from dill import load", "eval(x)", "torch.load(x)"):
        assert breaches(source), source


def test_the_tests_and_files_that_the_page_names_exist() -> None:
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    names = re.findall(r"`(test_\w+)`", PAGE)
    assert len(names) >= 8
    for name in names:
        assert f"def {name}(" in sources, name
    for file in re.findall(r"`((?:codec|tests|pipelines)/[\w/.]+\.(?:py|md))`", PAGE):
        assert (ROOT / file).is_file(), file
    for command in re.findall(r"^python ((?:-m )?[\w./]+)", PAGE, re.MULTILINE):
        target = command.removeprefix("-m ").replace(".", "/") if "-m" in command else command
        assert (ROOT / target).exists(), command
