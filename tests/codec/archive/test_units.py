"""The columns of all units: read by the page alone, block by block, and merged with new commits."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from underpaint.codec.archive import (
    Archive,
    Commit,
    FileEntry,
    committed_units,
    publish,
    sweep,
    unit_merging,
)
from underpaint.codec.archive import unit_file as unit_file_module
from underpaint.codec.archive import units as units_module
from underpaint.codec.archive.key_conflicts import overlapping
from underpaint.codec.archive.manifest import read_manifest
from underpaint.codec.archive.record_json import encode_commit
from underpaint.codec.archive.records import without_rows
from underpaint.codec.archive.unit_merging import merged
from underpaint.codec.archive.units import Units
from underpaint.codec.errors import ArchiveDamaged, ArchiveError
from underpaint.codec.storage.files import Storage

SIZES, LAYERS = (256, 0), ("coarse", "fine")


def entry(folder: str, unit: str, rng: np.random.Generator) -> FileEntry:
    sha256 = rng.bytes(32).hex()
    groups = tuple(map(int, rng.integers(1, 100, rng.integers(1, 4))))
    path = f"{folder}/{unit}-{sha256[:16]}.parquet"
    return FileEntry(path, int(rng.integers(1000, 2**40)), sha256, 100, rng.bytes(32).hex(), groups)


def commit(number: int, **changes: Any) -> Commit:
    rng = np.random.default_rng(number)
    unit = f"unit-{number:04d}"
    counts = [tuple(map(int, rng.integers(0, 2**50, 2))) for _ in SIZES]
    label = ("cls", "int64") if number % 5 else ("caption", "string")
    made = Commit(
        unit=unit,
        weights_id="0" * 16,
        layer_names=LAYERS,
        labels=(label,),
        embedding_size=None,
        keeps_source=False,
        content=rng.bytes(32).hex(),
        data=entry("data", unit, rng) if number % 7 else None,
        failed=entry("failed", unit, rng) if number % 3 == 0 else None,
        pixels=int(rng.integers(0, 2**53)),
        layer_bytes=tuple(map(sum, zip(*counts, strict=True))),
        sizes=SIZES,
        size_bytes=tuple(counts),
        failures={"read: OSError": number, "décode: Größe": 1} if number % 3 == 0 else {},
        skipped={".txt": number} if number % 4 == 0 else {},
        roots={"file:///photos": "ü"} if number % 11 == 0 else {},
        first_key=f"{number:04d} ä" if number % 7 else None,
        last_key=f"{number:04d} ö" if number % 7 else None,
        generation=number % 2,
        supersedes=number % 2 == 1,
    )
    return replace(made, **changes)


def put(root: Path, *commits: Commit) -> None:
    (root / "commits").mkdir(parents=True, exist_ok=True)
    for each in commits:
        (root / "commits" / f"{each.unit}.json").write_bytes(encode_commit(each))


@pytest.fixture(params=["one block", "many blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of units in blocks of 7, of which no column is read before it is needed."""
    if request.param == "many blocks":
        monkeypatch.setattr(units_module, "BLOCK_UNITS", 7)
        monkeypatch.setattr(unit_merging, "BLOCK_UNITS", 7)
        monkeypatch.setattr(unit_file_module, "BLOCK_UNITS", 7)
        monkeypatch.setattr("underpaint.codec.archive.manifest.WHOLE_UNITS", 0)
        monkeypatch.setattr(unit_file_module, "WHOLE_UNITS", 0)
        monkeypatch.setattr(unit_file_module, "TAIL_BYTES", 16)


