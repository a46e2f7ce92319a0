"""Units of an archive may have different label columns: readers see the union (rule A21)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from datasets import Features, load_dataset

from underpaint.codec.archive import (
    Archive,
    ArchiveWriter,
    LayerDataset,
    LayerMap,
    Row,
    committed_units,
    publish,
)
from underpaint.codec.archive.label_columns import joined_names, joined_type, parse_type
from underpaint.codec.archive.tools.export import export
from underpaint.codec.archive.tools.merge import merge
from underpaint.codec.archive.tools.repair import repair
from underpaint.codec.archive.tools.trim import trim
from underpaint.codec.errors import UsageError

NAMES = ("layer_0", "layer_1")


def write(
    root: Path | str,
    unit: str,
    labels: dict[str, pa.DataType],
    rows: Sequence[dict[str, Any]],
    **settings: Any,
) -> None:
    """Commit a unit with a row for each dict of labels."""
    schema = pa.schema(list(labels.items()))
    with ArchiveWriter(
        str(root), unit, layers=NAMES, weights_id="w" * 16, label_schema=schema, **settings
    ) as writer:
        for number, values in enumerate(rows):
            writer.add(Row(f"{unit}/{number}", (b"coarse", b"fine"), 9, 8, labels=values))


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """An archive whose three units have a column in common, of three types."""
    root = tmp_path / "mixed"
    write(root, "a", {"n": pa.int64()}, [{"n": 1}, {"n": None}])
    write(root, "b", {"n": pa.float64(), "late": pa.list_(pa.int64())}, [{"n": 2.5, "late": [7]}])
    write(root, "c", {"other": pa.string(), "n": pa.int32()}, [{"other": "x", "n": 3}])
    publish(str(root))
    return root


EXPECTED = {
    "a/0": {"n": 1.0, "late": None, "other": None},
    "a/1": {"n": None, "late": None, "other": None},
    "b/0": {"n": 2.5, "late": [7], "other": None},
    "c/0": {"n": 3.0, "late": None, "other": "x"},
}


def labels_of(root: Path | str) -> dict[str, dict[str, Any]]:
    return {row.key: dict(row.labels) for row in Archive.open(root).rows()}


@pytest.mark.parametrize(
    ("one", "other", "joined"),
    [
        ("int8", "int64", "int64"),
        ("int64", "float32", "double"),
        ("uint8", "int8", "int16"),
        ("float32", "float64", "double"),
        ("uint64", "int64", "double"),
        ("list<int64>", "list<float>", "list<item: double>"),
        ("int64", "string", "string"),
        ("bool", "int64", "string"),
        ("binary", "string", "string"),
        ("list<int64>", "int64", "string"),
        ("timestamp[us]", "timestamp[us]", "timestamp[us]"),
    ],
)
def test_types_join_to_the_wider_number_or_to_text(one: str, other: str, joined: str) -> None:
    for pair in ((one, other), (other, one)):
        assert str(joined_type(*map(parse_type, pair))) == joined
        assert joined_names((("x", str(parse_type(kind))),) for kind in pair) == (("x", joined),)


def test_rows_have_the_columns_of_all_units(mixed: Path) -> None:
    archive = Archive.open(mixed)
    assert archive.label_names == ("n", "late", "other")
    assert archive.manifest.labels == (
        ("n", "double"),
        ("late", "list<item: int64>"),
        ("other", "string"),
    )
    assert archive.schema.field("n").type == pa.float64()
    assert labels_of(mixed) == EXPECTED
    for key, labels in EXPECTED.items():
        assert archive.get(key).labels == labels
    found = [row.key for row in archive.rows(where=pc.field("n") > 2)]
    assert found == ["b/0", "c/0"]
    groups = [group.table for group in archive.row_groups(["late", "key"], layers=1)]
    assert [table.column("late").to_pylist() for table in groups] == [[None, None], [[7]], [None]]
    assert pa.concat_tables(groups).num_rows == 4


def test_the_manifest_states_the_columns_of_all_units(mixed: Path, tmp_path: Path) -> None:
    written = json.loads((mixed / "manifest.json").read_text())
    assert written["labels"] == [
        ["n", "double"],
        ["late", "list<item: int64>"],
        ["other", "string"],
    ]
    assert len(written["label_sets"]) > 1
    write(tmp_path / "alike", "a", {"n": pa.int64()}, [{"n": 1}])
    write(tmp_path / "alike", "b", {"n": pa.int64()}, [{"n": 2}])
    publish(str(tmp_path / "alike"))
    written = json.loads((tmp_path / "alike" / "manifest.json").read_text())
    assert written["label_sets"] == [written["labels"]] == [[["n", "int64"]]]


def test_data_sets_have_the_columns_of_all_units(mixed: Path) -> None:
    samples = {s["key"]: s["labels"] for s in LayerDataset(mixed, output="bytes")}
    assert samples == EXPECTED
    by_index = LayerMap(mixed, output="bytes", labels=["late"])
    assert [by_index[at]["labels"]["late"] for at in range(4)] == [None, None, [7], None]


def test_clashing_types_are_read_as_text(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    write(root, "a", {"cls": pa.int64()}, [{"cls": 7}, {"cls": None}])
    write(root, "b", {"cls": pa.string()}, [{"cls": "cat"}])
    write(root, "c", {"cls": pa.list_(pa.float32())}, [{"cls": [0.5]}])
    write(root, "d", {"cls": pa.large_binary()}, [{"cls": b"\xff"}, {"cls": b"dog"}])
    publish(str(root))
    found = [labels["cls"] for labels in labels_of(root).values()]
    assert found == ["7", None, "cat", "[0.5]", "/w==", "dog"]


@pytest.mark.parametrize("row_group_bytes", [1, 1 << 20])
def test_a_writer_takes_columns_that_appear_late(tmp_path: Path, row_group_bytes: int) -> None:
    vector = np.arange(3, dtype=np.float16)

    def row(key: str, **labels: Any) -> Row:
        return Row(key, (b"coarse",), 9, 8, labels=labels, embedding=vector)

    with ArchiveWriter(
        str(tmp_path),
        "unit",
        layers=NAMES,
        weights_id="w" * 16,
        label_schema=pa.schema([("n", pa.int64())]),
        embedding_size=3,
        row_group_bytes=row_group_bytes,
    ) as writer:
        writer.add(row("a", n=1))
        writer.widen_labels(pa.schema([("late", pa.string())]))
        writer.add(row("b", n=2, late="x"))
        writer.widen_labels(pa.schema([("late", pa.string())]))
        writer.widen_labels(pa.schema([("n", pa.float64())]))
        writer.add(row("c", n=2.5))
        with pytest.raises(UsageError, match="cannot be called 'layer_0'"):
            writer.widen_labels(pa.schema([("layer_0", pa.string())]))
        writer.add(row("d", late="y"))
    assert writer.commit
    assert writer.commit.labels == (("n", "double"), ("late", "string"))
    publish(str(tmp_path))
    archive = Archive.open(tmp_path)
    assert [row.labels for row in archive.rows()] == [
        {"n": 1.0, "late": None},
        {"n": 2.0, "late": "x"},
        {"n": 2.5, "late": None},
        {"n": None, "late": "y"},
    ]
    assert all(np.array_equal(row.embedding, vector) for row in archive.rows())
    assert not list(archive.check_files())
    assert not list(tmp_path.rglob(".tmp-*"))
    assert len(archive.files[0].row_groups) == (4 if row_group_bytes == 1 else 1)


def test_a_second_writer_of_a_unit_is_done_whatever_its_columns(tmp_path: Path) -> None:
    write(tmp_path, "a", {"n": pa.int64()}, [{"n": 1}])
    write(tmp_path, "a", {"n": pa.int64(), "m": pa.string()}, [{"n": 1}])
    assert committed_units(str(tmp_path))["a"].labels == (("n", "int64"),)
    assert len(list((tmp_path / "data").iterdir())) == 1


def test_tools_keep_all_columns(mixed: Path, tmp_path: Path) -> None:
    trim(mixed, tmp_path / "trimmed", 1)
    assert labels_of(tmp_path / "trimmed") == EXPECTED
    assert len({unit.labels for unit in Archive.open(tmp_path / "trimmed").manifest.units}) == 1
    reports: list[str] = []
    # the streams of these rows are no streams, so a repair of them keeps no row
    repaired = repair(mixed, tmp_path / "repaired", reports.append)
    assert repaired.lost == 4
    write(tmp_path / "more", "z", {"late": pa.list_(pa.float64())}, [{"late": [0.5]}])
    publish(str(tmp_path / "more"))
    merged = merge([mixed, tmp_path / "more"], tmp_path / "merged")
    assert dict(merged.labels)["late"] == "list<item: double>"
    assert labels_of(tmp_path / "merged") == {
        **EXPECTED,
        "z/0": {"n": None, "late": [0.5], "other": None},
    }
    export(mixed, tmp_path / "exported", form="folder", format="underpaint")
    assert '"late": [7]' in (tmp_path / "exported" / "metadata.jsonl").read_text()


def test_conflicting_keys_keep_the_columns_of_their_units(tmp_path: Path) -> None:
    for unit, labels in (("a", {"n": pa.int64()}), ("b", {"late": pa.string()})):
        with ArchiveWriter(
            str(tmp_path),
            unit,
            layers=NAMES,
            weights_id="w" * 16,
            label_schema=pa.schema(list(labels.items())),
        ) as writer:
            value = {"n": 1} if unit == "a" else {"late": "x"}
            writer.add(Row("k.jpg", (b"coarse",), 9, 8, source_uri=unit, labels=value))
    publish(str(tmp_path))
    assert sorted(map(str, (row.labels for row in Archive.open(tmp_path).rows()))) == [
        "{'n': 1, 'late': None}",
        "{'n': None, 'late': 'x'}",
    ]


def test_other_tools_read_the_union(mixed: Path) -> None:
    archive = Archive.open(mixed)
    files = archive.paths
    expected = [EXPECTED[key] for key in sorted(EXPECTED)]
    query = f"SELECT n, late, other FROM read_parquet({files}, union_by_name = true) ORDER BY key"
    assert duckdb.sql(query).fetchall() == [tuple(labels.values()) for labels in expected]
    names = ["key", "n", "late", "other"]
    table = ds.dataset(files, schema=archive.schema).to_table(columns=names)
    assert table.sort_by("key").select(names[1:]).to_pylist() == expected
    frames = [pl.scan_parquet(path).select(pl.exclude("^layer_.*$")) for path in files]
    frame = pl.concat(frames, how="diagonal_relaxed").sort("key").collect()
    assert frame.select(names[1:]).to_dicts() == expected
    rows = load_dataset(
        "parquet",
        data_files=files,
        features=Features.from_arrow_schema(archive.schema),
        split="train",
        streaming=True,
    )
    assert [{name: row[name] for name in names[1:]} for row in rows] == expected
