"""An archive is Parquet: any tool that reads Parquet reads it. One short example for each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from underpaint.codec.archive import Archive, ArchiveWriter, Row, publish

ROWS = 30


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archive")
    for unit in ("a", "b"):
        with ArchiveWriter(
            root,
            unit,
            layers=("coarse", "fine"),
            weights_id="0" * 16,
            label_schema=pa.schema([("cls", pa.int64())]),
            embedding_size=4,
        ) as writer:
            for index in range(ROWS // 2):
                row = Row(
                    f"{unit}/{index:02}.jpg",
                    (bytes([index + 1]) * 20, b"f" * 90),
                    640 + index,
                    480,
                    labels={"cls": index % 3},
                    embedding=np.full(4, index),
                )
                writer.add(row)
    publish(str(root))
    return root


def test_pyarrow_dataset(root: Path) -> None:
    import pyarrow.dataset as ds

    archive = ds.dataset(Archive.open(root).paths, format="parquet")
    table = archive.to_table(columns=["key", "layer_0"], filter=ds.field("cls") == 2)
    assert table.num_rows == 10
    assert table.column("layer_0")[0].as_py() == b"\x03" * 20


def test_duckdb(root: Path) -> None:
    import duckdb

    files = Archive.open(root).paths
    found = duckdb.sql(
        f"SELECT cls, count(*), sum(octet_length(layer_0)) FROM read_parquet({files}) "
        "WHERE width >= 640 GROUP BY cls ORDER BY cls"
    ).fetchall()
    assert found == [(0, 10, 200), (1, 10, 200), (2, 10, 200)]


def test_polars(root: Path) -> None:
    import polars

    wide = (
        polars.scan_parquet(Archive.open(root).paths)
        .filter(polars.col("width") > 650)
        .select("key", "layer_0", "embedding")
        .collect()
    )
    assert wide.height == 8
    assert wide["layer_0"][0] == b"\x0c" * 20


def test_hugging_face_datasets(root: Path, tmp_path: Path) -> None:
    import datasets

    archive = datasets.load_dataset(
        "parquet",
        data_files=Archive.open(root).paths,
        columns=["key", "cls", "layer_0"],
        split="train",
        streaming=True,
        cache_dir=str(tmp_path),
    )
    rows = list(archive)
    assert len(rows) == ROWS
    assert rows[0] == {"key": "a/00.jpg", "cls": 0, "layer_0": b"\x01" * 20}


def test_rows_read_by_other_tools_are_the_archive_s_own(root: Path) -> None:
    import pyarrow.parquet as pq

    archive = Archive.open(root)
    files = [pq.read_table(root / entry.path) for entry in archive.files]
    whole = pa.concat_tables(files).select(archive.schema.names)
    groups = archive.row_groups(archive.schema.names)
    own = pa.concat_tables(group.table for group in groups)
    assert own.equals(whole)
