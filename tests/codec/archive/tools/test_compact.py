"""Small data files are joined; nothing else about an archive changes, however a run is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.helpers.streams import framed
from underpaint.codec.archive import (
    Archive,
    ArchiveWriter,
    DeadLetter,
    Row,
    orphans,
    publish,
    sweep,
)
from underpaint.codec.archive.tools.compact import compact
from underpaint.codec.archive.tools.repair import repair
from underpaint.codec.bitstream import PictureHeader
from underpaint.codec.errors import NotAnArchive, UsageError
from underpaint.codec.storage.files import Storage

LABELS = pa.schema([("cls", pa.int64()), ("items", pa.list_(pa.int32()))])


def write(
    root: Path,
    unit: str,
    keys: list[str],
    failed: tuple[str, ...] = (),
    uri: str = "",
    labels: pa.Schema = LABELS,
    **settings: object,
) -> None:
    rng = np.random.default_rng([*unit.encode()])
    with ArchiveWriter(
        root, unit, layers=("a", "b"), weights_id="0" * 16, label_schema=labels, **settings
    ) as writer:
        for number, key in enumerate(keys):
            parts = [rng.bytes(48), rng.bytes(304)] if number % 3 else [rng.bytes(48)]
            layers = tuple(framed(parts, PictureHeader(8, 8, "0" * 16)))
            found = {"cls": number, "items": [1, number]} if number % 2 else {}
            found = found if labels is LABELS else {}
            row = Row(key, layers, 8, 8, uri or f"/{key}", rng.bytes(32), 10, labels=found)
            writer.add(row)
        for key in failed:
            writer.fail(DeadLetter(key, f"/{key}", "decode", "PictureDamaged"))
        writer.skip(".txt", 2)


def make(root: Path, units: int = 12) -> None:
    """Write small units: one with dead letters and its retry, a large one, one without rows."""
    for number in range(units):
        keys = [f"{number:03d}/{n}" for n in range(5)]
        write(root, f"u-{number:03d}", keys, ("lost", "late") if number == 3 else ())
    write(root, "u-003-retry1", ["late"], ("lost",), retries="u-003")
    write(root, "u-005-large", [f"large/{n:03d}" for n in range(100)])
    write(root, "none", [])
    publish(root)


def content(root: Path) -> tuple[list[pa.Table], object, list[DeadLetter]]:
    """All rows in order, with the bytes of layers; the totals; the dead letters."""
    archive = Archive.open(root)
    groups = [group.table for group in archive.row_groups(archive.schema.names)]
    statistics = archive.statistics()
    totals = (statistics.images, statistics.pixels, statistics.source_bytes, statistics.layer_bytes)
    counts = (statistics.failed, dict(statistics.failures), dict(statistics.skipped))
    table = pa.concat_tables(groups).combine_chunks()
    return table, (totals, counts), list(archive.dead_letters())


def sound(root: Path) -> None:
    archive = Archive.open(root)
    assert list(archive.check_files()) == []
    assert archive.duplicate_keys() == []


def test_rows_stay_as_they_are_in_fewer_files(tmp_path: Path) -> None:
    make(tmp_path)
    before, files = content(tmp_path), len(Archive.open(tmp_path).files)
    limit = max(entry.bytes for entry in Archive.open(tmp_path).files)
    seen = []
    done = compact(tmp_path, limit, report=lambda *counts: seen.append(counts))
    assert (done.before, files) == (14, 14)
    assert done.after == len(Archive.open(tmp_path).files) < 9
    assert done.deleted == done.joined == seen[-1][0] == seen[-1][1]
    assert content(tmp_path) == before
    assert list(Archive.open(tmp_path).keys()) == before[0].column("key").to_pylist()
    sound(tmp_path)
    assert len(list((tmp_path / "data").iterdir())) == done.after
    assert {name.partition("/")[0] for name in orphans(tmp_path)} == {"units"}
    manifest = (tmp_path / "manifest.json").read_bytes()
    (tmp_path / "manifest.json").unlink()
    publish(tmp_path)
    assert (tmp_path / "manifest.json").read_bytes() == manifest


def test_row_groups_are_joined_too(tmp_path: Path) -> None:
    make(tmp_path)
    compact(tmp_path)
    assert {entry.row_groups for entry in Archive.open(tmp_path).files} == {(161,)}


def test_compacting_again_does_nothing(tmp_path: Path) -> None:
    make(tmp_path)
    assert compact(tmp_path).joined == 14
    manifest = (tmp_path / "manifest.json").read_bytes()
    again = compact(tmp_path)
    assert (again.before, again.after, again.joined, again.deleted) == (1, 1, 0, 0)
    assert (tmp_path / "manifest.json").read_bytes() == manifest


def test_an_archive_that_grows_is_compacted_again(tmp_path: Path) -> None:
    make(tmp_path)
    compact(tmp_path)
    for number in range(12, 15):
        write(tmp_path, f"u-{number:03d}", [f"{number:03d}/{n}" for n in range(5)])
    publish(tmp_path)
    before = content(tmp_path)
    assert compact(tmp_path).after == 1
    assert content(tmp_path) == before
    sound(tmp_path)


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.mark.parametrize("keep", [False, True])
def test_a_kill_at_any_moment_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    """Before each change of a file, with the next run to the end."""
    changes = ("put", "put_new", "put_file", "delete")
    left, fatal = 0, 0

    def counted(name: str) -> object:
        whole = getattr(Storage, name)

        def call(storage: Storage, *arguments: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return whole(storage, *arguments)

        return call

    for name in changes:
        monkeypatch.setattr(Storage, name, counted(name))
    while True:
        root, fatal = tmp_path / str(fatal), fatal + 1
        left = 0
        make(root, 4)
        before = content(root)
        limit = max(entry.bytes for entry in Archive.open(root).files)
        left = fatal
        try:
            compact(root, limit, keep=keep)
        except Killed:
            left = 0
            assert content(root) == before
            publish(root)
            assert content(root) == before
            sound(root)
            compact(root, limit, keep=keep)
            assert content(root) == before
            sound(root)
            sweep(root, older_than_s=0)
            assert len(list((root / "data").iterdir())) == len(Archive.open(root).files)
            continue
        break
    assert fatal > (4 if keep else 8)


KILLED = """
import sys
from underpaint.codec.archive.tools.compact import compact
print("begin", flush=True)
compact(sys.argv[1], 20_000)
"""


@pytest.mark.slow
def test_a_process_that_is_killed_at_random_moments_loses_nothing(tmp_path: Path) -> None:
    make(tmp_path, 120)
    before, rng = content(tmp_path), np.random.default_rng(0)
    kills = 0
    for _ in range(12):
        command = [sys.executable, "-P", "-c", KILLED, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stdout.readline() == b"begin\n"
            time.sleep(rng.uniform(0, 1.5))
            process.send_signal(signal.SIGKILL)
        kills += process.returncode == -signal.SIGKILL
        assert content(tmp_path) == before
    assert kills
    compact(tmp_path, 20_000)
    assert content(tmp_path) == before
    sound(tmp_path)
    sweep(tmp_path, older_than_s=0)
    assert orphans(tmp_path) == {}


def test_dead_letters_are_retried_after_it(tmp_path: Path) -> None:
    make(tmp_path)
    compact(tmp_path)
    assert [letter.key for letter in Archive.open(tmp_path).dead_letters()] == ["lost"]
    write(tmp_path, "u-003-retry2", ["lost"], retries="u-003-retry1")
    publish(tmp_path)
    assert list(Archive.open(tmp_path).dead_letters()) == []
    assert len(Archive.open(tmp_path)) == 162


def test_keys_of_later_units_are_compared_with_joined_ones(tmp_path: Path) -> None:
    make(tmp_path)
    compact(tmp_path)
    write(tmp_path, "v", ["003/1"], uri="/other")
    publish(tmp_path)
    archive = Archive.open(tmp_path)
    assert len(archive) == 162
    assert archive.duplicate_keys() == []
    before = content(tmp_path)
    compact(tmp_path)
    assert content(tmp_path) == before


def test_units_with_other_labels_or_that_supersede_are_not_joined(tmp_path: Path) -> None:
    other = pa.schema([("caption", pa.string())])
    write(tmp_path, "a", ["a"])
    write(tmp_path, "b", ["b"], labels=other)
    write(tmp_path, "c", ["c"], labels=other, generation=1)
    write(tmp_path, "d", ["d"], labels=other, generation=2)  # of another run
    write(tmp_path, "e", ["e"], labels=other, generation=1, supersedes=True)
    write(tmp_path, "f", ["f"], labels=other, generation=2, supersedes=True)
    publish(tmp_path)
    before = content(tmp_path)
    compact(tmp_path)
    units = {unit.unit: unit for unit in Archive.open(tmp_path).manifest.units if unit.data}
    assert list(units) == ["a", "b.pack001", "e", "f"]
    assert units["b.pack001"].generation == 2
    assert content(tmp_path) == before


@pytest.mark.parametrize("names", [("u", "u-b"), ("u", "u.keys1"), ("u", "u.pack001"), ("u", "v")])
def test_the_order_of_names_is_kept(tmp_path: Path, names: tuple[str, str]) -> None:
    """A unit whose name begins like that of the unit before it could come before the joined one."""
    write(tmp_path, names[0], ["1"])
    write(tmp_path, f"{names[0]}+", ["2"])
    write(tmp_path, names[1], [f"large {n}" for n in range(100)])
    publish(tmp_path)
    before = content(tmp_path)
    limit = max(entry.bytes for entry in Archive.open(tmp_path).files)
    compact(tmp_path, limit)
    assert content(tmp_path) == before


def test_a_reader_goes_on_where_small_files_are_kept(tmp_path: Path) -> None:
    make(tmp_path)
    opened, before = Archive.open(tmp_path), content(tmp_path)
    assert compact(tmp_path, keep=True).deleted == 0
    assert [row.key for row in opened.rows()] == before[0].column("key").to_pylist()
    assert len([name for name in orphans(tmp_path) if name.startswith("data/")]) == 14
    assert compact(tmp_path).deleted == 14
    sound(tmp_path)


def test_a_compacted_archive_can_be_repaired_and_mistakes_are_named(tmp_path: Path) -> None:
    make(tmp_path / "a")
    compact(tmp_path / "a")
    before = content(tmp_path / "a")
    (tmp_path / "a" / "manifest.json").unlink()
    repair(tmp_path / "a", tmp_path / "b", lambda line: None)
    assert content(tmp_path / "b") == before
    with pytest.raises(NotAnArchive):
        compact(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()
    with pytest.raises(UsageError, match="a data file of 0 bytes"):
        compact(tmp_path / "a", 0)
