"""Repair: what can be proved sound is kept, all else is named, and nothing is made up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.streams import framed
from underpaint.codec.archive import Archive, ArchiveWriter, DeadLetter, Row, publish
from underpaint.codec.archive.tools.repair import Repaired, mended_bit, repair
from underpaint.codec.bitstream import PictureHeader
from underpaint.codec.errors import NotAnArchive, UsageError

LABELS = pa.schema([("class", pa.int64()), ("tags", pa.list_(pa.string()))])


def stream(rng: np.random.Generator) -> tuple[bytes, ...]:
    """Three layers with sound frames around noise."""
    payloads = [rng.bytes(4 * words) for words in (5, 20, 60)]
    return tuple(framed(payloads, PictureHeader(8, 9, "0" * 16)))


def write(root: Path, unit: str, keys: list[str], failed: list[str], **options) -> None:
    rng = np.random.default_rng(len(unit))
    with ArchiveWriter(
        root, unit, layers=("c", "m", "f"), weights_id="0" * 16, label_schema=LABELS,
        keep_source=True, row_group_bytes=300, **options,
    ) as writer:  # fmt: skip
        for number, key in enumerate(keys):
            labels = {"class": number, "tags": ["a", key]}
            writer.add(Row(key, stream(rng), 9, 8, labels=labels, source=rng.bytes(50)))
        for key in failed:
            writer.fail(DeadLetter(key, f"file:///{key}", "read", "PictureDamaged"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "archive"
    write(root, "one", [f"a{n:02}" for n in range(20)], ["bad", "again"])
    write(root, "two", [f"b{n:02}" for n in range(10)], [])
    write(root, "two.retry", ["again"], ["bad"], retries="one")
    publish(root)
    return root


def data_file(root: Path, unit: str) -> Path:
    return next((root / "data").glob(f"{unit}-*"))


def repaired(root: Path) -> tuple[Repaired, list[str], Archive]:
    lines: list[str] = []
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    target = root.parent / "repaired"
    done = repair(root, target, lines.append)
    after = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert before == after, "the damaged archive is left as it is"
    archive = Archive.open(target)
    assert list(archive.check_files()) == []
    assert all("\n" not in line for line in lines)
    return done, lines, archive


def contents(archive: Archive) -> tuple[dict[str, Row], list[DeadLetter]]:
    rows = {row.key: row for row in archive.rows(source=True)}
    assert len(rows) == archive.rows_count
    return rows, sorted(archive.dead_letters(), key=lambda letter: letter.key)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 8
    path.write_bytes(data)


def test_a_sound_archive_is_copied_whole(root: Path) -> None:
    sound = contents(Archive.open(root))
    done, lines, archive = repaired(root)
    assert (done.whole, done.cut, done.lost, lines) == (31, 0, 0, [])
    assert contents(archive) == sound
    contents_of = {unit.unit: unit.content for unit in Archive.open(root).manifest.units}
    assert {unit.unit: unit.content for unit in archive.manifest.units} == contents_of


RECORDS: dict[str, Callable[[Path], object]] = {
    "manifest lost": lambda root: (root / "manifest.json").unlink(),
    "manifest half-written": lambda root: (root / "manifest.json").write_bytes(
        (root / "manifest.json").read_bytes()[:300]
    ),
    "commit records lost": lambda root: [p.unlink() for p in (root / "commits").iterdir()],
    "manifest and one record lost": lambda root: [
        (root / "manifest.json").unlink(),
        (root / "commits" / "two.json").unlink(),
    ],
    "manifest and the record of a retry lost": lambda root: [
        (root / "manifest.json").unlink(),
        flip(root / "commits" / "two.retry.json", 50),
    ],
    "manifest and all records lost": lambda root: [
        (root / "manifest.json").unlink(),
        *(p.unlink() for p in (root / "commits").iterdir()),
    ],
}


@pytest.mark.parametrize("damage", RECORDS)
def test_lost_records_are_rebuilt_from_what_proves_itself(root: Path, damage: str) -> None:
    sound = contents(Archive.open(root))
    RECORDS[damage](root)
    done, lines, archive = repaired(root)
    assert contents(archive) == sound
    assert (done.whole, done.cut, done.lost) == (31, 0, 0)
    assert bool(lines) == ("manifest" in damage)
    assert not any("left out" in line for line in lines)
    assert archive.statistics().failed == 1
    names = ("layer_0", "layer_1", "layer_2") if "all records" in damage else ("c", "m", "f")
    assert archive.layer_names == names


def test_half_written_files_are_left_out_and_named(root: Path) -> None:
    sound = contents(Archive.open(root))
    whole = data_file(root, "two").read_bytes()
    (root / "data" / ".tmp-three-123").write_bytes(whole[:1000])
    (root / "data" / f"three-{'0' * 16}.parquet").write_bytes(whole[:-100])
    (root / "data" / f"four-{'0' * 16}.parquet").write_bytes(whole)
    _, lines, archive = repaired(root)
    assert contents(archive) == sound
    assert [line.split(":")[0] for line in lines] == [
        "data/.tmp-three-123",
        f"data/four-{'0' * 16}.parquet",
        f"data/three-{'0' * 16}.parquet",
    ]


def test_a_cut_file_costs_its_unit_which_is_left_to_be_made_again(root: Path) -> None:
    sound, letters = contents(Archive.open(root))
    path = data_file(root, "two")
    path.write_bytes(path.read_bytes()[:-2000])
    done, lines, archive = repaired(root)
    assert contents(archive) == ({k: r for k, r in sound.items() if k[0] != "b"}, letters)
    assert (done.whole, done.lost, done.lost_units) == (21, 10, 1)
    assert "unit two: lost as a whole, 10 pictures" in lines
    assert "two" not in {unit.unit for unit in archive.manifest.units}


def test_damaged_layers_are_cut_off_and_lost_rows_become_dead_letters(root: Path) -> None:
    sound, _ = contents(Archive.open(root))
    path = data_file(root, "one")
    data = path.read_bytes()
    for key, layer in (("a03", 1), ("a07", 2), ("a11", 0)):
        flip(path, data.index(sound[key].layers[layer]) + 30)
    done, lines, archive = repaired(root)
    rows, after = contents(archive)
    assert (done.whole, done.cut, done.lost) == (28, 2, 1)
    assert rows["a03"].layers == sound["a03"].layers[:1]
    assert rows["a07"].layers == sound["a07"].layers[:2]
    assert [(letter.key, letter.stage) for letter in after] == [("a11", "repair"), ("bad", "read")]
    assert any("'a11'" in line for line in lines)
    untouched = {k: r for k, r in sound.items() if k not in ("a03", "a07", "a11")}
    assert {k: rows[k] for k in rows if k not in ("a03", "a07")} == untouched


def test_lost_rows_are_dead_letters_with_their_reason(root: Path) -> None:
    sound, _ = contents(Archive.open(root))
    path = data_file(root, "two")
    flip(path, path.read_bytes().index(sound["b05"].layers[0]) + 30)
    _, _, archive = repaired(root)
    [letter] = [letter for letter in archive.dead_letters() if letter.key == "b05"]
    assert (letter.stage, letter.error) == ("repair", "ArchiveDamaged")
    assert "checksum" in letter.message


def test_a_damaged_optional_column_is_emptied_and_said(root: Path) -> None:
    sound, _ = contents(Archive.open(root))
    path = data_file(root, "two")
    flip(path, path.read_bytes().index(sound["b02"].source) + 3)
    done, lines, archive = repaired(root)
    assert (done.whole, done.lost) == (31, 0)
    rows, _ = contents(archive)
    assert rows["b02"].source is None
    assert rows["b02"].layers == sound["b02"].layers
    assert rows["b02"].labels == sound["b02"].labels
    assert any("column 'source' is lost" in line for line in lines)


def test_unreadable_keys_cost_their_row_group_only(root: Path) -> None:
    archive = Archive.open(root)
    entry = archive.manifest.units[0].data
    chunk = archive.data.reader.chunks(entry, 1, ["key"])["key"]
    flip(data_file(root, "one"), chunk[1] - 1)
    done, lines, after = repaired(root)
    assert done.lost == entry.row_groups[1] > 0
    assert done.whole == 31 - done.lost
    assert any("row group 1" in line for line in lines)
    assert len(contents(after)[0]) == done.whole


def test_a_flipped_bit_of_a_footer_is_mended_by_its_checksum(root: Path) -> None:
    sound = contents(Archive.open(root))
    path, entry = data_file(root, "two"), Archive.open(root).manifest.units[1].data
    flip(path, entry.bytes - entry.footer_bytes // 2)
    done, lines, archive = repaired(root)
    assert contents(archive) == sound
    assert (done.whole, done.lost) == (31, 0)
    assert any("one bit of its footer was flipped, and is mended" in line for line in lines)


def test_a_footer_with_more_damage_is_not_used(root: Path) -> None:
    sound, letters = contents(Archive.open(root))
    path, entry = data_file(root, "two"), Archive.open(root).manifest.units[1].data
    for at in (30, 31):
        flip(path, entry.bytes - entry.footer_bytes + at)
    done, _, archive = repaired(root)
    assert (done.whole, done.lost, done.lost_units) == (21, 10, 1)
    assert contents(archive) == ({k: r for k, r in sound.items() if k[0] != "b"}, letters)


@given(st.binary(min_size=1, max_size=60), st.data())
def test_mending_finds_every_flipped_bit_and_nothing_else(data: bytes, draw: st.DataObject) -> None:
    sha256 = hashlib.sha256(data).hexdigest()
    bit = draw.draw(st.integers(0, 8 * len(data) - 1))
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8
    assert mended_bit(bytes(flipped), sha256) == data
    other = (bit + 1) % (8 * len(data))
    flipped[other // 8] ^= 1 << other % 8
    assert mended_bit(bytes(flipped), sha256) in (None, data)
    assert mended_bit(bytes(flipped), "0" * 64) is None


def test_what_is_no_archive_and_wrong_targets_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="in its own place"):
        repair(root, root, print)
    with pytest.raises(UsageError, match="holds an archive already"):
        repair(root.parent / "archive", _other(tmp_path), print)
    with pytest.raises(NotAnArchive, match="nothing of an archive"):
        repair(tmp_path / "nowhere", tmp_path / "new", print)


def _other(tmp_path: Path) -> Path:
    write(tmp_path / "other", "x", ["k"], [])
    return tmp_path / "other"
