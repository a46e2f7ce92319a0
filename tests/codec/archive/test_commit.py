"""Units of work are committed whole, once, in any order, on local and object storage."""

from __future__ import annotations

import hashlib
import json
import threading
import tracemalloc
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from underpaint.codec.archive import (
    Archive,
    ArchiveWriter,
    DeadLetter,
    Row,
    committed_units,
    orphans,
    publish,
    sweep,
)
from underpaint.codec.archive import writer as writer_module
from underpaint.codec.archive.manifest import write_manifest
from underpaint.codec.archive.record_json import (
    VERSION,
    decode_commit,
    decode_json,
    encode_json,
)
from underpaint.codec.errors import (
    ArchiveDamaged,
    ArchiveError,
    DuplicateKey,
    NotAnArchive,
    RowInvalid,
    UnitConflict,
    UnknownArchiveVersion,
    UsageError,
)
from underpaint.codec.storage.files import Storage

NAMES = ("coarse", "middle", "fine")
LABELS = pa.schema([("cls", pa.int64()), ("caption", pa.string())])


def row(key: str, seed: int = 0, **changes: object) -> Row:
    rng = np.random.default_rng([seed, *key.encode(errors="replace")])
    fields: dict[str, object] = {
        "key": key,
        "layers": tuple(rng.bytes(int(rng.integers(1, 400)) * 3**layer) for layer in range(3)),
        "width": 30,
        "height": 20,
        "source_uri": f"file:///photos/{key}",
        "source_sha256": hashlib.sha256(key.encode(errors="replace")).digest(),
        "source_bytes": 1000,
        "source_format": "JPEG",
    }
    return Row(**{**fields, **changes})  # type: ignore[arg-type]


def write(root: object, unit: str, keys: list[str], failed: list[str] = [], **settings) -> None:  # noqa: B006
    settings = {"layers": NAMES, "weights_id": "w" * 16, **settings}
    with ArchiveWriter(str(root), unit, **settings) as writer:
        for key in keys:
            writer.add(row(key))
        for key in failed:
            writer.fail(DeadLetter(key, f"file:///photos/{key}", "decode", "PictureDamaged", "cut"))


@pytest.fixture(params=["local", "memory", "gs"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "archive")
    if request.param == "gs":
        return f"{request.getfixturevalue('gs_folder')}/archive"
    return f"memory://{uuid.uuid4().hex}/archive"


def test_rows_come_back_as_they_were_written(root: str) -> None:
    vectors = np.arange(16, dtype=np.float16).reshape(4, 4) / 7
    rows = [
        row("a.jpg", labels={"cls": 3, "caption": "ein Mädchen 🎈"}, notes=("alpha composited",)),
        row("b/ü.png", labels={"cls": None}),
        row("c", layers=(b"only coarse",)),
        row("d", source_sha256=b"", source=b"\x00jpeg"),
    ]
    rows = [replace(item, embedding=vector) for item, vector in zip(rows, vectors, strict=True)]
    with ArchiveWriter(
        root,
        "unit",
        layers=NAMES,
        weights_id="w" * 16,
        label_schema=LABELS,
        embedding_size=4,
        keep_source=True,
    ) as writer:
        for item in rows:
            writer.add(item)
        writer.fail(DeadLetter("e", "file:///e", "read", "OSError", "gone", "Traceback …"))
    publish(root)
    archive = Archive.open(root)
    back = list(archive.rows(source=True))
    assert len(archive) == 4
    for before, after in zip(rows, back, strict=True):
        assert (before.key, before.layers, before.notes) == (after.key, after.layers, after.notes)
        assert before.source_sha256 == after.source_sha256
        assert before.source == after.source
        assert after.labels == {"cls": None, "caption": None, **before.labels}
        assert np.array_equal(before.embedding, after.embedding)
    assert [len(item.layers) for item in archive.rows(layers=2)] == [2, 2, 1, 2]
    assert archive.get("b/ü.png", layers=1).layers == rows[1].layers[:1]
    assert list(archive.dead_letters()) == [
        DeadLetter("e", "file:///e", "read", "OSError", "gone", "Traceback …")
    ]


def test_rows_wait_in_chunks_that_the_file_does_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"{number:04d}" for number in range(300)]
    write(tmp_path / "one", "unit", keys)
    monkeypatch.setattr(writer_module, "CHUNK_BYTES", 10_000)
    write(tmp_path / "many", "unit", keys)
    one, many = (committed_units(str(tmp_path / name))["unit"] for name in ("one", "many"))
    assert one.data
    assert one.data.bytes > 20 * 10_000
    assert one == many  # with the digest of the file


