"""File names of decoded pictures: one each, below the output folder, as the key says."""

from __future__ import annotations

import posixpath
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from underpaint import Codec
from underpaint.codec.archive import ArchiveWriter, Row, publish
from underpaint.codec.archive.tools.output_names import LONGEST_PART, OutputNames, unusable
from underpaint.pipelines.cli.main import main


def test_names_are_stems_and_a_second_one_keeps_its_extension() -> None:
    names = OutputNames(".png")
    keys = ["a/x.jpg", "a/x.png", "b/x.jpg", "a/x.webp", "a/x.png.jpg", "A/X.jpg", "a/noext"]
    assert [names.name(key) for key in keys] == [
        "a/x.png",
        "a/x.png.png",
        "b/x.png",
        "a/x.webp.png",
        "a/x.png.jpg.png",
        "A/X.jpg.png",
        "a/noext.png",
    ]


@pytest.mark.parametrize(
    "key",
    ["../x.jpg", "a/../../x.jpg", "/etc/passwd", "a//b.jpg", "..\\x.jpg", "C:/x.jpg", ".", "a/.",
     "C:x.jpg", "a/" + "n" * 300 + ".jpg"],
)  # fmt: skip
def test_keys_that_lead_elsewhere_are_refused(key: str) -> None:
    assert OutputNames(".png").name(key) is None


@settings(deadline=None)
@given(st.lists(st.text(alphabet="ab./\\:A", max_size=8), unique=True))
def test_names_are_distinct_and_stay_below(keys: list[str]) -> None:
    names = OutputNames(".png")
    found = [name for key in keys if (name := names.name(key)) is not None]
    assert len({name.casefold() for name in found}) == len(found)
    for name in found:
        assert posixpath.normpath(name) == name
        assert ".." not in name.split("/")
        assert not name.startswith("/")


def _archive(root: Path, keys: list[str]) -> None:
    codec = Codec.load()
    streams = codec.encode([np.full((16, 16, 3), 9, np.uint8)] * len(keys), layers=1)
    with ArchiveWriter(
        root, "u", layers=codec.layer_names, weights_id=codec.weights_id, keep_source=True
    ) as writer:
        for key, layers in zip(keys, streams, strict=True):
            writer.add(Row(key, layers, 16, 16, source=b"original"))
    publish(root)


def test_pictures_do_not_follow_a_link_out_of_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _archive(tmp_path / "archive", ["good.jpg", "link/deep/er/evil.jpg"])
    for folder in ("out", "elsewhere"):
        (tmp_path / folder).mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    arguments = ["decode", tmp_path / "archive", "--output", tmp_path / "out", "--workers", "1"]
    arguments.append("--overwrite")
    assert main([str(argument) for argument in arguments]) == 1
    told = capsys.readouterr()
    assert "leads out of the output folder by a link: left out" in told.err
    assert told.out.splitlines()[1:] == ["left out 1"]
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (tmp_path / "out" / "good.png").is_file()


@pytest.mark.parametrize("options", [["--as", "folder"], ["--original"], ["--html"]])
def test_exports_do_not_follow_a_link_out_of_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    _archive(tmp_path / "archive", ["pictures/evil.jpg"])
    for folder in ("out", "elsewhere"):
        (tmp_path / folder).mkdir()
    (tmp_path / "out" / "pictures").symlink_to(tmp_path / "elsewhere")
    command = ["export", str(tmp_path / "archive"), "--overwrite"]
    command += options if options == ["--html"] else [*options, "--output"]
    assert main([*command, str(tmp_path / "out")]) == 2
    assert "leads out of this folder by a link; remove the link" in capsys.readouterr().err
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("letter", ["n", "é", "写", "\U0001f5bc"])
def test_the_longest_names_are_written(tmp_path: Path, letter: str) -> None:
    name = letter * (LONGEST_PART // len(letter.encode()))
    _archive(tmp_path / "archive", [name])
    for command in (["decode"], ["export", "--original"]):
        out = tmp_path / command[0]
        words = [*command, str(tmp_path / "archive"), "--output", str(out)]
        assert main(words) == 0
        [path] = out.iterdir()
        assert path.name == name + (".png" if command == ["decode"] else "")


def test_a_picture_in_the_way_of_another_costs_that_one_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _archive(tmp_path / "archive", ["a.jpg", "a.png/b.jpg", "c.jpg"])
    arguments = ["decode", tmp_path / "archive", "--output", tmp_path / "out", "--workers", "1"]
    assert main([str(argument) for argument in arguments]) == 1
    told = capsys.readouterr()
    assert "'a.png/b.png' is in the way of another picture: left out" in told.err
    assert told.out.splitlines()[1:] == [f"left out 1{HINT.format(1)}"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]


HINT = "; `underpaint export --as folder` writes {} of them, under names for any key"


def test_keys_that_are_no_paths_are_left_out_and_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = ["../a.jpg", "/b.jpg", "c//d.jpg", "good.jpg", "long/" + "n" * (LONGEST_PART + 1)]
    _archive(tmp_path / "archive", keys)
    archive, out = str(tmp_path / "archive"), tmp_path / "out"
    assert main(["decode", archive, "--output", str(out), "--workers", "1"]) == 1
    told = capsys.readouterr()
    assert told.out.splitlines()[1:] == [f"left out 4{HINT.format(4)}"]
    assert told.err.count(": left out\n") == 4
    assert [path.name for path in out.iterdir()] == ["good.png"]
    latents = ["decode", archive, "--output", str(tmp_path / "latents"), "--format", "latents"]
    assert main([*latents, "--workers", "1"]) == 1
    assert capsys.readouterr().out.splitlines()[1:] == ["left out 4"]
    exported = tmp_path / "exported"
    assert main(["export", archive, "--output", str(exported), "--as", "folder"]) == 0
    assert len(list(exported.rglob("*.png"))) == len(keys)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("t/dup/../esc.jpg", "the part '..'"),
        ("../esc.jpg", "the part '..'"),
        ("a/./b.jpg", "the part '.'"),
        ("a\\\\..\\\\b.jpg", "an empty part"),
        ("a//b.jpg", "an empty part"),
        ("/a.jpg", "an empty part"),
        ("c:/a.jpg", "the letter of a drive"),
        ("a\0.jpg", "a zero byte"),
        (f"a/{'x' * (LONGEST_PART + 1)}", f"longer than the {LONGEST_PART} bytes"),
        ("t/dup/..esc.jpg", ""),
        ("cc:/a b.jpg", ""),
    ],
)
def test_a_key_without_a_name_says_why(key: str, said: str) -> None:
    assert (OutputNames(".png").name(key) is None) == bool(said)
    assert said in unusable(key)
    assert bool(unusable(key)) == bool(said)
