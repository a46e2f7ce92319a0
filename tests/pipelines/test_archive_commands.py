"""`trim`, `merge`, `compact`, `export`, `view` and `search` on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.galleries import make_gallery
from tests.helpers.pictures import encode, make_photos, underpaint
from underpaint.codec.archive import Archive, ArchiveWriter, Row, publish
from underpaint.codec.codec import Codec
from underpaint.pipelines.cli.main import main


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archives")
    codec = Codec.load()
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        with ArchiveWriter(
            root / name, name, layers=codec.layer_names, weights_id=codec.weights_id
        ) as writer:
            pixels = rng.integers(0, 256, (18, 20, 3), np.uint8)
            (stream,) = codec.encode([pixels])
            writer.add(Row(f"{name}.jpg", stream, 20, 18))
        publish(str(root / name))
    return root


def test_trim(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trim", str(root / "one"), "--layers", "2", "--output", str(tmp_path / "t")]) == 0
    assert "1 picture, 2 of" in capsys.readouterr().out
    assert len(Archive.open(tmp_path / "t").layer_names) == 2
    assert main(["trim", str(root / "one"), "--layers", "99", "--output", str(tmp_path)]) == 2
    assert "layers: 99; the archive has layers 1 to" in capsys.readouterr().err


def test_merge(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = [str(root / "one"), str(root / "two")]
    assert main(["merge", *sources, "--output", str(tmp_path / "m")]) == 0
    assert "2 pictures of 2 archives" in capsys.readouterr().out
    assert sorted(Archive.open(tmp_path / "m").keys()) == ["one.jpg", "two.jpg"]
    assert main(["merge", str(tmp_path), "--output", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["merge", sources[0], sources[0], "--output", str(tmp_path / "x")]) == 2
    assert "given 2 times; name each archive once" in capsys.readouterr().err


def test_an_archive_that_is_not_published_yet_says_so(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(root / "one", tmp_path / "stopped")
    (tmp_path / "stopped" / "manifest.json").unlink()
    assert main(["inspect", str(tmp_path / "stopped")]) == 2
    assert "stopped and continues when its command is given again" in capsys.readouterr().err


def test_compact_and_the_files_beside_an_archive(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = str(tmp_path / "both")
    assert main(["merge", str(root / "one"), str(root / "two"), "--output", both]) == 0
    assert main(["compact", both, "--keep"]) == 0
    assert "2 pictures in 1 data file of" in capsys.readouterr().out
    assert main(["verify", both]) == 0
    out = capsys.readouterr().out
    assert "2 pictures, 12 layers good, 0 damages" in out
    assert "beside the archive, such as data/one-" in out
    assert main(["compact", both]) == 0
    assert "joined 0 of 1, deleted 2" in capsys.readouterr().out
    assert main(["sweep", both, "--older-than", "0"]) == 0
    capsys.readouterr()
    assert main(["verify", both]) == 0
    assert "beside the archive" not in capsys.readouterr().out
    assert main(["compact", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_page_shows_a_sample_of_all_pictures(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(root / "one"), "--html", str(tmp_path / "page"), "--limit", "1"]
    assert main(command) == 2
    assert "--html: choose no rows" in capsys.readouterr().err


def test_inspect_lists_the_keys(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(root / "one"), "--keys"]) == 0
    assert capsys.readouterr().out.splitlines() == ["one.jpg"]
    assert main(["inspect", str(root / "two"), "--keys", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["keys"] == ["two.jpg"]


def test_a_key_that_is_not_there_is_answered_with_one_that_is(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", str(root / "one"), "none.jpg"]) == 2
    assert "no picture 'none.jpg'; the first key is 'one.jpg'" in capsys.readouterr().err


def test_decode_counts_the_pixels_that_it_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codec = Codec.load()
    pixels = np.random.default_rng(0).integers(0, 256, (1000, 1600, 3), np.uint8)
    (stream,) = codec.encode([pixels], layers=1, sizes=(256,))
    with ArchiveWriter(
        tmp_path / "a", "a", layers=codec.layer_names[:1], weights_id=codec.weights_id,
        sizes=(256, 0),
    ) as writer:  # fmt: skip
        writer.add(Row("wide.jpg", stream, 1600, 1000))
    publish(str(tmp_path / "a"))
    command = ["decode", str(tmp_path / "a"), "--output", str(tmp_path / "out"), "--size", "256"]
    assert main([*command, "--no-refine"]) == 0
    assert "1 picture, 0.40 Mpx" in capsys.readouterr().out  # of 800 x 500; 400 x 250 is too small


def test_export(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = ["export", str(root / "one"), "--output", str(out), "--as", "folder", "--layers", "1"]
    assert main([*command, "--format", "webp"]) == 0
    assert "1 picture in 2 files" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"one%2Ejpg.webp", "metadata.jsonl"}
    assert main(command) == 2
    assert "the folder is not empty" in capsys.readouterr().err


def test_files_of_earlier_exports_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ArchiveWriter(tmp_path / "archive", "u", layers=("a",), weights_id="w" * 16) as writer:
        for key in ("a", "in/b", "in/c", "d"):
            writer.add(Row(key, (b"layer",), 8, 8))
    publish(str(tmp_path / "archive"))
    command = ["export", str(tmp_path / "archive"), "--format", "underpaint", "--overwrite"]
    for form, told in (
        (
            ["--as", "folder"],
            "warning: OUT: left there of earlier runs: 3 files, such as d.underpaint, which "
            "metadata.jsonl does not list; remove what you do not want, or export to an empty "
            "folder\n",
        ),
        (
            ["--shard-size", "1"],
            "warning: OUT: left there of earlier runs: 3 files, such as shard-000001.tar; remove "
            "what you do not want, or export to an empty folder\n",
        ),
    ):
        out = tmp_path / form[0]
        out.mkdir()
        for mine in ("notes.txt", "my.photo.png"):
            (out / mine).write_text("mine")
        exporting = [*command, *form, "--output", str(out)]
        assert main(exporting) == 0
        assert main(exporting) == 0
        assert capsys.readouterr().err == ""
        assert main([*exporting, "--limit", "1"]) == 0
        assert capsys.readouterr().err == told.replace("OUT", str(out))


@pytest.mark.slow
def test_view(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert main(["view", str(root / "one"), "one.jpg", "--html", str(page)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 + len(Archive.open(root / "one").layer_names)
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    strip = tmp_path / "strip.png"
    assert main(["view", str(root / "one"), "--picture", str(strip)]) == 0
    with Image.open(strip) as picture:
        assert picture.width > 6 * 300
        assert len(set(picture.getdata())) > 100
    assert main(["view", str(root / "one"), "none.jpg"]) == 2
    assert "no picture 'none.jpg'" in capsys.readouterr().err


def test_verify_repairs_into_a_new_archive(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(root / "one", damaged)
    assert main(["verify", str(damaged), "--repair"]) == 2
    assert "go together" in capsys.readouterr().err
    (damaged / "manifest.json").unlink()
    command = ["verify", str(damaged), "--repair", "--output"]
    assert main([*command, str(tmp_path / "first")]) == 0
    out = capsys.readouterr().out
    assert "kept 1 picture whole" in out
    assert "first: 1 picture, 6 layers good, 0 damages" in out
    [row] = Archive.open(tmp_path / "first").rows()
    path = next((damaged / "data").iterdir())
    data = bytearray(path.read_bytes())
    data[data.index(row.layers[4]) + 20] ^= 1
    path.write_bytes(data)
    assert main([*command, str(tmp_path / "second")]) == 1
    out = capsys.readouterr().out
    assert "picture 'one.jpg' from layer 5" in out
    assert "cut 1 picture back to good layers, lost 0" in out
    assert "second: 1 picture, 4 layers good, 0 damages" in out
    [cut] = Archive.open(tmp_path / "second").rows()
    assert cut.layers == row.layers[:4]
    assert main([*command, str(tmp_path / "second")]) == 2
    assert "holds an archive already" in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "no"), "--repair", "--output", str(tmp_path / "x")]) == 2


def test_decode_and_export_choose_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = make_photos(tmp_path / "photos", 4)
    root = tmp_path / "archive"
    assert encode(tmp_path / "photos", "--output", root) == 0
    archive = Archive.open(root)
    assert len(archive) == len(photos)
    keys = list(archive.keys())
    (tmp_path / "keys.txt").write_text(f"\ufeff{keys[2]}\r\n{keys[0]}\n", "utf-8")
    width = min(row.width for row in archive)
    wide = [row.key for row in archive if row.width > width]
    choices = {
        "key": (["--key", keys[1]], keys[1:2]),
        "file": (["--keys-file", tmp_path / "keys.txt", "--key", keys[1]], keys[:3]),
        "where": (["--where", f"width > {width}"], wide),
        "field": (["--where", f"field('width') > {width}"], wide),
        "both": (["--where", f"width > {width}", "--key", wide[0], "--key", keys[0]], wide[:1]),
        "limit": (["--where", f"width > {width}", "--limit", 1], wide[:1]),
    }
    for name, (options, expected) in choices.items():
        output = tmp_path / name
        decoding = ["--layers", 1, "--no-refine", "--workers", 1]
        assert underpaint("decode", root, "--output", output, *options, *decoding) == 0
        assert len([path for path in output.rglob("*") if path.is_file()]) == len(expected)
        assert underpaint(
            "export", root, "--output", tmp_path / f"{name}-x", "--as", "folder", "--format",
            "layers", "--layers", 1, *options,
        ) == 0  # fmt: skip
        lines = (tmp_path / f"{name}-x" / "metadata.jsonl").read_text().splitlines()
        assert [json.loads(line)["key"] for line in lines] == expected
    capsys.readouterr()
    for command in (["decode", "--workers", 1], ["export", "--as", "folder"]):
        nothing = "--output", tmp_path / f"nothing-{command[0]}", "--where", "key == 'zzz'"
        assert underpaint(*command, root, *nothing) == 0
        assert "no picture matches; values are compared exactly" in capsys.readouterr().err
    for mistake, message in {
        ("--key", "nowhere"): "no picture 'nowhere'",
        ("--keys-file", str(tmp_path / "no.txt")): "No such file",
        ("--where", "width >"): "not an expression",
        ("--where", "nothing == 1"): "no column 'nothing'",
        ("--where", "field('no such') == 1"): "no column 'no such'",
        ("--limit", "0"): "--limit",
    }.items():
        assert underpaint("decode", root, "--output", tmp_path / "none", *mistake) == 2
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error
        assert not (tmp_path / "none").exists()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with embeddings; the keys of rows 20 and later are their numbers."""
    return make_gallery(tmp_path_factory.mktemp("embedded") / "archive", 24, distinct=1)


def test_pairs_of_like_pictures_come_most_similar_first(
    embedded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["search", str(embedded), "--duplicates", "0.9", "--json"]) == 0
    pairs = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    cosines = [pair["similarity"] for pair in pairs]
    assert len(set(cosines)) > 10
    assert cosines == sorted(cosines, reverse=True)
    assert {pair["key"] for pair in pairs} | {pair["like"] for pair in pairs} == set(
        Archive.open(embedded).keys()
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--like", "000023.jpg", "--embedding", "nosuch"), "--embedding: no effect on a picture"),
        (("--like", "000023.jpg", "--weights", "fidelity"), "--weights: no effect on a picture"),
        (("--duplicates", "0.9", "--count", "3"), "--count: no effect with --duplicates"),
        (("--duplicates", "0.9", "--weights", "x"), "--weights: no effect with --duplicates"),
    ],
)
def test_options_that_a_search_does_without_are_refused(
    words: tuple[str, ...],
    told: str,
    embedded: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    assert main(["search", str(embedded), *words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"underpaint: {told}")