def test_rows_that_wait_for_their_group_are_not_objects(tmp_path: Path) -> None:
    blobs = 40
    tracemalloc.start()
    try:
        with ArchiveWriter(str(tmp_path), "unit", layers=NAMES, weights_id="w" * 16) as writer:
            for number in range(blobs):
                layers = (b"a", b"b", bytes([number]) * (1 << 20))
                writer.add(row(f"{number}", layers=layers))
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert writer.commit
    assert writer.commit.data
    assert writer.commit.data.row_groups == (blobs,)
    assert peak < 8 << 20  # of 40 MiB that wait


def test_statistics_count_all_bytes_of_each_layer_without_reading_data(tmp_path: Path) -> None:
    keys = [f"k{i:03}" for i in range(50)]
    write(tmp_path, "one", keys[:30], ["bad-1", "bad-2"])
    write(tmp_path, "two", keys[30:])
    publish(str(tmp_path))
    for file in (tmp_path / "data").iterdir():
        file.unlink()
    found = Archive.open(tmp_path).statistics()
    blobs = [row(key).layers for key in keys]
    assert found.layer_bytes == tuple(sum(len(layers[i]) for layers in blobs) for i in range(3))
    assert (found.images, found.pixels, found.source_bytes) == (50, 50 * 600, 50 * 1000)
    assert (found.failed, found.failures) == (2, {"decode: PictureDamaged": 2})


def test_nothing_counts_before_the_commit(root: str) -> None:
    def crash() -> None:
        settings = {"layers": NAMES, "weights_id": "w", "row_group_bytes": 100}
        with ArchiveWriter(root, "unit", **settings) as writer:  # type: ignore[arg-type]
            for index in range(20):
                writer.add(row(f"k{index}"))
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        crash()
    assert committed_units(root) == {}
    assert orphans(root) == {}
    write(root, "later", ["a"])
    assert [unit.rows for unit in publish(root).units] == [1]


def test_committing_the_same_unit_again_changes_nothing(root: str) -> None:
    write(root, "unit", ["a", "b"], ["c"])
    first = publish(root)
    write(root, "unit", ["a", "b"], ["c"])
    assert publish(root) == first
    assert orphans(root) == {}


def test_other_content_for_a_committed_unit_is_refused_and_leaves_nothing(root: str) -> None:
    write(root, "unit", ["a", "b"])
    first = committed_units(root)
    with pytest.raises(UnitConflict, match="unit 'unit' is already committed") as caught:
        write(root, "unit", ["a", "other"])
    assert caught.value.commit == first["unit"]
    assert committed_units(root) == first
    assert orphans(root) == {}


def test_publishing_twice_gives_equal_bytes(root: str) -> None:
    write(root, "b", ["1"])
    write(root, "a", ["2"])
    publish(root)
    before = Storage(root).read("manifest.json")
    publish(root)
    assert Storage(root).read("manifest.json") == before
    assert [unit.unit for unit in Archive.open(root).manifest.units] == ["a", "b"]


