"""Keys and sources over several runs: nothing is lost, stored twice or replaced in silence."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from tests.helpers.dated_folders import encode, save, save_two_years, sources
from tests.helpers.pictures import underpaint
from underpaint.codec.archive import Archive


def write_tar(path: Path, *numbers: int, name: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for place, number in enumerate(numbers):
            out = io.BytesIO()
            Image.fromarray(data.astronaut()[number : number + 32, :48]).save(out, "PNG")
            member = tarfile.TarInfo(name or f"{place}.png")
            member.size = out.tell()
            out.seek(0)
            tar.addfile(member, out)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two years of photos with the same names."""
    return save_two_years(tmp_path / "photos", 3)


def test_a_key_that_is_taken_is_kept_apart_by_a_hash(photos: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    assert encode(archive, photos / "2019") == 0
    save(photos / "IMG_1.png", 150)
    assert encode(archive, photos) == 0
    found = sources(archive)
    assert sorted(found.values()) == sorted(map(str, photos.rglob("*.png")))
    [renamed] = [row for row in Archive.open(archive).rows() if row.notes]
    assert renamed.source_uri == str(photos / "IMG_1.png")
    assert renamed.key.startswith("IMG_1-")
    assert renamed.key.endswith(".png")
    assert renamed.notes == ('renamed: the key "IMG_1.png" belongs to another picture',)
    assert encode(archive, photos) == 0  # what is stored keeps its key, and is not stored twice
    assert sources(archive) == found
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


def test_all_different_members_of_one_name_are_kept(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    write_tar(tmp_path / "shard.tar", 0, 50, 100, 150, name="x.png")
    for _ in range(2):
        assert encode(archive, tmp_path / "shard.tar") == 0
        assert len(sources(archive)) == 4
    assert underpaint("verify", archive) == 0


@pytest.mark.parametrize(
    ("contents", "kept", "repeated"),
    [((0, 0), 1, 1), ((0, 50, 100, 100), 3, 1), ((0, 50, 0, 50, 100), 3, 2)],
)
def test_equal_members_of_one_name_are_one_picture(
    tmp_path: Path, contents: tuple[int, ...], kept: int, repeated: int
) -> None:
    archive = tmp_path / "archive"
    write_tar(tmp_path / "shard.tar", *contents, name="x.png")
    for _ in range(2):
        assert encode(archive, tmp_path / "shard.tar", "--strict") == 0
        opened = Archive.open(archive)
        assert (len(opened), opened.statistics().failed) == (kept, 0)
        assert opened.statistics().skipped == {"listed twice": repeated}


def test_a_file_that_several_inputs_list_is_one_picture(photos: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    one = photos / "2019" / "IMG_1.png"
    inputs = (photos, f"{photos}/*/*_1.png", one, photos / "2020", photos / "2020", one)
    assert encode(archive, *inputs, "--strict") == 0
    opened = Archive.open(archive)
    assert sorted(sources(archive).values()) == sorted(map(str, photos.rglob("*.png")))
    assert opened.statistics().failed == 0
    assert opened.statistics().skipped == {"listed twice": 10}


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
    assert "has changed since it was stored: it has" in capfd.readouterr().err
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
    others = other_photos_of_the_same_keys(photos)
    for _ in range(2):
        assert encode(archive, others, "--on-conflict", policy) == status
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


def other_photos_of_the_same_keys(photos: Path) -> Path:
    """Photos around the folder of 2019, whose keys are those of that year."""
    for number in range(3):
        save(photos / f"IMG_{number}.png", 100 + number)
    return photos / "*.png"


def digests(archive: Path) -> dict[str, str]:
    """Key of each row -> SHA-256 of its source in hex."""
    return {row.key: row.source_sha256.hex() for row in Archive.open(archive).rows(layers=1)}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_replace_puts_changed_files_in_place_of_the_stored_ones(
    photos: Path, tmp_path: Path
) -> None:
    archive, edited = tmp_path / "archive", photos / "2019" / "IMG_1.png"
    assert encode(archive, photos / "2019") == 0
    assert encode(archive, photos) == 0
    for first in (300, 250):
        save(edited, first, side=64)
        assert encode(archive, photos) == 1  # the edit is reported …
        for _ in range(2):
            assert encode(archive, photos, "--on-conflict", "replace") == 0  # … and stored
            statistics = Archive.open(archive).statistics()
            assert (statistics.images, statistics.failed) == (6, 0)
            assert digests(archive)["IMG_1.png"] == digest(edited)
            assert sources(archive)["IMG_1.png"] == str(edited)
            assert underpaint("verify", archive) == 0
    pixels = {row.key: row.height for row in Archive.open(archive).rows(layers=1)}
    assert statistics.pixels == 48 * sum(pixels.values())


def test_replace_puts_another_source_in_place_of_one_that_is_not_among_the_inputs(
    photos: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    assert encode(archive, photos / "2019") == 0
    others = other_photos_of_the_same_keys(photos)
    for _ in range(2):
        assert encode(archive, others, "--on-conflict", "replace") == 0
        assert sorted(sources(archive).values()) == sorted(map(str, photos.glob("*.png")))
    assert underpaint("verify", archive) == 0


def test_a_killed_replacement_leaves_the_old_picture_and_is_finished_later(
    photos: Path, tmp_path: Path
) -> None:
    archive, edited = tmp_path / "archive", photos / "2019" / "IMG_1.png"
    assert encode(archive, photos) == 0
    before = digests(archive)
    published = (archive / "manifest.json").read_bytes()
    save(edited, 300, side=64)
    assert encode(archive, photos, "--on-conflict", "replace") == 0
    after = (archive / "manifest.json").read_bytes()
    for rewritten in (archive / "commits").glob("*.keys*.json"):
        rewritten.unlink()  # as if the run had been killed before it published
    (archive / "manifest.json").write_bytes(published)
    assert digests(archive) == before
    assert encode(archive, photos, "--on-conflict", "replace") == 0
    assert (archive / "manifest.json").read_bytes() == after
    assert digests(archive) == before | {"2019/IMG_1.png": digest(edited)}


def test_an_edit_that_keeps_the_size_is_noticed_and_a_touched_file_is_not(
    photos: Path, tmp_path: Path
) -> None:
    archive, edited = tmp_path / "archive", photos / "2019" / "IMG_1.bmp"
    save(edited, 0)
    assert encode(archive, photos) == 0
    for path in photos.rglob("*.*"):
        os.utime(path, (1e9, 1e9))
    assert encode(archive, photos) == 0
    assert not list(Archive.open(archive).dead_letters())
    size = edited.stat().st_size
    save(edited, 300)
    os.utime(edited, (2e9, 2e9))
    assert edited.stat().st_size == size
    assert encode(archive, photos) == 1
    [letter] = Archive.open(archive).dead_letters()
    assert (letter.key, letter.error) == ("2019/IMG_1.bmp", "SourceChanged")


def test_a_changed_member_of_a_shard_is_noticed_and_replaced(tmp_path: Path) -> None:
    archive, shard = tmp_path / "archive", tmp_path / "shard.tar"
    write_tar(shard, 0, 1)
    assert encode(archive, shard) == 0
    before = digests(archive)
    write_tar(shard, 0, 100, 50, 51, 52, 53, 54, 55)
    assert encode(archive, shard) == 1
    [letter] = Archive.open(archive).dead_letters()
    assert (letter.key, letter.error) == ("shard/1.png", "SourceChanged")
    for _ in range(2):
        assert encode(archive, shard, "--on-conflict", "replace") == 0
        after = digests(archive)
        assert len(after) == 8
        assert {key for key in before if before[key] != after[key]} == {"shard/1.png"}
    assert underpaint("verify", archive) == 0
