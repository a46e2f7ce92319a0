"""Prefixes of keys of input folders, over several runs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import fsspec
import pytest

from underpaint.transforms.sources.files import Inputs
from underpaint.transforms.sources.roots import key_prefixes


def after(*runs: Sequence[str]) -> dict[str, str]:
    """Prefixes of all folders after some runs, each with its inputs."""
    known: dict[str, str] = {}
    for inputs in runs:
        for order in itertools.permutations(inputs):
            found = key_prefixes(order, known)
            assert found == key_prefixes(inputs, known)
            assert key_prefixes(order, known | found) == found  # the same command again
        known = known | found
    return known


@pytest.mark.parametrize("root", ["/data", "gs://bucket/data", "s3://bucket", "memory://data"])
@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([["2019"]], {"2019": ""}),
        ([["2019/"], ["2020"], ["2019"]], {"2019": "", "2020": "2020/"}),
        ([["2019", "2020"]], {"2019": "2019/", "2020": "2020/"}),
        ([["2019"], ["2019/may/rome"]], {"2019": "", "2019/may/rome": "may/rome/"}),
        (
            [["2019"], ["2020"], ["2020/may"]],
            {"2019": "", "2020": "2020/", "2020/may": "2020/may/"},
        ),
        ([["p/2019"], ["p"], ["p/2020"]], {"p/2019": "", "p": "", "p/2020": "2020/"}),
        ([["x"], ["p/2019"], ["p"]], {"x": "", "p/2019": "2019/", "p": ""}),
        ([["x"], ["p"], ["q/p"], ["q"]], {"x": "", "p": "p/", "q/p": "p-#/", "q": ""}),
        ([["x"], ["p/a", "q/a"]], {"x": "", "p/a": "p/a/", "q/a": "q/a/"}),
        ([["p", "p/2019"]], {"p": "", "p/2019": "2019/"}),
        ([["cats", "dogs"], ["birds"]], {"cats": "cats/", "dogs": "dogs/", "birds": "birds/"}),
        ([["a%b c", "d"]], {"a%b c": "a%b c/", "d": "d/"}),
    ],
)
def test_prefixes(root: str, runs: list[list[str]], expected: Mapping[str, str]) -> None:
    found = after(*([f"{root}/{folder}" for folder in run] for run in runs))
    assert set(found) == {f"{root}/{folder}" for folder in expected}
    for folder, prefix in expected.items():
        begin, _, end = prefix.partition("#")
        got = found[f"{root}/{folder}"]
        assert got.startswith(begin)
        assert got.endswith(end)
        assert ("#" in prefix) == (
            got not in (begin, f"{folder.rsplit('/', 1)[-1]}/") and "-" in got
        )


def test_a_folder_whose_name_is_taken_gets_a_hash() -> None:
    first = after(["/a"], ["/p/a"], ["/q/a"], ["/r/a"])
    assert first["/a"] == ""
    assert first["/p/a"] == "a/"
    assert first["/q/a"].startswith("a-")
    assert len(set(first.values())) == 4
    assert after(["/a"], ["/p/a"], ["/r/a"])["/r/a"] == first["/r/a"]


def keys(*inputs: object, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Address -> key of the files of some inputs."""
    return {found.uri: found.key for found in Inputs(map(str, inputs), known or {}).find()}


def test_a_folder_and_a_glob_below_it_agree(tmp_path: Path) -> None:
    for year in ("2019", "2020"):
        (tmp_path / year).mkdir()
        (tmp_path / year / "1.jpg").touch()
    one, two = (str(tmp_path / year / "1.jpg") for year in ("2019", "2020"))
    known = Inputs([f"{tmp_path}/2019/"], {}).folders
    assert known == {f"{tmp_path}/2019": ""}
    for pattern in ("*.jpg", "1.jpg", "?.jpg", "", ".", "./1.jpg", "..//{}/*"):
        assert keys(f"{tmp_path}/2019/{pattern.format(2019)}") == {one: "1.jpg"}
        later = f"{tmp_path}/2020/{pattern.format(2020)}"
        assert keys(later, known=known) == {two: "2020/1.jpg"}
    assert keys(f"{tmp_path}/*/*.jpg", known=known) == {one: "2019/1.jpg", two: "2020/1.jpg"}


def test_folders_of_a_store(tmp_path: Path) -> None:
    fs = fsspec.filesystem("memory")
    for year in ("2019", "2020"):
        fs.pipe(f"/{tmp_path.name}/{year}/1.jpg", b"x")
    root = f"memory://{tmp_path.name}"
    known = Inputs([f"{root}/2019/"], {}).folders
    assert list(known.values()) == [""]
    assert known == Inputs([f"{root}/2019"], known).folders
    for text in (f"{root}/2020", f"{root}/2020/", f"{root}/2020/*.jpg"):
        assert list(keys(text, known=known).values()) == ["2020/1.jpg"]
    assert sorted(keys(root, known=known).values()) == ["2019/1.jpg", "2020/1.jpg"]


def test_folders_within_other_inputs_are_listed_once(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "a/b/2.jpg", "a/.c/3.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for inputs in (("a", "a/b"), ("a/b", "a"), ("a", "a", "a/"), ("a", "a/b", "a/b")):
        found = [f for f in Inputs(f"{tmp_path}/{name}" for name in inputs).find() if not f.skipped]
        assert sorted(each.key for each in found) == ["1.jpg", "b/2.jpg"]
    found = [f for f in Inputs([f"{tmp_path}/a", f"{tmp_path}/a/.c"]).find() if not f.skipped]
    assert sorted(each.key for each in found) == [".c/3.jpg", "1.jpg", "b/2.jpg"]


def test_a_linked_folder_is_the_known_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / "disk"
    for year in ("2019", "2020"):
        (disk / year).mkdir(parents=True)
        (disk / year / "1.jpg").touch()
    link = tmp_path / "link"
    link.symlink_to(disk)
    one, two = f"{link}/2019/1.jpg", f"{link}/2020/1.jpg"
    known = Inputs([str(link / "2019")], {}).folders
    assert keys(disk / "2019", known=known) == {one: "1.jpg"}
    assert keys(disk / "2019" / "1.jpg", known=known) == {one: "1.jpg"}
    assert keys(disk / "2019" / "*.jpg", known=known) == {one: "1.jpg"}
    assert keys(disk, known=known) == {one: "2019/1.jpg", f"{disk}/2020/1.jpg": "2020/1.jpg"}
    assert keys(link, known=known) == {one: "2019/1.jpg", two: "2020/1.jpg"}
    monkeypatch.chdir(link)  # the working folder has no links in its path
    assert keys("2019", known=known) == {one: "1.jpg"}
    assert keys(".", known=known)[one] == "2019/1.jpg"