def test_many_writers_and_publishers_at_once_lose_nothing(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for unit in range(number, 12, 2):  # each unit is written by two threads
                write(tmp_path, f"unit-{unit:02}", [f"{unit}-{i}" for i in range(5)])
                publish(str(tmp_path))
        except BaseException as error:  # handed to the main thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number % 2,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    archive = Archive.open(tmp_path)
    assert sorted(archive.keys()) == sorted(f"{unit}-{i}" for unit in range(12) for i in range(5))
    assert {name.partition("/")[0] for name in orphans(tmp_path)} <= {
        "units"
    }  # of manifests before


def test_a_retry_voids_the_dead_letters_of_the_unit_it_retries(root: str) -> None:
    write(root, "unit", ["a"], ["b", "c"])
    write(root, "unit.retry-1", ["b"], ["c"], retries="unit")
    publish(root)
    archive = Archive.open(root)
    assert sorted(archive.keys()) == ["a", "b"]
    assert [letter.key for letter in archive.dead_letters()] == ["c"]
    assert archive.statistics().failed == 1


def test_a_unit_of_dead_letters_only_and_an_empty_one(root: str) -> None:
    write(root, "none", [])
    write(root, "bad", [], ["x"])
    publish(root)
    archive = Archive.open(root)
    assert (len(archive), list(archive.rows()), archive.statistics().failed) == (0, [], 1)
    assert set(committed_units(root)) == {"none", "bad"}


def test_orphans_are_swept_by_age_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, "unit", ["a"], ["b"])
    (tmp_path / "data" / ".tmp-unit-1-abc").write_bytes(b"half")
    (tmp_path / "data" / "unit-0123456789abcdef.parquet").write_bytes(b"lost a race")
    assert len(orphans(str(tmp_path))) == 2
    assert sweep(str(tmp_path), older_than_s=3600) == {}
    assert len(sweep(str(tmp_path), older_than_s=0)) == 2
    publish(str(tmp_path))
    assert list(Archive.open(tmp_path).keys()) == ["a"]
    assert len(list(Archive.open(tmp_path).dead_letters())) == 1


def test_files_of_a_lost_commit_record_are_not_swept(tmp_path: Path) -> None:
    write(tmp_path, "one", ["a"], ["b"])
    write(tmp_path, "two", ["c"])
    publish(str(tmp_path))
    (tmp_path / "commits" / "one.json").unlink()
    assert sweep(str(tmp_path), older_than_s=0) == {}
    archive = Archive.open(tmp_path)
    assert [row.key for row in archive.rows()] == ["a", "c"]
    assert [letter.key for letter in archive.dead_letters()] == ["b"]
    publish(str(tmp_path))  # without the unit, whose files nothing names now
    assert list(Archive.open(tmp_path).keys()) == ["c"]
    swept = sweep(str(tmp_path), older_than_s=0)
    assert {name.partition("-")[0] for name in swept} >= {"data/one", "failed/one"}


