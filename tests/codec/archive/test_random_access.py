"""Single rows: found by key and number, read by the byte, checked, and equal to rows in order."""

from __future__ import annotations

import hashlib
import pickle
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers.streams import framed
from underpaint.codec.archive import Archive, ArchiveWriter, Row, publish, row_index
from underpaint.codec.archive.parquet.ranges import RangeReader
from underpaint.codec.archive.schema import BLOB_BYTES
from underpaint.codec.bitstream import PictureHeader
from underpaint.codec.errors import ArchiveDamaged, NoSuchKey

LAYERS = ("coarse", "middle", "fine")
ROWS = 600


def write(root: str | Path, rows: list[Row], unit: str = "u", group_bytes: int = 60_000) -> None:
    labels = pa.schema([("cls", pa.int64()), ("caption", pa.string())])
    with ArchiveWriter(
        root, unit, layers=LAYERS, weights_id="0" * 16, label_schema=labels,
        row_group_bytes=group_bytes,
    ) as writer:  # fmt: skip
        for row in rows:
            writer.add(row)


def made_rows(count: int, first: int = 0) -> list[Row]:
    """Rows of whole streams with 1 to 3 layers of 8 bytes to 16 KiB."""
    rng = np.random.default_rng(first)
    rows = []
    for number in range(first, first + count):
        words = [int(2 ** rng.uniform(1, 12)) for _ in range(int(rng.integers(1, 4)))]
        width, height = int(rng.integers(1, 900)), int(rng.integers(1, 900))
        layers = framed([rng.bytes(4 * n) for n in words], PictureHeader(height, width, "0" * 16))
        rows.append(
            Row(
                f"k{number:04}", tuple(layers), width, height, f"file:///{number}.jpg",
                labels={"cls": number % 7, "caption": "a" * (number % 5) or None},
            )
        )  # fmt: skip
    return rows


