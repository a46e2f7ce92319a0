"""Original files that an archive keeps come out as they went in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from underpaint.codec.archive import Archive, ArchiveWriter, Damage, Row, publish
from underpaint.codec.archive.tools.originals import export_originals
from underpaint.codec.errors import ArchiveDamaged, UsageError
from underpaint.pipelines.cli.main import main

FILES = {"a.jpg": b"one", "below/IMG_2023.05.01.JPG": b"two", "A.JPG": b"three", "plain": b"four"}


def write(root: Path, files: Mapping[str, bytes | None], *, wrong: str = "") -> None:
    with ArchiveWriter(
        root, "unit", layers=("a",), weights_id="w" * 16, keep_source=True
    ) as writer:
        for key, content in files.items():
            digest = hashlib.sha256(b"other" if key == wrong else content or b"").digest()
            writer.add(Row(key, (b"layer",), 8, 8, source_sha256=digest, source=content))
    publish(str(root))


def test_originals_come_back_under_their_names(tmp_path: Path) -> None:
    write(tmp_path / "archive", FILES)
    done = export_originals(tmp_path / "archive", tmp_path / "out")
    found = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    # a second name that some file systems take for the first is numbered
    assert found == {"A-2.JPG" if key == "A.JPG" else key: data for key, data in FILES.items()}
    assert (done.images, done.bytes) == (4, sum(map(len, FILES.values())))


def test_what_cannot_be_written_is_named_and_the_rest_is(tmp_path: Path) -> None:
    files = {**FILES, "../up.jpg": b"five", "none.jpg": None}
    write(tmp_path / "archive", files, wrong="a.jpg")
    lost: list[Damage] = []
    export_originals(tmp_path / "archive", tmp_path / "out", on_damage=lost.append)
    assert {(damage.key, damage.reason) for damage in lost} == {
        ("a.jpg", "the stored original does not match its SHA-256"),
        ("../up.jpg", "the key has the part '..', which is no name of a file or folder"),
        ("none.jpg", "its original was not stored"),
    }
    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) == 3
    assert not (tmp_path / "up.jpg").exists()
    with pytest.raises(ArchiveDamaged, match=r"a\.jpg.*SHA-256"):
        export_originals(tmp_path / "archive", tmp_path / "other")


def test_originals_without_a_place_are_not_called_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "archive", {"a.jpg": b"one", "../up.jpg": b"two", "/b.jpg": b"three"})
    command = ["export", str(tmp_path / "archive"), "--original", "--output"]
    assert main([*command, str(tmp_path / "out")]) == 1
    assert capsys.readouterr().out.splitlines()[1:] == ["left out 2"]
    write(tmp_path / "torn", {"a.jpg": b"one", "../up.jpg": b"two"}, wrong="a.jpg")
    command[1] = str(tmp_path / "torn")
    assert main([*command, str(tmp_path / "second")]) == 1
    assert capsys.readouterr().out.splitlines()[1:] == ["damaged 1", "left out 1"]


def test_a_folder_that_holds_folders_only_is_not_empty(tmp_path: Path) -> None:
    write(tmp_path / "archive", {"a/one.jpg": b"one"})
    export_originals(tmp_path / "archive", tmp_path / "out")
    with pytest.raises(UsageError, match="out: the folder is not empty"):
        export_originals(tmp_path / "archive", tmp_path / "out")


def test_no_layer_is_read(tmp_path: Path) -> None:
    big = Row("a", (bytes(1 << 20),), 8, 8, source=b"small")
    with ArchiveWriter(
        tmp_path / "archive", "u", layers=("a",), weights_id="w" * 16, keep_source=True
    ) as writer:
        writer.add(big)
    publish(str(tmp_path / "archive"))
    archive = Archive.open(tmp_path / "archive")
    list(archive.row_groups(["key", "source"]))
    assert archive.traffic.fetched < 1 << 16


def test_an_archive_without_originals_says_how_to_get_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ArchiveWriter(tmp_path / "archive", "u", layers=("a",), weights_id="w" * 16) as writer:
        writer.add(Row("a", (b"layer",), 8, 8))
    publish(str(tmp_path / "archive"))
    with pytest.raises(UsageError, match="holds no original files"):
        export_originals(tmp_path / "archive", tmp_path / "out")
    command = ["export", str(tmp_path / "archive"), "--output", str(tmp_path / "out")]
    assert main([*command, "--original"]) == 2
    told = capsys.readouterr().err
    assert "encode --keep-source" in told
    assert told.count("\n") == 1