def plain_digest(values: Sequence[Any]) -> str:
    """Return the digest of a column as rule A23 words it."""

    def content(values: Sequence[Any]) -> Iterator[bytes]:
        if any(isinstance(value, list) for value in values):
            yield from (struct.pack("<q", len(value or [])) for value in values)
            yield from content([item for value in values for item in value or []])
        elif any(isinstance(value, str | bytes) for value in values):
            parts = [v.encode() if isinstance(v, str) else v or b"" for v in values]
            yield from (struct.pack("<q", len(part)) for part in parts)
            yield from parts
        else:
            yield from (struct.pack("<q", int(value or 0)) for value in values)

    there = bytes(value is not None for value in values)
    parts = [struct.pack("<q", len(values)), there, *content(values)]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_the_units_can_be_read_by_the_page_alone(tmp_path: Path, blocks: None) -> None:
    commits = [commit(n, replaces=("unit-0001",) if n == 23 else ()) for n in range(40)]
    put(tmp_path, *commits)
    publish(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_bytes())
    file = pq.ParquetFile(tmp_path / "units" / f"{manifest['units_sha256'][:16]}.parquet")
    text = file.metadata.metadata[b"underpaint.digests"]
    assert hashlib.sha256(text).hexdigest() == manifest["units_sha256"]
    names, *digests = [line.split(" ") for line in text.decode().split("\n")[:-1]]
    assert names == file.schema_arrow.names
    units = []
    for block, expected in enumerate(digests):
        rows = file.read_row_group(block).to_pylist()
        for name, digest in zip(names, expected, strict=True):
            column = [row[name] for row in rows]
            if any(value is not None for value in column):  # a type shows in no null
                assert plain_digest(column) == digest, name
        units += rows
    assert len(units) == manifest["units"] == 40
    assert sum(sum(unit["data_row_groups"] or []) for unit in units) == manifest["rows"]
    for unit, known in zip(units, commits, strict=True):
        record = json.loads((tmp_path / "commits" / f"{known.unit}.json").read_bytes())
        if known.unit == "unit-0001":
            record = json.loads(encode_commit(without_rows(known)))
        assert [["cls", "int64"]] in manifest["label_sets"]
        assert manifest["label_sets"][unit["labels"]] == record["labels"]
        assert unit["content"].hex() == record["content"]
        for folder in ("data", "failed"):
            sha256 = unit[f"{folder}_sha256"]
            if record[folder] is None:
                assert sha256 is None
                continue
            assert sha256.hex() == record[folder]["sha256"]
            assert unit[f"{folder}_footer_sha256"].hex() == record[folder]["footer_sha256"]
            for name in ("bytes", "footer_bytes", "row_groups"):
                assert unit[f"{folder}_{name}"] == record[folder][name]
        for name in ("pixels", "source_bytes", "layer_bytes", "first_key", "last_key", "retries"):
            assert unit[name] == record[name]
        assert unit["size_bytes"] == [*chain.from_iterable(record["size_bytes"])]
        for name in ("failures", "skipped", "roots"):
            assert json.loads(unit[name] or "{}") == record.get(name, {})
        assert unit["replaces"] == record.get("replaces")
        assert (unit["generation"], unit["supersedes"]) == (
            record.get("generation", 0),
            record.get("supersedes", False),
        )