ROWS_MADE = made_rows(ROWS)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of several row groups."""
    root = tmp_path_factory.mktemp("access") / "archive"
    write(root, ROWS_MADE[:400], "a")
    write(root, ROWS_MADE[400:], "b")
    publish(str(root))
    return root


def bare(row: Row) -> Row:
    """The row as `archive[key]` returns it: without what tells where it came from."""
    return Row(row.key, row.layers, row.width, row.height, labels=row.labels)


def test_pictures_come_by_key_number_and_slice(root: Path) -> None:
    archive = Archive.open(root)
    assert len({g.index for g in archive.row_groups(["key"])}) > 2
    for number, row in enumerate(ROWS_MADE):
        assert archive[row.key] == archive[number] == bare(row)
        assert archive.get(row.key) == row
    assert archive[-1] == archive[ROWS - 1] == archive[np.int64(ROWS - 1)]
    assert archive[395:405:3] == [bare(row) for row in ROWS_MADE[395:405:3]]
    assert archive[ROWS:] == []
    assert list(archive) == ROWS_MADE
    assert archive.get("k0003", layers=1, labels=False, provenance=False) == Row(
        "k0003", ROWS_MADE[3].layers[:1], ROWS_MADE[3].width, ROWS_MADE[3].height
    )
    assert "k0000" in archive
    for key in ("k", "k00000", "zz", "", "\udcff", 3):
        assert key not in archive
    for number in (ROWS, -ROWS - 1):
        with pytest.raises(IndexError, match=f"picture {number} of {ROWS}"):
            archive[number]
    with pytest.raises(NoSuchKey, match="no picture 'other'"):
        archive["other"]
    with pytest.raises(TypeError):
        archive[1.5]  # type: ignore[call-overload]
    for truth in (True, np.bool_(False)):
        with pytest.raises(TypeError, match=f"not {truth!r}"):
            archive[truth]
    assert repr(archive) == f"Archive('{root}', 600 pictures, 3 layers, sizes full)"


@pytest.mark.parametrize("place", ["local", "emulator"])
def test_a_picture_by_key_costs_its_bytes(
    place: str, root: Path, gs_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(root)
    if place == "emulator":
        folder = f"{gs_folder}/access"
        write(folder, ROWS_MADE[:400], "a")
        write(folder, ROWS_MADE[400:], "b")
        publish(folder)
    archive = Archive.open(folder)
    assert archive.load_index() == archive.load_index() < 40 * ROWS
    for group in archive.row_groups(["cls"]):  # one of each, so that the labels are held
        archive[ROWS_MADE[_first(archive, group.path, group.index)].key]
    for row in ROWS_MADE[5::50]:
        for layers in (1, 3):
            before = archive.traffic
            read = archive.get(row.key, layers, provenance=False)
            assert read.layers == row.layers[:layers]
            traffic = archive.traffic
            assert traffic.requests - before.requests == len(read.layers)
            wanted = sum(map(len, read.layers))
            assert traffic.fetched - before.fetched == wanted + 4 * len(read.layers)
            assert traffic.wanted - before.wanted == wanted
    rounds: list[int] = []
    whole = RangeReader.fetch_each
    monkeypatch.setattr(
        RangeReader, "fetch_each", lambda *given: rounds.append(len(given[2])) or whole(*given)
    )
    archive[next(row.key for row in ROWS_MADE if len(row.layers) == 3)]
    assert rounds == [3]  # one parallel round


def _first(archive: Archive, path: str, group: int) -> int:
    """The number of the first row of a row group."""
    files = [entry.path for entry in archive.files]
    at = sum(entry.rows for entry in archive.files[: files.index(path)])
    return at + sum(archive.files[files.index(path)].row_groups[:group])


def test_requests_of_a_row_run_at_the_same_time(gs_folder: str) -> None:
    write(f"{gs_folder}/at-once", [row for row in ROWS_MADE if len(row.layers) == 3][:20])
    publish(f"{gs_folder}/at-once")
    archive = Archive.open(f"{gs_folder}/at-once")
    archive.load_index()
    meeting = threading.Barrier(4)  # three layers and the labels
    read = archive.storage.read_range

    def slow(*given: object) -> bytes:
        meeting.wait(10)
        return read(*given)  # type: ignore[arg-type]

    archive.storage.read_range = slow  # type: ignore[method-assign]
    assert archive.get(ROWS_MADE[_third()].key, provenance=False) == bare(ROWS_MADE[_third()])


def _third() -> int:
    return next(number for number, row in enumerate(ROWS_MADE) if len(row.layers) == 3)


def test_the_lengths_of_blobs_are_stored_in_few_bytes(root: Path) -> None:
    for path in Archive.open(root).paths:
        table = pq.read_table(path)
        for row in table.to_pylist():
            blobs = [row[f"layer_{layer}"] for layer in range(3)]
            assert row[BLOB_BYTES] == [-1 if blob is None else len(blob) for blob in blobs]
        metadata = pq.ParquetFile(path).metadata
        stored = sum(
            metadata.row_group(group).column(column).total_compressed_size
            for group in range(metadata.num_row_groups)
            for column in range(metadata.num_columns)
            if metadata.row_group(group).column(column).path_in_schema.startswith(BLOB_BYTES)
        )
        assert stored < 4 * 3 * metadata.num_rows  # less than plain integers


def test_keys_of_equal_hash_are_compared(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def poor(keys: list[str]) -> np.ndarray:
        return np.array([int(key[1:] or 0) % 10 for key in keys], np.uint64)

    monkeypatch.setattr(row_index, "hashes_of", poor)
    archive = Archive.open(root)
    for row in ROWS_MADE[::37]:
        assert archive[row.key] == bare(row)
    assert "k9999" not in archive


def test_indices_are_bounded_and_stay_out_of_pickles(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive.open(root)
    both = archive.load_index()
    monkeypatch.setattr(row_index, "INDEX_BYTES", both - 1)
    bounded = Archive.open(root)
    for row in (ROWS_MADE[0], ROWS_MADE[-1], ROWS_MADE[0]):
        assert bounded[row.key] == bare(row)
        assert 0 < bounded.data.index.nbytes < both
    assert len(pickle.dumps(archive)) < len(pickle.dumps(Archive.open(root))) + 64
    assert pickle.loads(pickle.dumps(archive))["k0001"] == bare(ROWS_MADE[1])


def changed_copy(root: Path, folder: Path, at: int) -> Path:
    """A copy of an archive whose first data file has one changed byte."""
    shutil.copytree(root, folder)
    path = folder / Archive.open(root).files[0].path
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)
    return folder


def test_a_damaged_layer_is_noticed_and_others_are_read(root: Path, tmp_path: Path) -> None:
    data = (root / Archive.open(root).files[0].path).read_bytes()
    victim = ROWS_MADE[100]
    archive = Archive.open(changed_copy(root, tmp_path / "a", data.index(victim.layers[0]) + 9))
    with pytest.raises(ArchiveDamaged, match="row group"):
        archive[victim.key]
    assert archive["k0101"] == bare(ROWS_MADE[101])  # the same page, but the bytes are its own
    with pytest.raises(ArchiveDamaged):
        list(archive.rows())


@pytest.mark.parametrize("column", [BLOB_BYTES, "layer_0"])
def test_a_damaged_index_costs_no_row(root: Path, tmp_path: Path, column: str) -> None:
    sound = Archive.open(root)
    footer = sound.data.reader.footer(sound.files[0])
    leaf = next(name for name in footer.groups[0].chunks if name.startswith(column))
    places = footer.groups[0].chunks if column == BLOB_BYTES else footer.groups[0].indices
    archive = Archive.open(changed_copy(root, tmp_path / "a", places[leaf][1] - 4))
    outcomes = []
    for row in ROWS_MADE[:400:23]:
        try:
            assert archive[row.key] == bare(row)
            outcomes.append(True)
        except ArchiveDamaged:
            outcomes.append(False)
    assert all(outcomes) if column == BLOB_BYTES else any(outcomes)


def test_damaged_keys_are_no_missing_keys(root: Path, tmp_path: Path) -> None:
    sound = Archive.open(root)
    _, stop = sound.data.reader.footer(sound.files[0]).groups[0].chunks["key"]
    archive = Archive.open(changed_copy(root, tmp_path / "a", stop - 4))
    rows = sound.files[0].row_groups[0]
    with pytest.raises(ArchiveDamaged):
        archive["k0000"]
    assert archive[f"k{rows:04}"] == bare(ROWS_MADE[rows])
    assert archive["k0599"] == bare(ROWS_MADE[599])
    with pytest.raises(NoSuchKey):  # no row group with damaged keys can hold it
        archive["zz"]


def test_wrong_lengths_lead_to_no_wrong_row(root: Path, tmp_path: Path) -> None:
    """Lengths of a writer that counts wrongly: the pages are read instead."""
    archive = Archive.open(root)
    archive.load_index()
    for index in archive.data.index._held.values():
        for group in index.places:
            assert group is not None
            for places in group.values():
                there = places.lengths > 0
                places.lengths[there] = np.roll(places.lengths[there], 1)
    for row in ROWS_MADE[::41]:
        assert archive[row.key] == bare(row)


def test_rows_that_are_no_streams_are_read_by_their_pages(tmp_path: Path) -> None:
    rows = [Row(f"k{n}", (bytes([n]) * 9, b"x"), 3, 5, labels={"cls": n}) for n in range(9)]
    write(tmp_path, rows)
    publish(str(tmp_path))
    archive = Archive.open(tmp_path)
    for row in rows:
        assert archive.get(row.key, provenance=False) == Row(
            row.key, row.layers, 3, 5, labels={"cls": row.labels["cls"], "caption": None}
        )


@pytest.mark.parametrize("name", [BLOB_BYTES, "caption", "key"])
def test_a_column_that_the_schema_calls_otherwise_is_damage(tmp_path: Path, name: str) -> None:
    """A hostile file may have a footer whose checksum is right, and chunks of other names."""
    write(tmp_path, ROWS_MADE[:8])
    publish(str(tmp_path))
    archive = Archive.open(tmp_path)
    entry = archive.files[0]
    path = tmp_path / entry.path
    content = bytearray(path.read_bytes())
    start = len(content) - entry.footer_bytes
    at = content.index(name.encode(), start)  # the first place is in the schema, not in a chunk
    content[at + len(name) - 1] ^= 1
    path.write_bytes(content)
    hostile = replace(entry, footer_sha256=hashlib.sha256(content[start:]).hexdigest())
    reader = RangeReader(archive.storage)
    with pytest.raises(ArchiveDamaged, match=rf"the schema has no column '{name}'"):
        reader.read(hostile, 0, [name])
    if name == BLOB_BYTES:  # stored for speed alone: keys are found without it
        assert row_index.load_index(reader, hostile).places == (None,)
