"""What the pages name exists: files, links, modules, tests and commands."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from underpaint.pipelines.cli.main import build_parser

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "infra/*.md", "codec/profiles/*.md")
    for path in ROOT.glob(pattern)
)
TOP_FOLDERS = "codec|transforms|pipelines|tests|docs|infra"


@pytest.fixture(params=PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_files_that_it_names_exist(page: Path) -> None:
    names = re.findall(rf"`((?:{TOP_FOLDERS})/[\w./-]*)`", page.read_text("utf-8"))
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_its_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        aim = page.parent / name if name else page
        assert aim.exists(), target
        if anchor:
            assert anchor in _anchors(aim.read_text("utf-8")), target


def test_modules_that_it_runs_exist(page: Path) -> None:
    text = " ".join(page.read_text("utf-8").split())
    for name in re.findall(r"python (?:-P )?-m ([\w.]+)", text):
        if name.split(".")[0] in ("tests", "docs", "underpaint"):
            assert importlib.util.find_spec(name), name
    for name in re.findall(r"python ((?:tests|infra|docs)/[\w/.]+)", text):
        assert (ROOT / name).is_file(), name


def test_tests_that_it_names_exist(page: Path) -> None:
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", page.read_text("utf-8")):
        assert f"def {name}(" in sources, name


def test_commands_that_it_shows_are_understood(page: Path) -> None:
    text = page.read_text("utf-8").replace("\\\n", " ")
    for block in re.findall(r"^ *```sh\n(.*?)```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line.replace("$options", ""), comments=True)
            if words[:1] == ["underpaint"]:
                arguments = [word.replace("DIGEST", "0" * 64) for word in words[1:]]
                known, rest = build_parser().parse_known_args(arguments)
                assert not rest or hasattr(known, "beam_options"), line


def _anchors(text: str) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
