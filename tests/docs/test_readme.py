"""The README keeps its word: its Python runs, and its shell commands exist."""

import re
from pathlib import Path

import pytest
from skimage import data

from underpaint import Codec
from underpaint.codec.archive import ArchiveWriter, Row, publish
from underpaint.pipelines.cli.main import build_parser

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_example_runs(tmp_path, monkeypatch):
    codec = Codec.load()
    picture = data.astronaut()[:64, :96]
    [layers] = codec.encode([picture])
    folder = str(tmp_path / "ARCHIVE")
    with ArchiveWriter(
        folder, "unit", layers=codec.layer_names, weights_id=codec.weights_id
    ) as writer:
        writer.add(Row(key="a", layers=layers, width=96, height=64))
    publish(folder)
    monkeypatch.chdir(tmp_path)
    [example] = _blocks("python")
    names: dict = {"picture": picture}
    exec(compile(example, "README.md", "exec"), names)
    assert names["layers"] == layers
    assert names["small"].shape == picture.shape
    assert names["state"].class_map.shape == (4, 6)
    assert [sample["key"] for sample in names["samples"]] == ["a"]


def test_every_command_of_the_readme_is_understood():
    blocks = [block.replace("\\\n", " ") for block in _blocks("sh")]
    lines = [line.split("#")[0].split() for block in blocks for line in block.splitlines()]
    commands = [words[1:] for words in lines if words[:1] == ["underpaint"]]
    assert len(commands) >= 6
    for words in commands:
        build_parser().parse_known_args(words)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_somewhere(link):
    assert link.startswith("https://") or (ROOT / link).exists()


def test_scripts_of_the_readme_exist():
    for script in re.findall(r"^sh (\S+)", "\n".join(_blocks("sh")), re.MULTILINE):
        assert (ROOT / script).is_file()
