"""Inputs are rows, dead letters or skipped files, each counted and shown."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data

from tests.helpers.pictures import underpaint
from tests.helpers.shards import tar_of, zip_of
from underpaint.codec.archive import Archive
from underpaint.codec.archive.tools.trim import trim


def png(number: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(data.astronaut()[number : number + 32, :48]).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three pictures, one of them without a suffix; a broken one; six files of other kinds."""
    folder = tmp_path / "corpus"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.png").write_bytes(png(0))
    (folder / "sub" / "without-suffix").write_bytes(png(1))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    for name in ("a.txt", "b.txt", "clip.mov", ".hidden"):
        (folder / name).write_bytes(b"no picture")
    with tarfile.open(folder / "shard.tar", "w") as tar:
        for name, content in (("x.png", png(2)), ("._x.png", b"fork"), ("notes.mov", b"film")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return folder


SKIPPED = {".mov": 2, ".txt": 2, "dot file": 1, "macOS ._ file": 1}


def test_skipped_files_are_counted_and_shown(
    corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "archive"
    assert underpaint("encode", corpus, "--output", archive, "--max-failed", "50%") == 0
    told = capfd.readouterr()
    assert "skipped 6: .mov 2, .txt 2, dot file 1, macOS ._ file 1" in told.err
    statistics = Archive.open(archive).statistics()
    assert (statistics.images, statistics.failed, statistics.skipped) == (3, 1, SKIPPED)
    report = json.loads((archive / "job.json").read_text())
    assert report["archive"]["skipped"] == SKIPPED == report["counts"]["skipped"]
    assert underpaint("inspect", archive, "--json") == 0
    assert json.loads(capfd.readouterr().out)["skipped"] == SKIPPED
    assert underpaint("inspect", archive) == 0
    assert "skipped 6: .mov 2" in capfd.readouterr().out


def test_a_second_run_and_a_retry_count_nothing_twice(
    corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "archive"
    command = ("encode", corpus, "--output", archive, "--max-failed", "50%")
    assert underpaint(*command) == 0
    capfd.readouterr()
    assert underpaint(*command) == 0
    assert "nothing to do" in capfd.readouterr().out
    assert Archive.open(archive).statistics().skipped == SKIPPED
    assert underpaint(*command, "--retry-failed") == 0
    assert Archive.open(archive).statistics().skipped == SKIPPED
    (corpus / "a.txt").unlink()
    assert underpaint(*command) == 0
    assert Archive.open(archive).statistics().skipped == SKIPPED | {".txt": 1}
    assert underpaint("verify", archive) == 0


def test_skipped_files_fail_a_strict_job(corpus: Path, tmp_path: Path) -> None:
    command = ("encode", corpus, "--output", tmp_path / "archive", "--max-failed", "50%")
    assert underpaint(*command, "--strict") == 1
    assert underpaint(*command) == 0


def test_a_trimmed_archive_keeps_the_counts(corpus: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    underpaint("encode", corpus, "--output", archive, "--max-failed", "50%")
    trim(archive, tmp_path / "trimmed", 2)
    assert Archive.open(tmp_path / "trimmed").statistics().skipped == SKIPPED


def test_shards_and_folders_of_one_name_have_keys_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    (folder / "cats").mkdir(parents=True)
    (folder / "cats" / "x.png").write_bytes(png(0))
    with (
        tarfile.open(folder / "cats.tar", "w") as tar,
        zipfile.ZipFile(folder / "cats.zip", "w") as archive_file,
    ):
        member = tarfile.TarInfo("x.png")
        member.size = len(png(1))
        tar.addfile(member, io.BytesIO(png(1)))
        archive_file.writestr("x.png", png(2))
    with tarfile.open(folder / "dogs.tar", "w") as tar:
        tar.addfile(member, io.BytesIO(png(1)))
    archive = tmp_path / "archive"
    assert underpaint("encode", folder, "--output", archive) == 0
    assert sorted(Archive.open(archive).keys()) == [
        "cats.tar/x.png", "cats.zip/x.png", "cats/x.png", "dogs/x.png",
    ]  # fmt: skip
    assert underpaint("verify", archive) == 0


def test_shards_without_records_are_counted_as_skipped(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, tables = tmp_path / "corpus", tmp_path / "tables"
    folder.mkdir()
    tables.mkdir()
    (folder / "a.png").write_bytes(png(0))
    tarfile.open(folder / "a.tar", "w").close()
    tarfile.open(folder / "b.tgz", "w:gz").close()
    zipfile.ZipFile(folder / "c.zip", "w").close()
    (folder / "d.tfrecord").write_bytes(b"")
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), tables / "e.parquet")
    pq.write_table(pa.table({"url": pa.array([], pa.string())}), tables / "f.parquet")
    (tables / "g.csv").write_text("url,cls\n")
    (tables / "h.jsonl").write_text("")
    archive = tmp_path / "archive"
    command = ("encode", folder, *sorted(tables.iterdir()), "--output", archive)
    command += ("--workers", 1)
    for _ in range(2):
        assert underpaint(*command) == 0
        assert "skipped 8: empty shard 8" in capfd.readouterr().err
        statistics = Archive.open(archive).statistics()
        assert (statistics.images, statistics.failed) == (1, 0)
        assert statistics.skipped == {"empty shard": 8}
    assert underpaint("verify", archive) == 0


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.tar", "a.zip"])
def test_an_input_without_records_is_called_so(
    corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(pa.table({"image": pa.array([], pa.binary())}), path)
    else:
        contents = {"a.csv": b"url,cls\n", "a.tar": tar_of({}), "a.zip": zip_of({})}
        path.write_bytes(contents[name])
    assert underpaint("encode", path, "--output", tmp_path / "new") == 0
    said = capfd.readouterr().out
    assert "nothing to do: the inputs hold no pictures (1 input without records)" in said
    (corpus / "broken.jpg").unlink()
    assert underpaint("encode", corpus, "--output", tmp_path / "a") == 0
    capfd.readouterr()
    assert underpaint("encode", path, "--output", tmp_path / "a") == 0
    said = capfd.readouterr().out
    assert "nothing to do: 1 input without records; the archive holds all others" in said
    assert underpaint("encode", path, "--output", tmp_path / "a") == 0
    assert "nothing to do: the archive holds these inputs already" in capfd.readouterr().out


def test_files_of_underpaint_are_not_encoded_again(
    corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (corpus / "broken.jpg").unlink()
    assert underpaint("encode", corpus, "--output", tmp_path / "a") == 0
    assert "Pillow opens them" not in capfd.readouterr().err
    said = ("export", tmp_path / "a", "--as", "folder", "--format", "underpaint")
    assert underpaint(*said, "--output", corpus / "exported") == 0
    count = len(list(corpus.rglob("*.underpaint")))
    assert count == 3
    assert underpaint("encode", corpus, "--output", tmp_path / "b") == 0
    assert "encoded already: .underpaint files hold layers" in capfd.readouterr().err
    assert Archive.open(tmp_path / "b").statistics().skipped["encoded already"] == count
