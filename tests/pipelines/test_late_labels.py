"""A label that appears late becomes a column, and no picture is lost for one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers.pictures import underpaint
from tests.helpers.shards import field, jpeg, record, tar_of
from underpaint.codec.archive import Archive

Labels = dict[str, dict[str, Any]]


def encode(output: Path, *inputs: object, status: int = 0) -> None:
    assert underpaint("encode", *inputs, "--output", output, "--workers", "1") == status


def labels_of(archive: Path) -> Labels:
    return {row.key.rpartition("/")[2]: dict(row.labels) for row in Archive.open(archive).rows()}


def tar(path: Path, labels: list[dict[str, bytes]]) -> Path:
    """A tar with one sample for each dict of labels, whose members are named by their place."""
    files: dict[str, bytes] = {}
    for number, values in enumerate(labels):
        files[f"{number:04}.jpg"] = jpeg(number, 40, 30)
        files |= {f"{number:04}.{name}": value for name, value in values.items()}
    path.write_bytes(tar_of(files))
    return path


def tfrecord(path: Path, scores: list[list[int] | list[float] | None]) -> Path:
    """A TFRecord file with a feature `score` of the type of its values."""

    def example(number: int, score: list[Any] | None) -> bytes:
        features = {"image/encoded": field(1, field(1, jpeg(number, 40, 30)))}
        if score and isinstance(score[0], float):
            features["score"] = field(2, field(1, np.float32(score).tobytes()))
        elif score:
            features["score"] = field(3, field(1, bytes(score)))
        entries = (field(1, field(1, k.encode()) + field(2, v)) for k, v in features.items())
        return record(field(1, b"".join(entries)))

    path.write_bytes(b"".join(example(*each) for each in enumerate(scores)))
    return path


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Examine hardly anything of a shard before it is read, as if all shards were large."""
    monkeypatch.setattr("underpaint.transforms.sources.labels.PEEKED_WHOLE", 0)
    monkeypatch.setattr("underpaint.transforms.sources.labels.PEEKED_BYTES", 4096)
    monkeypatch.setattr("underpaint.transforms.sources.labels.PEEKED_SHARE", 1 << 30)
    monkeypatch.setattr("underpaint.transforms.sources.labels.PEEKED_SHARDS", 0)


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize("packed", [False, True])
def test_a_column_that_appears_late_in_a_tar(tmp_path: Path, packed: bool) -> None:
    labels = [{"txt": b"t"} for _ in range(5)] + [{"txt": b"t", "cls": b"7", "json": b"{}"}]
    path = tar(tmp_path / "a.tar", labels)
    if packed:
        path = tmp_path / "a.tar.gz"
        path.write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes()))
        (tmp_path / "a.tar").unlink()
    encode(tmp_path / "archive", path)
    found = labels_of(tmp_path / "archive")
    assert found["0000.jpg"] == {"txt": "t", "cls": None, "json": None}
    assert found["0005.jpg"] == {"txt": "t", "cls": 7, "json": "{}"}
    assert not any(row.notes for row in Archive.open(tmp_path / "archive").rows())
    assert underpaint("verify", tmp_path / "archive") == 0


@pytest.mark.usefixtures("blind")
def test_a_column_of_the_second_shard(tmp_path: Path) -> None:
    tar(tmp_path / "a.tar", [{"txt": b"t"}])
    tar(tmp_path / "b.tar", [{"cls": b"3"}])
    encode(tmp_path / "archive", tmp_path / "a.tar", tmp_path / "b.tar")
    rows = {row.key: row.labels for row in Archive.open(tmp_path / "archive").rows()}
    assert rows == {
        "a/0000.jpg": {"txt": "t", "cls": None},
        "b/0000.jpg": {"txt": None, "cls": 3},
    }
    manifest = json.loads((tmp_path / "archive" / "manifest.json").read_text())
    assert manifest["labels"] == [["txt", "string"], ["cls", "int64"]]


def test_a_column_of_a_second_run(tmp_path: Path) -> None:
    tar(tmp_path / "a.tar", [{"cls": b"1"}])
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "plain.jpg").write_bytes(jpeg(3, 40, 30))
    tar(tmp_path / "b.tar", [{"cls": b"2", "txt": b"new"}])
    for each in ("a.tar", "photos", "b.tar"):
        encode(tmp_path / "archive", tmp_path / each)
    rows = {row.key: row.labels for row in Archive.open(tmp_path / "archive").rows()}
    assert rows == {
        "a/0000.jpg": {"cls": 1, "txt": None},
        "photos/plain.jpg": {"cls": None, "txt": None},
        "b/0000.jpg": {"cls": 2, "txt": "new"},
    }
    assert underpaint("verify", tmp_path / "archive") == 0


