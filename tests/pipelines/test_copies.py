"""Repaired, trimmed and merged copies of archives that grew over several runs."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.helpers.dated_folders import encode, save, save_two_years, sources
from tests.helpers.pictures import underpaint
from tests.helpers.shards import jpeg, tar_of
from underpaint.codec.archive import Archive
from underpaint.codec.archive.commits import committed_units
from underpaint.transforms.listing import remembered_folders

Rows = dict[str, tuple[tuple[bytes, ...], dict[str, object]]]


def rows(archive: Path) -> Rows:
    """Layers and labels of each row by its key."""
    return {row.key: (row.layers, dict(row.labels)) for row in Archive.open(archive).rows()}


def folders(archive: Path) -> dict[str, str]:
    return remembered_folders(committed_units(str(archive)).units)


def flip_last_layer(archive: Path) -> str:
    """Damage the last layer of the last picture of a file; return the name of the file."""
    path = sorted(archive.glob("data/*.parquet"))[0]
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(place) for place in range(group.num_columns)]
    last = next(column for column in columns if column.path_in_schema == "layer_5_256")
    content = bytearray(path.read_bytes())
    content[last.data_page_offset + last.total_compressed_size - 9] ^= 8  # within its last value
    path.write_bytes(content)
    return path.name


def repair(archive: Path, target: Path) -> int:
    return underpaint("verify", archive, "--repair", "--output", target)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two years of photos with the same names."""
    return save_two_years(tmp_path / "photos", 3)


def test_a_repaired_archive_remembers_its_folders(photos: Path, tmp_path: Path) -> None:
    archive, mended = tmp_path / "archive", tmp_path / "mended"
    assert encode(archive, photos / "2019") == 0
    assert encode(archive, photos / "2020") == 0
    whole, known = rows(archive), folders(archive)
    flip_last_layer(archive)
    assert underpaint("verify", archive) == 1
    assert repair(archive, mended) == 1
    assert folders(mended) == known
    kept = rows(mended)
    assert kept.keys() == whole.keys()
    assert sum(kept[key] != whole[key] for key in whole) == 1  # one picture lacks a layer
    save(photos / "2020" / "IMG_9.png", 150)
    save(photos / "2021" / "IMG_0.png", 200)
    assert encode(mended, photos / "2020") == 0
    assert encode(mended, photos / "2021") == 0
    assert sources(mended) == sources(archive) | {
        "2020/IMG_9.png": f"{photos}/2020/IMG_9.png",
        "2021/IMG_0.png": f"{photos}/2021/IMG_0.png",
    }
    assert underpaint("verify", mended) == 0


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """An archive of two runs whose units have different label columns."""
    (tmp_path / "a.tar").write_bytes(tar_of({"0.jpg": jpeg(0, 40, 30), "0.cls": b"1"}))
    later = {"0.jpg": jpeg(1, 40, 30), "0.txt": b"late", "1.jpg": jpeg(2, 40, 30), "1.cls": b"5"}
    (tmp_path / "b.tar").write_bytes(tar_of(later))
    archive = tmp_path / "labelled"
    assert encode(archive, tmp_path / "a.tar") == 0
    assert encode(archive, tmp_path / "b.tar") == 0
    return archive


LABELS = {
    "a/0.jpg": {"cls": 1, "txt": None},
    "b/0.jpg": {"cls": None, "txt": "late"},
    "b/1.jpg": {"cls": 5, "txt": None},
}


def labels(archive: Path) -> dict[str, dict[str, object]]:
    return {key: found for key, (_, found) in rows(archive).items()}


def test_copies_have_the_labels_of_all_units(labelled: Path, tmp_path: Path) -> None:
    assert labels(labelled) == LABELS
    mended, small, both = (tmp_path / name for name in ("mended", "small", "both"))
    assert repair(labelled, mended) == 0
    assert rows(mended) == rows(labelled)
    assert underpaint("trim", labelled, "--layers", 2, "--output", small) == 0
    assert labels(small) == LABELS
    (tmp_path / "c.tar").write_bytes(tar_of({"0.jpg": jpeg(3, 40, 30), "0.json": b"{}"}))
    other = tmp_path / "other"
    assert encode(other, tmp_path / "c.tar") == 0
    assert underpaint("merge", mended, other, "--output", both) == 0
    none = {"json": None}
    assert labels(both) == {key: found | none for key, found in LABELS.items()} | {
        "c/0.jpg": {"cls": None, "txt": None, "json": "{}"}
    }
    for archive in (mended, small, both):
        assert underpaint("verify", archive) == 0


def test_a_damaged_file_of_other_labels_is_repaired(labelled: Path, tmp_path: Path) -> None:
    whole = rows(labelled)
    name = flip_last_layer(labelled)
    mended = tmp_path / "mended"
    assert repair(labelled, mended) == 1
    assert labels(mended) == LABELS
    kept = rows(mended)
    [cut] = [key for key in whole if kept[key] != whole[key]]
    assert name.startswith(cut[0])
    assert underpaint("verify", mended) == 0
    assert encode(mended, tmp_path / "b.tar") == 0
    assert rows(mended) == kept


@pytest.mark.parametrize("published", [True, False])
def test_a_replaced_picture_stays_replaced(photos: Path, tmp_path: Path, published: bool) -> None:
    archive, mended = tmp_path / "archive", tmp_path / "mended"
    assert encode(archive, photos / "2019") == 0
    Image.new("RGB", (48, 32), "orange").save(photos / "2019" / "IMG_1.png")
    assert encode(archive, photos / "2019", "--on-conflict", "replace") == 0
    whole = rows(archive)
    if not published:
        (archive / "manifest.json").unlink()
        for commit in archive.glob("commits/*"):
            if '"replaces": "' in commit.read_text():
                commit.unlink()
    assert repair(archive, mended) == 0
    assert rows(mended) == whole
    assert encode(mended, photos / "2019") == 0
    assert rows(mended) == whole
    assert underpaint("verify", mended) == 0