def test_keys_are_unique_in_a_unit_and_checked_over_an_archive(tmp_path: Path) -> None:
    with pytest.raises(DuplicateKey, match="a: the key is already"):
        write(tmp_path, "unit", ["a", "b", "a"])
    with pytest.raises(DuplicateKey):
        write(tmp_path, "unit", ["a"], ["a"])
    write(tmp_path, "one", ["a", "b"])
    write(tmp_path, "two", ["b", "c"])
    write_manifest(Storage(tmp_path), committed_units(tmp_path).units)  # as a foreign writer might
    assert Archive.open(tmp_path).duplicate_keys() == ["b"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": ""}, "a key has 1 to"),
        ({"key": "x" * 1025}, "a key has 1 to"),
        ({"key": "a\nb"}, "control character"),
        ({"key": "\udcff"}, "not valid Unicode"),
        ({"layers": ()}, "0 layers"),
        ({"layers": (b"x",) * 4}, "4 layers for an archive of 3"),
        ({"layers": (b"x", b"")}, "a layer has 1 to"),
        ({"width": 0}, "outside the limits"),
        ({"height": 65_536}, "outside the limits"),
        ({"source_sha256": b"short"}, "5 bytes, not 32"),
        ({"source_bytes": -1}, "negative"),
        ({"labels": {"shape": 1}}, "no label column 'shape'"),
        ({"labels": {"cls": "three"}}, "label 'cls' is no int64"),
        ({"embedding": np.zeros(3)}, "no embeddings"),
        ({"source": b"x"}, "keeps no source"),
    ],
)
def test_an_invalid_row_is_refused_and_the_others_stay(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with ArchiveWriter(
        tmp_path, "unit", layers=NAMES, weights_id="w", label_schema=LABELS
    ) as writer:
        writer.add(row("good"))
        with pytest.raises(RowInvalid, match=message):
            writer.add(row(**{"key": "bad", **changes}))  # type: ignore[arg-type]
    publish(str(tmp_path))
    assert list(Archive.open(tmp_path).keys()) == ["good"]


@pytest.mark.parametrize("unit", ["", "a/b", "../up", ".hidden", "a b", "x" * 161, "-x"])
def test_a_unit_name_that_could_leave_the_folder_is_refused(tmp_path: Path, unit: str) -> None:
    with pytest.raises(UsageError, match="cannot name a unit"):
        write(tmp_path, unit, [])


@pytest.mark.parametrize("label", ["key", "layer_0", "layer_17", "source", "embedding", ""])
def test_a_label_may_not_take_the_name_of_a_column(tmp_path: Path, label: str) -> None:
    with pytest.raises(UsageError, match="a label cannot be called"):
        write(tmp_path, "unit", [], label_schema=pa.schema([(label, pa.int64())]))


def test_commits_of_other_weights_or_layers_are_no_one_archive(tmp_path: Path) -> None:
    write(tmp_path, "a", ["1"])
    write(tmp_path, "b", ["2"], weights_id="v" * 16)
    with pytest.raises(ArchiveError, match=r"'a' and 'b' cannot be in one archive.*weights"):
        publish(str(tmp_path))


def test_a_path_without_an_archive_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing", "memory://nothing/here"):
        with pytest.raises(NotAnArchive, match=r"no archive there|no such folder"):
            Archive.open(path)
    (tmp_path / "manifest.json").write_text('{"name": "a web app"}')
    with pytest.raises(NotAnArchive, match="not a record of an Underpaint archive"):
        Archive.open(tmp_path)


@pytest.mark.slow
def test_every_cut_and_every_flipped_bit_of_the_units_is_noticed(tmp_path: Path) -> None:
    """Or changes nothing: some bytes of Parquet, such as the name of the writer, say nothing."""
    write(tmp_path, "unit", ["a"], ["b"])
    sound = publish(str(tmp_path))
    [path] = (tmp_path / "units").iterdir()
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(ArchiveDamaged):
            Archive.open(tmp_path)
    noticed = 0
    for bit in range(0, 8 * len(whole), 101):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            assert Archive.open(tmp_path).manifest == sound
        except ArchiveDamaged:
            noticed += 1
    assert noticed > 8 * len(whole) // 101 // 2
    publish(str(tmp_path))
    assert Archive.open(tmp_path).manifest == sound


@pytest.mark.slow
def test_every_cut_and_every_flipped_bit_of_a_manifest_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, "unit", ["a"], ["b"])
    publish(str(tmp_path))
    manifest = tmp_path / "manifest.json"
    whole = manifest.read_bytes()
    for length in range(len(whole)):
        manifest.write_bytes(whole[:length])
        with pytest.raises(ArchiveDamaged):
            Archive.open(tmp_path)
    for bit in range(0, 8 * len(whole), 3):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        manifest.write_bytes(changed)
        with pytest.raises((ArchiveDamaged, NotAnArchive)):
            Archive.open(tmp_path)


def test_a_damaged_manifest_is_rebuilt_from_the_commit_records(tmp_path: Path) -> None:
    write(tmp_path, "unit", ["a"])
    good = publish(str(tmp_path))
    (tmp_path / "manifest.json").write_bytes(b"{")
    assert publish(str(tmp_path)) == good
    assert Archive.open(tmp_path).manifest == good


def test_unknown_versions_and_features_are_refused_and_unknown_fields_ignored() -> None:
    value = {"format": "underpaint-archive", "version": VERSION, "requires": [], "colour": "blue"}
    assert decode_json(encode_json(value), "x")["colour"] == "blue"
    with pytest.raises(UnknownArchiveVersion, match=f"version {VERSION + 1}"):
        decode_json(encode_json({**value, "version": VERSION + 1}), "x")
    with pytest.raises(UnknownArchiveVersion, match="needs 'bloom'"):
        decode_json(encode_json({**value, "requires": ["bloom"]}), "x")


def test_a_record_with_a_path_outside_the_archive_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "unit", ["a"])
    record = tmp_path / "commits" / "unit.json"
    value = json.loads(record.read_bytes())
    del value["sha256"]
    for path in ("../../etc/passwd", "/etc/passwd", "data/../../x.parquet", "failed/x.parquet"):
        value["data"]["path"] = path
        with pytest.raises(ArchiveDamaged, match="is no file of this unit"):
            decode_commit(encode_json(value), "x")