@pytest.mark.usefixtures("blind")
def test_integers_and_then_fractions(tmp_path: Path) -> None:
    path = tfrecord(tmp_path / "a.tfrecord", [[1], [2, 3], None, [4], [0.5], [5]])
    encode(tmp_path / "archive", path)
    scores = [row.labels["score"] for row in Archive.open(tmp_path / "archive").rows()]
    assert scores == [[1.0], [2.0, 3.0], None, [4.0], [0.5], [5.0]]
    assert not any(row.notes for row in Archive.open(tmp_path / "archive").rows())


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize("packed", [False, True])
def test_a_late_class_name_makes_the_column_text(
    tmp_path: Path, packed: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    tar(tmp_path / "a.tar", [{"cls": b"8"}, {"cls": b"9"}])
    path = tar(tmp_path / "b.tar", [{"cls": b"1"}] * 5 + [{"cls": b"cat"}, {}, {"cls": b"7"}])
    if packed:
        content = path.read_bytes()
        path.unlink()
        path = tmp_path / "b.tar.gz"
        path.write_bytes(gzip.compress(content))
    inputs = [tmp_path / "a.tar", path]
    encode(tmp_path / "archive", *inputs)
    assert "labels left out" not in capfd.readouterr().err
    archive = Archive.open(tmp_path / "archive")
    assert [row.labels["cls"] for row in archive.rows()] == [*"89", *"11111", "cat", None, "7"]
    assert not any(row.notes for row in archive.rows())
    own = {
        pq.read_schema(each).field("cls").type for each in (tmp_path / "archive" / "data").iterdir()
    }
    assert own == {pa.int64(), pa.string()}
    assert underpaint("verify", tmp_path / "archive") == 0
    encode(tmp_path / "archive", *inputs)
    assert "nothing to do" in capfd.readouterr().out


@pytest.mark.usefixtures("blind")
def test_a_value_that_does_not_fit_a_stated_type_is_null_and_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    labels = [{"cls": b"1"}] * 5 + [{"cls": b"cat", "key": b"k"}, {"cls": b"7"}, {"cls": b"dog"}]
    path = tar(tmp_path / "a.tar", labels)
    encode(tmp_path / "archive", path, "--label", "cls:int64")
    rows = list(Archive.open(tmp_path / "archive").rows())
    assert [row.labels["cls"] for row in rows] == [*[1] * 5, None, 7, None]
    note = "label 'cls' not stored: the value is no int64"
    assert [row.notes for row in rows] == [*[()] * 5, (note,), (), (note,)]
    told = capfd.readouterr().err.splitlines()
    assert "labels left out: cls 2 (not int64; --label cls:string keeps them)" in told
    assert "label 'key' is stored as 'label_key': archives have a column 'key'" in told
    report = json.loads((tmp_path / "archive" / "job.json").read_text())
    assert list(report["counts"]["labels_left_out"].values()) == [2]


@pytest.mark.usefixtures("blind")
def test_a_late_column_of_numbers_and_text_is_text(tmp_path: Path) -> None:
    labels = [{}, {}, {}, {"cls": b"1"}, {"cls": b"cat"}, {"cls": b"7"}]
    encode(tmp_path / "archive", tar(tmp_path / "a.tar", labels))
    found = [labels["cls"] for labels in labels_of(tmp_path / "archive").values()]
    assert found == [None, None, None, "1", "cat", "7"]
    assert not any(row.notes for row in Archive.open(tmp_path / "archive").rows())


def test_another_type_in_a_second_run_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    encode(tmp_path / "archive", tar(tmp_path / "a.tar", [{"cls": b"1"}]))
    encode(tmp_path / "archive", tar(tmp_path / "b.tar", [{"cls": b"cat"}]), status=2)
    told = capfd.readouterr().err.strip().splitlines()[-1]
    assert "its label 'cls' is int64, that of the inputs is string; state --label cls:int64" in told
    encode(tmp_path / "archive", tmp_path / "b.tar", "--label", "cls:int64")
    notes = [row.notes for row in Archive.open(tmp_path / "archive").rows()]
    assert notes == [(), ("label 'cls' not stored: the value is no int64",)]


@pytest.mark.usefixtures("blind")
def test_a_unit_takes_so_many_late_columns(tmp_path: Path) -> None:
    labels: list[dict[str, bytes]] = [{}, {}, {}, *({f"x{n}": b"v"} for n in range(70))]
    encode(tmp_path / "archive", tar(tmp_path / "a.tar", labels), "--unit-size", "1G")
    archive = Archive.open(tmp_path / "archive")
    assert (len(archive), len(archive.label_names)) == (73, 64)
    notes = [note for row in archive.rows() for note in row.notes]
    assert len(notes) == 6
    assert notes[0] == "label 'x64' not stored: there are too many labels"