@pytest.mark.parametrize("seed", range(2))
def test_any_order_of_publishing_gives_the_same_manifest(
    tmp_path: Path, blocks: None, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    names = [f"unit-{number:04d}" for number in range(30)]
    commits = [
        commit(n, replaces=tuple(names[n - 3 : n - 1]) if n in (12, 25) else ()) for n in range(30)
    ]
    put(tmp_path / "at once", *commits)
    whole = publish(tmp_path / "at once")
    order = [commits[number] for number in rng.permutation(30)]
    while order:
        some = int(rng.integers(5, 20))
        put(tmp_path / "bit by bit", *order[:some])
        grown = publish(tmp_path / "bit by bit")
        order = order[some:]
        assert list(committed_units(tmp_path / "bit by bit").units) == list(grown.units)
    pointers = [
        (tmp_path / name / "manifest.json").read_bytes() for name in ("at once", "bit by bit")
    ]
    assert pointers[0] == pointers[1]
    replaced = {*names[9:11], *names[22:24]}
    expected = [without_rows(each) if each.unit in replaced else each for each in commits]
    assert list(whole.units) == expected
    assert whole.units == pickle.loads(pickle.dumps(grown)).units
    assert [whole.units[n] for n in (0, 17, -1)] == [expected[n] for n in (0, 17, -1)]
    assert list(whole.units.files) == [each.data for each in expected if each.data]
    assert whole.units.files[-3:] == list(whole.units.files)[-3:]
    groups = [
        (file, group, rows)
        for file, each in enumerate(whole.units.files)
        for group, rows in enumerate(each.row_groups)
    ]
    assert list(zip(*(part.tolist() for part in whole.units.groups), strict=True)) == groups
    assert whole.rows == sum(rows for _, _, rows in groups)
    assert [e.unit for e in whole.units.failed()] == [e.unit for e in expected if e.failed]


def test_totals_are_those_of_the_commits(tmp_path: Path, blocks: None) -> None:
    commits = [commit(n, retries="unit-0003" if n == 30 else None) for n in range(40)]
    put(tmp_path, *commits)
    publish(tmp_path)
    found = Archive.open(tmp_path).statistics()
    assert found.pixels == sum(each.pixels for each in commits)
    assert found.layer_bytes == tuple(sum(c.layer_bytes[n] for c in commits) for n in range(2))
    assert found.size_bytes == tuple(
        tuple(sum(c.size_bytes[size][n] for c in commits) for n in range(2)) for size in range(2)
    )
    files = [file for each in commits for file in (each.data, each.failed) if file]
    assert found.file_bytes == sum(file.bytes for file in files)
    current = [each for each in commits if each.unit != "unit-0003"]
    assert found.failed == sum(each.dead_letters for each in current)
    assert found.failures["read: OSError"] == sum(range(0, 40, 3)) - 3
    assert found.skipped == {".txt": sum(range(0, 40, 4))}


def test_a_unit_without_a_record_makes_the_manifest_out_of_date(tmp_path: Path) -> None:
    """The rows of a unit come back if the unit that replaced them is taken away by hand."""
    put(tmp_path, commit(1), commit(2, replaces=("unit-0001",)))
    assert [unit.data for unit in publish(tmp_path).units] == [None, commit(2).data]
    (tmp_path / "commits" / "unit-0002.json").unlink()
    assert list(publish(tmp_path).units) == [commit(1)]


def test_units_of_two_archives_do_not_mix(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"'unit-0001' and 'unit-0002' .*differ in weights"):
        Units.of([commit(1), commit(2, weights_id="1" * 16)])
    with pytest.raises(ArchiveError, match="differ in metadata"):
        merged(Units.of([commit(1)]), Units.of([commit(2, metadata="exif")]))
    with pytest.raises(ArchiveDamaged, match="named twice"):
        merged(Units.of([commit(1)]), Units.of([commit(1)]))


def test_opening_reads_no_column_and_each_column_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("underpaint.codec.archive.manifest.WHOLE_UNITS", 0)
    monkeypatch.setattr(unit_file_module, "WHOLE_UNITS", 0)
    monkeypatch.setattr(unit_file_module, "TAIL_BYTES", 16)
    put(tmp_path, *(commit(n) for n in range(600)))
    publish(tmp_path)
    path = tmp_path / read_manifest(Storage(tmp_path)).file
    ranges: list[int] = []
    read_range = Storage.read_range

    def counted(storage: Storage, name: str, start: int, stop: int) -> bytes:
        ranges.append(stop - start)
        return read_range(storage, name, start, stop)

    monkeypatch.setattr(Storage, "read_range", counted)
    archive = Archive.open(tmp_path)
    assert len(archive) == sum(commit(n).rows for n in range(600))
    assert sum(ranges) < path.stat().st_size / 5
    ranges.clear()
    assert len(archive.manifest.units.column("pixels")) == 600
    assert 600 < sum(ranges) < path.stat().st_size / 5
    ranges.clear()
    assert len(archive.manifest.units.column("pixels")) == 600
    assert not ranges
    content = bytearray(path.read_bytes())
    digest = commit(123).content
    content[content.index(bytes.fromhex(digest))] ^= 1
    path.write_bytes(content)
    opened = Archive.open(tmp_path)
    assert opened.statistics() == archive.statistics()
    with pytest.raises(ArchiveDamaged, match=r"units/.*: block 0: "):
        opened.manifest.units.column("content")
    publish(tmp_path)
    assert Archive.open(tmp_path).manifest == archive.manifest


def test_workers_of_a_reader_need_no_earlier_manifest(tmp_path: Path) -> None:
    """Of a small archive; a large one is read again, as long as `sweep` leaves its file."""
    put(tmp_path, commit(1), commit(2))
    publish(tmp_path)
    opened = Archive.open(tmp_path).manifest
    put(tmp_path, commit(3))
    publish(tmp_path)
    assert sweep(tmp_path, older_than_s=0).keys() == {opened.file}
    assert list(pickle.loads(pickle.dumps(opened)).units) == [commit(1), commit(2)]


def test_a_missing_file_of_units_says_what_to_do(tmp_path: Path) -> None:
    put(tmp_path, commit(1))
    publish(tmp_path)
    for path in (tmp_path / "units").iterdir():
        path.unlink()
    with pytest.raises(ArchiveDamaged, match=r"the file is missing; .* open it again"):
        Archive.open(tmp_path)
    assert list(publish(tmp_path).units) == [commit(1)]


@pytest.mark.parametrize("seed", range(30))
def test_overlapping_ranges_of_keys_are_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    letters = "abcdefghijkl"
    ranges = np.sort(rng.integers(0, len(letters) - 1, (12, 2)))
    commits = [
        commit(n + 1, first_key=letters[first], last_key=letters[last], data=commit(1).data)
        for n, (first, last) in enumerate(ranges)
    ]
    known = rng.random(12) < rng.choice([0, 0.5, 0.9, 1])
    published = [each for each, old in zip(commits, known, strict=True) if old]
    found = overlapping(Units.of(commits), Units.of(published)).to_pylist()

    def overlap(one: int, other: int) -> bool:
        return ranges[one][0] <= ranges[other][1] and ranges[other][0] <= ranges[one][1]

    needed = {
        commits[number].unit
        for one in np.flatnonzero(~known)
        for other in range(12)
        if one != other and overlap(one, other)
        for number in (one, other)
    }
    assert needed <= set(found)
    assert len(found) in (len(needed), *range(len(needed), 13))
    if known.all():
        assert found == []
