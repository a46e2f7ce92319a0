"""Keys and sources over several runs: nothing is lost, stored twice or replaced in silence."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from tests.helpers.pictures import underpaint
from underpaint.codec.archive import Archive


def save(path: Path, number: int, side: int = 32) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data.astronaut()[number : number + side, :48]).save(path)


def write_tar(path: Path, *numbers: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for place, number in enumerate(numbers):
            out = io.BytesIO()
            Image.fromarray(data.astronaut()[number : number + 32, :48]).save(out, "PNG")
            member = tarfile.TarInfo(f"{place}.png")
            member.size = out.tell()
            out.seek(0)
            tar.addfile(member, out)


def encode(archive: Path, *arguments: object) -> int:
    return underpaint("encode", *arguments, "--output", archive)


def sources(archive: Path) -> dict[str, str]:
    """Key of each row -> its source."""
    return {row.key: row.source_uri for row in Archive.open(archive).rows(layers=1)}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two years of photos with the same names."""
    for year, first in ((2019, 0), (2020, 100)):
        for number in range(3):
            save(tmp_path / "photos" / str(year) / f"IMG_{number}.png", first + number)
    return tmp_path / "photos"


def test_years_one_after_the_other_are_all_kept(photos: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    assert encode(archive, photos / "2019") == 0
    assert encode(archive, photos / "2020") == 0
    found = sources(archive)
    assert sorted(found.values()) == sorted(map(str, photos.rglob("*.png")))
    assert {key for key, uri in found.items() if "2019" in uri} == {
        "IMG_0.png", "IMG_1.png", "IMG_2.png",
    }  # fmt: skip
    [renamed] = [
        row for row in Archive.open(archive).rows() if row.source_uri.endswith("0/IMG_1.png")
    ]
    assert renamed.key.startswith("IMG_1-")
    assert renamed.key.endswith(".png")
    assert renamed.notes == ('renamed: the key "IMG_1.png" belongs to another source',)
    assert encode(archive, photos / "2020") == 0
    save(photos / "2021" / "IMG_0.png", 200)
    assert encode(archive, photos) == 0  # what is stored keeps its key, and is not stored twice
    after = sources(archive)
    assert after == found | {"2021/IMG_0.png": str(photos / "2021" / "IMG_0.png")}
    assert underpaint("verify", archive) == 0


def test_shards_of_one_name_are_all_kept(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    write_tar(tmp_path / "2019" / "shard.tar", 0, 1)
    write_tar(tmp_path / "2020" / "shard.tar", 50, 51, 52)
    for _ in range(2):
        assert encode(archive, tmp_path / "2019") == 0
        assert encode(archive, tmp_path / "2020") == 0
        assert len(sources(archive)) == 5
    assert underpaint("verify", archive) == 0


def test_a_changed_file_is_a_failure_that_is_said_once(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "archive"
    assert encode(archive, photos) == 0
    before = Archive.open(archive).get("2019/IMG_1.png").layers
    save(photos / "2019" / "IMG_1.png", 300, side=64)
    for _ in range(3):
        assert encode(archive, photos) == 1
        [letter] = Archive.open(archive).dead_letters()
        assert (letter.key, letter.error) == ("2019/IMG_1.png", "SourceChanged")
    assert "others than were stored" in capfd.readouterr().err
    assert Archive.open(archive).get("2019/IMG_1.png").layers == before
    assert underpaint("verify", archive) == 0


@pytest.mark.parametrize(
    ("policy", "status", "rows", "failed"), [("skip", 0, 3, 0), ("fail", 1, 3, 3)]
)
def test_policies(
    photos: Path, tmp_path: Path, policy: str, status: int, rows: int, failed: int
) -> None:
    archive = tmp_path / "archive"
    assert encode(archive, photos / "2019") == 0
    for _ in range(2):
        assert encode(archive, photos / "2020", "--on-conflict", policy) == status
        statistics = Archive.open(archive).statistics()
        assert (statistics.images, statistics.failed) == (rows, failed)
    assert {letter.error for letter in Archive.open(archive).dead_letters()} <= {"KeyConflict"}


def test_keys_that_tables_state_twice_are_kept_apart(tmp_path: Path) -> None:
    for table, numbers in (("one", (0, 1, 2)), ("two", (3, 4))):
        lines = ["path,name"]
        for number in numbers:
            save(tmp_path / f"{number}.png", number)
            lines.append(f"{tmp_path}/{number}.png,{'cat' if number != 1 else 'dog'}")
        (tmp_path / f"{table}.csv").write_text("\n".join(lines))
    arguments = (tmp_path / "one.csv", tmp_path / "two.csv", "--url-column", "path")
    archive = tmp_path / "archive"
    assert encode(archive, *arguments, "--key-column", "name") == 0
    assert len(Archive.open(archive).files) == 2  # a unit for each table
    found = sources(archive)
    assert len(set(found.values())) == len(found) == 5
    assert found["cat"].endswith("/0.png")
    assert Archive.open(archive).duplicate_keys() == []
    before = (archive / "manifest.json").read_bytes()
    assert encode(archive, *arguments, "--key-column", "name") == 0  # nothing is left to do
    assert (archive / "manifest.json").read_bytes() == before
