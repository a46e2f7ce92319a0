"""Archives made to harm: their checksums hold, what they say does not."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers.manifests import Unit, reseal
from tests.helpers.streams import framed
from underpaint.codec import limits
from underpaint.codec.archive import Archive, ArchiveWriter, DeadLetter, Row, publish
from underpaint.codec.archive.record_json import decode_commit, encode_json
from underpaint.codec.archive.records import DATA, file_path
from underpaint.codec.bitstream import PictureHeader
from underpaint.codec.errors import ArchiveDamaged, UnknownArchiveVersion


def _layer(rng: np.random.Generator) -> bytes:
    return framed([rng.bytes(16)], PictureHeader(8, 8, "0" * 16))[0]


def _write(root: Path, captions: list[str | None]) -> None:
    rng = np.random.default_rng(0)
    labels = pa.schema([("caption", pa.string())])
    with ArchiveWriter(
        root, "u", layers=("c",), weights_id="0" * 16, label_schema=labels
    ) as writer:
        for number, caption in enumerate(captions):
            writer.add(Row(f"k{number}", (_layer(rng),), 8, 8, labels={"caption": caption}))
    publish(root)


def _put(root: Path, data: bytes) -> None:
    """Replace the data file, and all that the manifest says of its bytes."""
    path = next((root / "data").iterdir())
    path.write_bytes(data)
    footer = int.from_bytes(data[-8:-4], "little") + 8

    sha256 = hashlib.sha256(data)
    path.rename(root / file_path(DATA, "u", sha256.hexdigest()))

    def change(units: list[Unit]) -> None:
        units[0] |= {
            "data_bytes": len(data),
            "data_sha256": sha256.digest(),
            "data_footer_bytes": footer,
            "data_footer_sha256": hashlib.sha256(data[-footer:]).digest(),
        }

    reseal(root, change)


def _rewritten(root: Path, change: Callable[[pa.Table], pa.Table], **options) -> None:
    table = change(pq.read_table(next((root / "data").iterdir())))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    _put(root, sink.getvalue().to_pybytes())


@pytest.mark.parametrize(
    ("captions", "why"),
    [
        ([f"{n:_>4000}" for n in range(400)], "pages of much the same"),
        (["same" * 1000] * 400, "one text of a dictionary in all rows"),
    ],
)
def test_a_column_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, captions: list[str | None], why: str
) -> None:
    _write(tmp_path, captions)
    path = next((tmp_path / "data").iterdir())
    assert path.stat().st_size < 200_000, why
    assert [row.labels["caption"] for row in Archive.open(tmp_path).rows()] == captions
    monkeypatch.setattr(limits, "MAX_UNPACKED_BYTES", 1 << 20)
    with pytest.raises(ArchiveDamaged, match="unpacks to over"):
        list(Archive.open(tmp_path).rows())


def test_many_short_texts_of_a_dictionary_are_no_bomb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captions = [f"caption {n % 100:050}" for n in range(4000)]
    _write(tmp_path, [*captions])
    monkeypatch.setattr(limits, "MAX_UNPACKED_BYTES", 1 << 20)
    assert [row.labels["caption"] for row in Archive.open(tmp_path).rows()] == captions


def test_prefixes_that_repeat_are_refused(tmp_path: Path) -> None:
    _write(tmp_path, ["x" * 1000 + str(n) for n in range(50)])
    encoding = {"use_dictionary": False, "column_encoding": {"caption": "DELTA_BYTE_ARRAY"}}
    _rewritten(tmp_path, lambda table: table, **encoding)
    with pytest.raises(ArchiveDamaged, match="page header"):
        list(Archive.open(tmp_path).rows())


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("key", pa.array([1, 2]), "'key' is int64"),
        ("key", pa.array(["a", None]), "'key' has nulls"),
        ("key", pa.array(["a", "b\x1b[2J"]), "control character"),
        ("width", pa.array([1.0, 2.0]), "'width' is double"),
        ("notes", pa.array(["a", "b"]), "'notes' is string"),
        ("layer_0", pa.array(["a", "b"]), "'layer_0' is string"),
    ],
)
def test_columns_of_other_types_or_with_nulls_are_refused(
    tmp_path: Path, name: str, values: pa.Array, words: str
) -> None:
    _write(tmp_path, ["one", "two"])

    def change(table: pa.Table) -> pa.Table:
        return table.set_column(table.column_names.index(name), name, values)

    _rewritten(tmp_path, lambda table: table)
    assert len(list(Archive.open(tmp_path).rows())) == 2
    _rewritten(tmp_path, change)
    with pytest.raises(ArchiveDamaged, match=words):
        list(Archive.open(tmp_path).rows())


def test_a_footer_that_lies_about_a_type_does_not_end_the_process(tmp_path: Path) -> None:
    """Asking pyarrow for the statistics of such a column aborts it; nothing asks."""
    _write(tmp_path, ["one"])
    data = bytearray(next((tmp_path / "data").iterdir()).read_bytes())
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    place = data.index(b"\x15\x0c\x19", footer)  # BYTE_ARRAY, of the chunk of keys
    data[place + 1] = 2
    _put(tmp_path, bytes(data))
    [row] = Archive.open(tmp_path).rows()
    assert row == Archive.open(tmp_path).get("k0")
    assert (row.key, row.labels) == ("k0", {"caption": "one"})


def test_a_label_may_be_called_like_a_column_of_dead_letters(tmp_path: Path) -> None:
    labels = pa.schema([("stage", pa.int64()), ("error", pa.float64())])
    with ArchiveWriter(
        tmp_path, "u", layers=("c",), weights_id="0" * 16, label_schema=labels
    ) as writer:
        layer = _layer(np.random.default_rng(0))
        writer.add(Row("k", (layer,), 8, 8, labels={"stage": 3, "error": None}))
        writer.fail(DeadLetter("bad", "", "read", "PictureDamaged"))
    publish(tmp_path)
    assert next(Archive.open(tmp_path).rows()).labels == {"stage": 3, "error": None}
    assert [letter.key for letter in Archive.open(tmp_path).dead_letters()] == ["bad"]


@pytest.mark.parametrize("unit", ["../x", "a/../../x", "/etc/passwd", "", "a b", "x" * 161])
@pytest.mark.parametrize("column", ["unit", "retries", "replaces"])
def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path, column: str, unit: str) -> None:
    """The path of a file follows from the name of its unit."""
    _write(tmp_path, ["one"])
    value = [unit] if column == "replaces" else unit
    reseal(tmp_path, lambda units: units[0].update({column: value}))
    with pytest.raises(ArchiveDamaged, match="a name that no unit can have"):
        Archive.open(tmp_path)


def test_a_row_group_of_too_many_rows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, ["one", "two"])
    archive = Archive.open(tmp_path)
    [entry] = archive.files
    monkeypatch.setattr(limits, "MAX_GROUP_ROWS", 1)
    with pytest.raises(ArchiveDamaged, match="2 rows, over the limit"):
        archive.data.reader.footer(entry)
    with pytest.raises(ArchiveDamaged, match="a row group of 2 rows"):
        Archive.open(tmp_path)


def record(root: Path) -> dict:
    """Return the commit record of the unit, without its checksum."""
    value: dict = json.loads((root / "commits" / "u.json").read_text("utf-8"))
    value.pop("sha256")
    return value


ENTRIES = {
    "a file over the limit": {"bytes": limits.MAX_ARCHIVE_FILE_BYTES},
    "rows that no memory holds": {"row_groups": [2**40]},
    "no row group": {"row_groups": []},
    "a row group without rows": {"row_groups": [1, 0]},
    "a file shorter than its footer": {"bytes": 20, "footer_bytes": 21},
    "a footer over the limit": {"bytes": 2**40, "footer_bytes": limits.MAX_FOOTER_BYTES + 1},
    "a negative size": {"bytes": -1},
}
BEYOND_NUMBERS = {
    "a file beyond what numbers hold": {"bytes": 2**70},
    "rows beyond what numbers hold": {"row_groups": [2**70]},
}


@pytest.mark.parametrize("name", ENTRIES)
def test_a_file_entry_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    """Before a reader lays out an epoch by it, or leaves its rows out without a word."""
    _write(tmp_path, ["one"])
    values = {f"data_{field}": value for field, value in ENTRIES[name].items()}
    reseal(tmp_path, lambda units: units[0].update(values))
    with pytest.raises(ArchiveDamaged, match=r"units/[0-9a-f]{16}\.parquet"):
        Archive.open(tmp_path)


@pytest.mark.parametrize("name", [*ENTRIES, *BEYOND_NUMBERS])
def test_a_file_entry_of_a_commit_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    _write(tmp_path, ["one"])
    value = record(tmp_path)
    value["data"] |= {**ENTRIES, **BEYOND_NUMBERS}[name]
    with pytest.raises(ArchiveDamaged, match="x: ValueError in a unit"):
        decode_commit(encode_json(value), "x")


COLUMNS = {
    "pixels": -1,
    "source_bytes": 2**53,
    "generation": -1,
    "layer_bytes": [2**53],
    "size_bytes": [1],
    "labels": 1,
    "content": None,
    "supersedes": None,
    "data_sha256": None,
    "failures": '{"read: Error": -1}',
    "skipped": '["not", "by reason"]',
    "roots": "{",
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_with_a_value_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    _write(tmp_path, ["one"])
    reseal(tmp_path, lambda units: units[0].update({name: COLUMNS[name]}))
    with pytest.raises(ArchiveDamaged):
        Archive.open(tmp_path)


@pytest.mark.parametrize("count", [2**53, 2**70, -1, True, 1.0, None])
@pytest.mark.parametrize("name", ["pixels", "source_bytes", "layer_bytes", "failures"])
def test_a_count_that_is_none_is_refused(tmp_path: Path, name: str, count: object) -> None:
    _write(tmp_path, ["one"])
    value = {"layer_bytes": [count], "failures": {"read: Error": count}}.get(name, count)
    with pytest.raises(ArchiveDamaged, match="is not a count"):
        decode_commit(encode_json(record(tmp_path) | {name: value}), "x")


def test_a_unit_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, ["one"])
    sound = (tmp_path / "manifest.json").read_bytes()
    reseal(tmp_path, lambda units: units.append({**units[0]}))
    with pytest.raises(ArchiveDamaged, match="named twice, or out of order"):
        Archive.open(tmp_path)
    (tmp_path / "manifest.json").write_bytes(sound)
    reseal(tmp_path, lambda units: units.insert(0, {**units[0], "unit": "v"}))
    with pytest.raises(ArchiveDamaged, match="named twice, or out of order"):
        Archive.open(tmp_path)


def change_manifest(root: Path, **members: object) -> None:
    manifest = root / "manifest.json"
    value = json.loads(manifest.read_text("utf-8"))
    value.pop("sha256")
    manifest.write_bytes(encode_json(value | members))


@pytest.mark.parametrize(
    "members",
    [
        {"units": 2},
        {"units": 0},
        {"units": 10**9},
        {"rows": 7},
        {"units": -1},
        {"units_sha256": "0" * 64},
        {"units_sha256": "../../etc/passwd"},
        {"layers": []},
        {"layers": ["c"] * 17},
        {"label_sets": []},
        {"label_sets": 3},
        {"sizes": [512, 256, 0]},
    ],
)
def test_a_manifest_that_does_not_fit_its_units_is_refused(
    tmp_path: Path, members: dict[str, object]
) -> None:
    _write(tmp_path, ["one"])
    change_manifest(tmp_path, **members)
    with pytest.raises(ArchiveDamaged):
        Archive.open(tmp_path)


@pytest.mark.parametrize("requires", [None, 7, "x", {"x": 1}])
def test_requirements_that_are_no_list_are_damage(tmp_path: Path, requires: object) -> None:
    _write(tmp_path, ["one"])
    change_manifest(tmp_path, requires=requires)
    with pytest.raises(ArchiveDamaged, match="`requires` is not a list"):
        Archive.open(tmp_path)


@pytest.mark.parametrize("need", [7, None, [1], {"x": 1}])
def test_a_requirement_that_is_no_text_is_unknown(tmp_path: Path, need: object) -> None:
    _write(tmp_path, ["one"])
    change_manifest(tmp_path, requires=[need])
    with pytest.raises(UnknownArchiveVersion):
        Archive.open(tmp_path)
