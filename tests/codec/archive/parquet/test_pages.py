"""One row is read through the page index: equal to pyarrow, exact, and sound or refused."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from underpaint.codec.archive import Archive, ArchiveWriter, LayerMap, Row, publish
from underpaint.codec.archive.parquet.footer import parse_footer
from underpaint.codec.archive.parquet.pages import page_values
from underpaint.codec.errors import ArchiveDamaged, NoSuchKey


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of 1 to 3 layers and sizes from bytes to many pages, in several row groups."""
    root = tmp_path_factory.mktemp("pages")
    rng = np.random.default_rng(0)
    with ArchiveWriter(
        root,
        "unit",
        layers=("a", "b", "c"),
        weights_id="w",
        keep_source=True,
        row_group_bytes=300_000,
    ) as writer:
        for index in range(300):
            sizes = [int(2 ** rng.uniform(0, 14)) for _ in range(int(rng.integers(1, 4)))]
            if index == 77:
                sizes = [300_000, 1, 1 << 20]
            source = rng.bytes(3000) if index % 3 else None
            layers = tuple(rng.bytes(size) for size in sizes)
            writer.add(Row(f"k{index:03}", layers, 1, 1, source=source))
    publish(str(root))
    return root


def test_rows_by_key_equal_rows_in_order(root: Path) -> None:
    archive = Archive.open(root)
    assert len(archive.files[0].row_groups) > 1
    for row in archive.rows(source=True):
        assert archive.get(row.key, source=True) == row
    assert archive.get("k077", layers=2).layers == next(
        row.layers[:2] for row in archive.rows() if row.key == "k077"
    )
    for key in ("k", "k0770", "", "zzz"):
        with pytest.raises(NoSuchKey):
            archive.get(key)


def test_a_row_by_key_costs_its_pages(root: Path) -> None:
    archive = Archive.open(root)
    archive.get("k005")
    before = archive.traffic.fetched
    row = archive.get("k150")
    page_bytes = 128 << 10
    assert archive.traffic.fetched - before < sum(map(len, row.layers)) + 4 * page_bytes


def test_a_flipped_bit_in_the_pages_of_a_row_is_noticed(root: Path, tmp_path: Path) -> None:
    sound = Archive.open(root)
    row = sound.get("k150")
    path = root / sound.files[0].path
    whole = path.read_bytes()
    chance = random.Random(1)
    try:
        for blob in row.layers:
            start = whole.index(blob)
            for _ in range(40):
                changed = bytearray(whole)
                changed[start + chance.randrange(len(blob))] ^= 1 << chance.randrange(8)
                path.write_bytes(changed)
                with pytest.raises(ArchiveDamaged, match="row group"):
                    Archive.open(root).get("k150")
    finally:
        path.write_bytes(whole)


def test_a_flipped_bit_in_the_page_index_is_noticed_or_changes_nothing(root: Path) -> None:
    sound = Archive.open(root)
    row = sound.get("k150", source=True)
    entry = sound.files[0]
    path = root / entry.path
    whole = path.read_bytes()
    indices = parse_footer(whole[-entry.footer_bytes :]).groups[_group_of(sound, "k150")].indices
    noticed = tried = 0
    try:
        for name in ("layer_0", "layer_1", "source"):
            start, stop = indices[name]
            for bit in range(8 * start, 8 * stop, 7):
                changed = bytearray(whole)
                changed[bit // 8] ^= 1 << bit % 8
                path.write_bytes(changed)
                tried += 1
                try:
                    assert Archive.open(root).get("k150", source=True) == row
                except ArchiveDamaged:
                    noticed += 1
    finally:
        path.write_bytes(whole)
    assert noticed > tried / 2


def _group_of(archive: Archive, key: str) -> int:
    groups = archive.row_groups(["key"])
    return next(g.index for g in groups if key in g.table.column("key").to_pylist())


def test_single_images_of_a_map_style_data_set_cost_their_pages(root: Path) -> None:
    rows = list(Archive.open(root).rows())
    mapped = LayerMap(root, output="bytes")
    mapped[150]
    before = mapped.traffic.fetched
    for index in (100, 160, 220):
        sample = mapped[index]
        assert sample is not None
        assert (sample["key"], sample["layers"]) == (rows[index].key, rows[index].layers)
    fetched = mapped.traffic.fetched - before
    assert fetched < sum(sum(map(len, rows[i].layers)) for i in (100, 160, 220)) + 12 * (128 << 10)
    batch = mapped.__getitems__(list(range(100, 200)))
    assert [s["layers"] for s in batch if s] == [row.layers for row in rows[100:200]]
    before = mapped.traffic.fetched
    mapped.__getitems__(list(range(110, 150)))
    assert mapped.traffic.fetched == before  # whole groups stay in memory


values = st.lists(st.none() | st.binary(max_size=300), min_size=1, max_size=60)


@given(values)
def test_pages_hold_what_pyarrow_wrote(drawn: list[bytes | None]) -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"x": pa.array(drawn, pa.large_binary())})
    pq.write_table(
        table,
        sink,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    data = sink.getvalue().to_pybytes()
    chunk = pq.read_metadata(pa.BufferReader(data)).row_group(0).column(0)
    start = chunk.data_page_offset
    page = data[start : start + chunk.total_compressed_size]
    assert page_values(page, len(drawn), nullable=True) == drawn


@given(st.binary(max_size=200))
def test_random_bytes_are_no_page(data: bytes) -> None:
    with pytest.raises(ArchiveDamaged):
        page_values(data, 3, nullable=True)
