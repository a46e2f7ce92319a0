"""Labels have the types that are stated, and none costs a picture."""

from __future__ import annotations

import datetime
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers import shards
from tests.helpers.reading import read_all, skipped
from tests.helpers.shards import field, jpeg, record, tar_of, zip_of
from underpaint.codec.archive.label_columns import parse_type
from underpaint.codec.errors import PictureDamaged, UsageError
from underpaint.transforms.records import Record, left_out_text
from underpaint.transforms.sources import Choice, all_labels, open_sources
from underpaint.transforms.sources.label_schema import parse_label, stated_labels
from underpaint.transforms.sources.labels import Labels, inferred, renamed_text
from underpaint.transforms.sources.manifest import ManifestSource


def columns(path: Path, choice: Choice = Choice()) -> dict[str, str]:  # noqa: B008
    """Name and type of each label column."""
    schema = all_labels(open_sources([str(path)], choice))
    return {item.name: str(item.type) for item in schema}


def values(records: list[Record], name: str) -> list[Any]:
    return [record.labels.get(name) for record in records]


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    return write(
        path, "".join(json.dumps({"url": f"{n}.jpg", **r}) + "\n" for n, r in enumerate(rows))
    )


def test_text_of_a_csv_stays_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'url,zip,age\n1.jpg,00001,NA\n2.jpg, 7,\n3.jpg,1e5,"x\ny"\n')
    assert columns(path) == {"zip": "string", "age": "string"}
    assert values(read_all([path]), "zip") == ["00001", " 7", "1e5"]
    assert values(read_all([path]), "age") == ["NA", "", "x\ny"]


def test_a_stated_type_is_kept_and_what_does_not_fit_is_noted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "url,age\n1.jpg,7\n2.jpg,NA\n3.jpg,\n4.jpg, 12 \n")
    choice = Choice(labels=(parse_label("age:int64"), parse_label("late:string")))
    assert columns(path, choice) == {"age": "int64", "late": "string"}
    records = read_all([path], choice)
    assert values(records, "age") == [7, None, None, 12]
    assert [r.notes for r in records] == [
        (),
        ("label 'age' not stored: the value is no int64",),
        (),
        (),
    ]


@pytest.mark.parametrize("text", ["age", "age:", ":int64", "age:integer", "age:list<x>"])
def test_a_type_that_is_none_is_a_mistake(text: str) -> None:
    with pytest.raises(UsageError, match=r"NAME:TYPE|is no type of a label"):
        parse_label(text)


def test_a_schema_file_states_types(tmp_path: Path) -> None:
    expected = (("cls", "int32"), ("t", "list<item: string>"), ("at", "timestamp[us, tz=UTC]"))
    types = [pa.int32(), pa.list_(pa.string()), pa.timestamp("us", "UTC")]
    schema = pa.schema(list(zip(("cls", "t", "at"), types, strict=True)))
    stated = write(tmp_path / "labels.json", json.dumps(dict(expected)))
    assert stated_labels([], str(stated)) == expected
    with_pictures = schema.append(pa.field("image", pa.struct([("bytes", pa.binary())])))
    pq.write_table(with_pictures.empty_table(), tmp_path / "labels.parquet")
    with pa.OSFile(f"{tmp_path}/labels.arrow", "wb") as file:
        pa.ipc.new_file(file, with_pictures).close()
    write(tmp_path / "labels.schema", schema.serialize().to_pybytes())
    for name in ("parquet", "arrow", "schema"):
        found = stated_labels([], f"{tmp_path}/labels.{name}")
        assert [(label, parse_type(kind)) for label, kind in found] == [
            (label, parse_type(kind)) for label, kind in expected
        ]
    more = stated_labels(["x:bool", "cls:int32"], str(stated))
    assert more == (*expected, ("x", "bool"))
    path = write(tmp_path / "a.csv", "url,cls,t,late\n1.jpg,7,x,y\n")
    types_found = columns(path, Choice(labels=more))
    assert types_found["cls"] == "int32"
    assert types_found["late"] == "string"


def test_names_of_classes_are_kept_beside_stated_types(tmp_path: Path) -> None:
    info = {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}
    schema = pa.schema([("image", pa.binary()), ("label", pa.int64())])
    schema = schema.with_metadata({"huggingface": json.dumps({"info": info})})
    pq.write_table(pa.table({"image": [jpeg(1)], "label": [1]}, schema), tmp_path / "a.parquet")
    of_file = stated_labels([], f"{tmp_path}/a.parquet")
    assert of_file == (("label", "int64"), ("label_name", "string"))
    for labels in (of_file, stated_labels(["label:int16"])):
        (found,) = read_all([tmp_path / "a.parquet"], Choice(labels=labels))
        assert found.labels == {"label": 1, "label_name": "dog"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no schema", r"neither JSON like .*\(.+\)"),
        ("[1]", "the JSON is no object"),
        ('{"cls": 7}', "the type of 'cls' is no text"),
        ('{"cls": "integer"}', "'cls': 'integer' is no type of a label"),
        ('{"cls": ', "neither JSON"),
        (b"PAR1 and no more", "not a Parquet file"),
        (b"ARROW1 and no more", "neither JSON"),
    ],
)
def test_a_schema_file_that_is_none_is_a_mistake(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    path = write(tmp_path / "labels", content)
    with pytest.raises(UsageError, match=message):
        stated_labels([], str(path))
    with pytest.raises(UsageError, match=r"--labels-schema .*gone: no such file"):
        stated_labels([], f"{tmp_path}/gone")


def test_two_types_for_a_label_are_a_mistake(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.json", '{"cls": "string"}')
    message = f"--label cls:int64: --labels-schema {path} says string for 'cls'"
    with pytest.raises(UsageError, match=message):
        stated_labels(["cls:int64"], str(path))
    with pytest.raises(UsageError, match="--label cls:int8: --label cls:int64 says int64"):
        stated_labels(["cls:int64", "cls:int8"])


def test_a_column_of_json_lines_has_the_union_of_its_types(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"n": 1, "s": 1, "b": True, "l": [1], "z": None} for _ in range(3000)
    ]
    rows[0] = {}
    rows[2000] |= {"n": 2.5, "s": "two", "l": [0.5], "late": "x", "big": 1 << 70}
    path = jsonl(tmp_path / "a.jsonl", rows)
    assert columns(path) == {
        "n": "double",
        "s": "string",
        "b": "bool",
        "l": "list<item: double>",
        "z": "string",
        "late": "string",
        "big": "string",
    }
    records = read_all([path])
    assert len(records) == 3000
    assert not any(record.notes for record in records)
    assert (records[1].labels["n"], records[2000].labels["n"]) == (1.0, 2.5)
    assert (records[1].labels["s"], records[2000].labels["s"]) == ("1", "two")
    assert records[1].labels["l"] == [1.0]
    assert [r.labels["late"] for r in records if "late" in r.labels] == ["x"]


def test_inferred_types() -> None:
    assert inferred([1, None, 2]) == pa.int64()
    assert inferred([1, 2.5]) == pa.float64()
    assert inferred([1, "a"]) == inferred([{"a": 1}, "a"]) == inferred([True, 1]) == pa.string()
    assert inferred([{"a": 1}, {"b": "x"}]) == pa.struct([("a", pa.int64()), ("b", pa.string())])


def test_a_feature_of_tfrecords_widens(tmp_path: Path) -> None:
    def example(number: int) -> bytes:
        features = {"image/encoded": field(1, field(1, jpeg(number, 60, 80)))}
        if number < 150:
            features["score"] = field(3, field(1, bytes([number & 0x7F])))
        else:
            features["score"] = field(2, field(1, np.float32(0.5).tobytes()))
            features["late"] = field(1, field(1, b"x"))
        entries = (field(1, field(1, k.encode()) + field(2, v)) for k, v in features.items())
        return record(field(1, b"".join(entries)))

    path = write(tmp_path / "a.tfrecord", b"".join(map(example, range(200))))
    assert columns(path) == {"late": "list<item: large_binary>", "score": "list<item: double>"}
    records = read_all([path])
    assert not any(each.notes for each in records)
    assert (records[3].labels["score"], records[160].labels["score"]) == ([3.0], [0.5])
    assert values(records, "late")[149:151] == [None, [b"x"]]
    scalar = read_all([path], Choice(labels=(("score", "float32"), ("late", "string"))))
    assert (scalar[3].labels["score"], scalar[160].labels["late"]) == (3.0, "x")


def test_labels_of_a_tar_keep_their_bytes(tmp_path: Path) -> None:
    text = b'{"a":  1.0,\n "b": "\xc3\xa9"}\n'
    files = {
        "1.jpg": jpeg(1),
        "1.json": text,
        "1.CLS": b"7\n",
        "1.txt": b" 00001",
        "1.npy": b"\0\1",
    }
    path = write(tmp_path / "a.tar", tar_of(files))
    assert columns(path) == {
        "cls": "int64",
        "json": "string",
        "npy": "large_binary",
        "txt": "string",
    }
    (found,) = read_all([path])
    assert found.labels == {"json": text.decode(), "cls": 7, "txt": " 00001", "npy": b"\0\1"}
    (found,) = read_all([path], Choice(labels=(("cls", "string"), ("json", "large_binary"))))
    assert (found.labels["cls"], found.labels["json"]) == ("7\n", text)
    path = write(tmp_path / "b.tar", tar_of({"1.jpg": jpeg(1), "1.cls": b"cat", "1.txt": b"\xe9"}))
    (found,) = read_all([path])
    assert found.labels == {"cls": "cat", "txt": "é"}
    assert found.notes == ("label 'txt' is not UTF-8 and was read as Latin-1",)


def test_a_class_that_is_no_number_is_found_late(tmp_path: Path) -> None:
    files = {
        f"{n:04}.{e}": c for n in range(300) for e, c in (("jpg", jpeg(1)), ("cls", b"%d" % n))
    }
    files["0290.cls"] = b"cat"
    files["0291.cls"] = b"\xff"
    path = write(tmp_path / "a.tar", tar_of(files))
    records = read_all([path])
    assert len(records) == 300
    assert (records[290].labels, records[290].label_types) == ({"cls": "cat"}, {"cls": pa.string()})
    assert (records[289].labels, records[289].label_types) == ({"cls": 289}, {})
    assert records[291].labels == {}
    assert records[291].notes == ("label 'cls' not stored: the value is no int64",)
    lost = "cls: not int64; --label cls:string keeps them"
    assert [record.labels_left_out for record in records[290:292]] == [(), (lost,)]
    stated = read_all([path], Choice(labels=(("cls", "int64"),)))
    assert (stated[290].labels, stated[290].label_types) == ({}, {})
    assert stated[290].labels_left_out == (lost,)


@pytest.mark.parametrize("value", [b"dog", b"9" * 23, b"1.5", b"1_000", b""])
def test_a_small_shard_has_the_same_types_in_every_wrapping(tmp_path: Path, value: bytes) -> None:
    noise = np.random.default_rng(0)
    files = {}
    for number, label in enumerate((b"1", b"2", b"3", value, b"4")):
        files[f"{number}.jpg"] = jpeg(number) + noise.bytes(100_000)
        files[f"{number}.cls"] = label
    tar = tar_of(files)
    for name in ("a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz", "a.tar.zst"):
        content = tar if name == "a.tar" else shards.packed(tar, name)
        path = write(tmp_path / name, content)
        assert columns(path) == {"cls": "string"}
        assert values(read_all([path]), "cls") == ["1", "2", "3", value.decode(), "4"]
    assert columns(write(tmp_path / "a.zip", zip_of(files))) == {"cls": "string"}


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_samples_of_several_pictures(tmp_path: Path, make: Any) -> None:
    def keys(files: dict[str, bytes], choice: Choice = Choice()) -> dict[str, dict[str, Any]]:  # noqa: B008
        path = write(tmp_path / ("a.tar" if make is tar_of else "a.zip"), make(files))
        return {each.key: dict(each.labels) for each in read_all([path], choice)}

    text = {"txt": "t"}
    assert keys({"1.jpg": jpeg(1), "1.png": jpeg(2), "1.txt": b"t"}) == {
        "a/1.jpg": text,
        "a/1.png": text,
    }
    cats = {f"d/cat.{n}.{e}": c for n in range(2) for e, c in (("jpg", jpeg(n)), ("txt", b"t"))}
    assert keys(cats) == {"a/d/cat.0.jpg": text, "a/d/cat.1.jpg": text}
    one = {"s.input.jpg": jpeg(1), "s.outputs.txt": b"t"}
    assert keys(one) == {"a/s.input.jpg": {"outputs.txt": "t"}}
    assert keys(one, Choice(tar_key="last-dot")) == {"a/s.input.jpg": {}}
    mask = {"1.jpg": jpeg(1), "1.seg.png": b"mask"}
    assert list(keys(mask)) == ["a/1.jpg", "a/1.seg.png"]
    assert keys(mask, Choice(picture="jpg")) == {"a/1.jpg": {"seg.png": b"mask"}}
    assert keys({"./a/1": jpeg(1), "./a/2": b"none"}) == {"a/a/1": {}}


def test_a_long_run_of_one_name_is_no_sample(tmp_path: Path) -> None:
    files = {
        f"cat.{n}.{e}": c for n in range(700) for e, c in (("jpg", jpeg(1)), ("cls", b"%d" % n))
    }
    path = write(tmp_path / "a.tar", tar_of(files))
    for span_bytes in (1, 50_000, 1 << 30):
        records = read_all([path], span_bytes=span_bytes)
        assert [record.labels for record in records] == [{"cls": n} for n in range(700)]


def test_the_folder_is_a_label_where_it_is_wanted(tmp_path: Path) -> None:
    for name in ("cats/1.jpg", "dogs/2.jpg", "3.jpg"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(jpeg(1))
    choice = Choice(label_from_folder=True)
    assert columns(tmp_path / "set", choice) == {"label": "string"}
    assert values(read_all([tmp_path / "set"], choice), "label") == [None, "cats", "dogs"]
    both = read_all([tmp_path / "set/cats", tmp_path / "set/dogs"], choice)
    assert values(both, "label") == ["cats", "dogs"]
    path = write(tmp_path / "set.zip", zip_of({"cats/1.jpg": jpeg(1), "cats/deep/2.jpg": jpeg(2)}))
    assert values(read_all([path], choice), "label") == ["cats", "deep"]


def test_names_of_classes_are_kept(tmp_path: Path) -> None:
    info = {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}
    schema = pa.schema([("image", pa.binary()), ("label", pa.int64())])
    schema = schema.with_metadata({"huggingface": json.dumps({"info": info})})
    rows = {"image": [jpeg(1), jpeg(2), jpeg(3)], "label": [1, 0, -1]}
    pq.write_table(pa.table(rows, schema), tmp_path / "a.parquet")
    assert columns(tmp_path / "a.parquet") == {"label": "int64", "label_name": "string"}
    records = read_all([tmp_path / "a.parquet"])
    assert values(records, "label") == [1, 0, -1]
    assert values(records, "label_name") == ["dog", "cat", None]


def test_values_that_python_has_not_cost_nothing(tmp_path: Path) -> None:
    moments = pa.array([1_700_000_000_000_000_001, 1, None], pa.timestamp("ns"))
    far = pa.array([10**15, 0, 1], pa.timestamp("ms"))  # past the year 9999
    codes = pa.array(["a", "b", "a"]).dictionary_encode()
    rows = {"image": [jpeg(n) for n in range(3)], "t": moments, "far": far, "code": codes}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    records = read_all([tmp_path / "a.parquet"])
    assert [record.fetch() for record in records] == rows["image"]
    assert pa.array(values(records, "t"), pa.timestamp("ns")) == moments
    assert values(records, "code") == ["a", "b", "a"]
    assert records[1].labels["far"] == datetime.datetime(1970, 1, 1)
    assert records[0].notes == ("label 'far' not stored: the value is no timestamp[ms]",)


def test_rows_of_one_picture_have_keys_of_their_own(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "url,c\nx/1.jpg,a\nx/2.jpg,b\nx/1.jpg,c\nx/1.jpg,c\n")
    assert [r.key for r in read_all([path])] == ["x/1.jpg", "x/2.jpg", "x/1.jpg#2", "x/1.jpg#3"]


def test_keys_of_addresses_keep_host_and_query(tmp_path: Path) -> None:
    addresses = [
        "http://a/p.php?id=1",
        "http://a/p.php?id=2",
        "http://b:80/p.php?id=1",
        "https://u:pw@A/1.jpg?X-Amz-Signature=x&X-Amz-Date=y&v=3",
        "gs://bucket/x/1.jpg",
        f"{tmp_path}/y/1.jpg",
        "../z/1.jpg",
    ]
    path = write(tmp_path / "a.csv", "url\n" + "\n".join(addresses) + "\n")
    records = read_all([path])
    above = str(tmp_path.parent).lstrip("/")
    assert [record.key for record in records] == [
        "a/p.php?id=1",
        "a/p.php?id=2",
        "b:80/p.php?id=1",
        "a/1.jpg?v=3",
        "bucket/x/1.jpg",
        "y/1.jpg",
        f"{above}/z/1.jpg",
    ]
    assert [record.uri for record in records][-1] == f"{tmp_path.parent}/z/1.jpg"


@pytest.mark.parametrize("name", ["A.CSV", "a.tsv", "a.csv.gz", "a.TSV.BZ2", "a.jsonl.zst"])
def test_tables_of_any_suffix(tmp_path: Path, name: str) -> None:
    mark = "\t" if "tsv" in name.lower() else ","
    text = f"url{mark}l\n1.jpg{mark}x\n"
    if "jsonl" in name:
        text = '{"url": "1.jpg", "l": "x"}\n'
    path = write(tmp_path / name, shards.packed(text.encode(), name.lower()))
    (found,) = read_all([path])
    assert (found.uri, found.labels) == (f"{tmp_path}/1.jpg", {"l": "x"})


def test_odd_rows_of_a_table_lose_nothing(tmp_path: Path) -> None:
    rows = b'\xef\xbb\xbfurl,t\r\n1.jpg,5" tall\r\n\r\n,no address\r\n'
    rows += b"3.jpg,a,b\r\n4.jpg\r\n5.jpg,\xe9\r\n"
    records = read_all([write(tmp_path / "a.csv", rows)])
    assert [record.key for record in records] == ["1.jpg", "a/00000001", "3.jpg", "4.jpg", "5.jpg"]
    assert values(records, "t") == ['5" tall', None, "a", None, "é"]
    assert records[2].notes == ("values beyond the header of the table not stored",)
    assert records[4].notes == ("the row of the table is not UTF-8 and was read as Latin-1",)
    with pytest.raises(UsageError, match="two columns are called 't'"):
        read_all([write(tmp_path / "b.csv", "url,t,t\n")])
    with pytest.raises(UsageError, match="UTF-16"):
        read_all([write(tmp_path / "c.csv", "url\n1.jpg\n".encode("utf-16"))])


@pytest.mark.parametrize("text", ["", "\n", "\ufeff"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.csv.gz"])
def test_an_empty_table_is_called_so(tmp_path: Path, text: str, name: str) -> None:
    content = gzip.compress(text.encode()) if name.endswith(".gz") else text
    with pytest.raises(UsageError, match=rf"{name}: the table is empty"):
        open_sources([str(write(tmp_path / name, content))], Choice())


def test_other_types_together_are_text_and_text_stays_as_it_is(tmp_path: Path) -> None:
    mixed = [1, "1", '"1"', 1.5, True, None, [1, "a"], {"b": "ü"}]
    found = ["1", "1", '"1"', "1.5", "true", None, '[1, "a"]', '{"b": "ü"}']
    path = jsonl(tmp_path / "a.jsonl", [{"n": value} for value in mixed])
    assert columns(path) == {"n": "string"}
    assert values(read_all([path]), "n") == found


@pytest.mark.parametrize("text", ['[{"url": "1.jpg"}]', "\ufeff [\n", "[]"])
@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.jsonl"])
def test_a_list_in_json_is_no_table(tmp_path: Path, text: str, name: str) -> None:
    with pytest.raises(UsageError, match=rf"{name}: .*one object in each line \(\.jsonl\)"):
        open_sources([str(write(tmp_path / name, text))], Choice(kind="manifest"))


def test_fitting_notes_what_it_leaves_out() -> None:
    labels = Labels(pa.schema([("n", pa.int8()), ("label_key", pa.string())]))
    fitted = labels.fit({"n": 300, "key": "x", "gone": 1, "none": None})
    assert (fitted.values, fitted.types) == ({"label_key": "x"}, {})
    assert fitted.notes == (
        "label 'n' not stored: the value is no int8",
        "label 'gone' not stored: there is no such column",
    )
    assert fitted.left_out == (
        "n: not int8; --label n:string keeps them",
        "gone: no such column",
    )
    assert list(left_out_text({fitted.left_out[0]: 1200})) == [
        "labels left out: n 1,200 (not int8; --label n:string keeps them)"
    ]
    assert parse_type("list<float>") == pa.list_(pa.float32())


def test_only_columns_of_numbers_widen_to_text() -> None:
    kinds = {"n": pa.int64(), "f": pa.float32(), "l": pa.list_(pa.int64()), "b": pa.large_binary()}
    kinds |= {"d": pa.date32(), "s": pa.struct([("a", pa.int64())])}
    labels = Labels(pa.schema(list(kinds.items())))
    found = labels.fit(
        {"n": "x", "f": "1,5", "l": [b"y"], "b": 7, "d": "soon", "s": 7},
        lambda name, value: pa.list_(pa.binary()) if name == "l" else inferred([value]),
    )
    assert found.values == {"n": "x", "f": "1,5", "l": '["y"]'}
    assert found.types == dict.fromkeys("nfl", pa.string())
    assert [each.partition(":")[0] for each in found.left_out] == ["b", "d", "s"]


def test_labels_under_other_names_are_told() -> None:
    names = ["label_key", "unnamed_5", "label_layer_0", "label_name", "unnamed_x", "cls", "label_"]
    assert list(renamed_text(names, {"unnamed_5": "/d/a.csv"})) == [
        "label 'key' is stored as 'label_key': archives have a column 'key'",
        "column 5 of /d/a.csv has no name: its label is 'unnamed_5'",
        "label 'layer_0' is stored as 'label_layer_0': archives have a column 'layer_0'",
        "label '' is stored as 'label_': a label needs a name",
    ]


def test_a_column_without_a_name_has_the_number_that_people_count(tmp_path: Path) -> None:
    path = write(tmp_path / "b.csv", "url,n,\n1.jpg,7,x\n")
    other = write(tmp_path / "a.csv", "url,,\n2.jpg,8,y\n")
    (source,) = open_sources([str(path), str(other)], Choice())
    assert source.labels().names == ["n", "unnamed_3", "unnamed_2"]
    assert isinstance(source, ManifestSource)
    assert dict(source.unnamed) == {"unnamed_3": str(path), "unnamed_2": str(other)}
    assert read_all([path])[0].labels == {"n": "7", "unnamed_3": "x"}


def test_a_line_that_is_no_json_object_is_named(tmp_path: Path) -> None:
    lines = [b'{"url": "1.jpg"}', b"", b"no json", b"[1]", b'{"n": 1}', b'{"url": "2.jpg"}', b"7"]
    path = write(tmp_path / "lab.jsonl", b"\n".join(lines) + b"\n")
    told = []
    for each in read_all([path]):
        if each.uri.startswith(f"{path}#"):
            with pytest.raises(PictureDamaged) as error:
                each.fetch()
            told.append(str(error.value))
    assert told == [
        "lab.jsonl, line 3: not a JSON object",
        "lab.jsonl, line 4: not a JSON object",
        "lab.jsonl, line 5: no address in column 'url'",
        "lab.jsonl, line 7: not a JSON object",
    ]
    records = read_all([write(tmp_path / "a.csv", "url,t\n1.jpg,a\n,b\n")])
    with pytest.raises(PictureDamaged, match=r"^a\.csv, row 2: no address in column 'url'$"):
        records[1].fetch()


def test_a_value_found_late_widens_numbers_but_no_stated_type() -> None:
    schema = pa.schema([("n", pa.int64()), ("l", pa.list_(pa.int64())), ("s", pa.string())])
    values = {"n": 2.5, "l": [0.5], "s": 7, "new": "x"}
    types = {"n": pa.float32(), "l": pa.list_(pa.float32()), "new": pa.string()}
    found = Labels(schema).fit(values, lambda name, _: types.get(name))
    assert found.values == {"n": 2.5, "l": [0.5], "s": "7", "new": "x"}
    assert found.types == {"n": pa.float64(), "l": pa.list_(pa.float64()), "new": pa.string()}
    assert not found.notes
    stated = Labels(schema, frozenset({"n"})).fit(values, lambda name, _: types.get(name))
    assert "n" not in stated.values | stated.types
    assert stated.notes == ("label 'n' not stored: the value is no int64",)


def test_members_that_are_no_labels_are_skipped(tmp_path: Path) -> None:
    files = {"1.jpg": jpeg(1), "1.mov": b"video", "1.aae": b"x", "._1.jpg": b"mac", "no.md": b"hi"}
    path = write(tmp_path / "a.tar", tar_of(files))
    assert skipped([path]) == {".mov": 1, ".md": 1, "macOS ._ file": 1}
    (found,) = read_all([path])
    assert found.labels == {"aae": b"x"}


def test_a_parquet_file_without_bytes_is_a_table_of_addresses(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": ["1.jpg"], "n": [7]}), tmp_path / "a.parquet")
    (found,) = read_all([tmp_path / "a.parquet"])
    assert (found.key, found.uri, found.labels) == ("1.jpg", f"{tmp_path}/1.jpg", {"n": 7})


MIXED = {
    "a.tar": tar_of({"1.jpg": jpeg(1), "1.cls": b"01"}),
    "b.zip": zip_of({"2.jpg": jpeg(2), "2.cls": b"cat"}),
    "c.zip": zip_of({"3.jpg": jpeg(3), "3.cls": b"7"}),
    "d.csv": b"url,cls\n4.jpg,07\n",
    "e.jsonl": b'{"url": "5.jpg", "cls": 1.5}\n',
}


@pytest.mark.parametrize(
    ("names", "kind", "found"),
    [
        ("a.tar b.zip", "string", ["01", "cat"]),
        ("b.zip a.tar", "string", ["cat", "01"]),
        ("a.tar c.zip", "int64", [1, 7]),
        ("a.tar d.csv", "string", ["01", "07"]),
        ("a.tar e.jsonl", "double", [1.0, 1.5]),
        ("c.zip d.csv e.jsonl", "string", ["7", "07", "1.5"]),
        ("a.tar b.zip c.zip d.csv", "string", ["01", "cat", "7", "07"]),
    ],
)
def test_numbers_and_text_of_several_kinds_of_input_are_text(
    tmp_path: Path, names: str, kind: str, found: list[Any]
) -> None:
    paths = [write(tmp_path / name, MIXED[name]) for name in names.split()]
    sources = open_sources([str(path) for path in paths], Choice())
    assert all(str(source.labels().field("cls").type) == kind for source in sources)
    assert str(all_labels(sources).field("cls").type) == kind
    records = read_all(paths)
    assert values(records, "cls") == found
    assert not any(record.notes for record in records)


def test_labels_that_clash_are_named_with_both_inputs(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [jpeg(1)], "at": [True]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"image": [jpeg(2)], "at": ["now"]}), tmp_path / "b.parquet")
    write(tmp_path / "c.csv", "url,at\n3.jpg,now\n")
    for other in ("b.parquet", "c.csv"):
        with pytest.raises(UsageError) as caught:
            open_sources([str(tmp_path / "a.parquet"), str(tmp_path / other)], Choice())
        text = str(caught.value)
        assert f"'at' is bool in {tmp_path}/a.parquet, and string in {tmp_path}/{other}" in text
        assert "--label at:string" in text
        choice = Choice(labels=(parse_label("at:string"),))
        read = read_all([tmp_path / "a.parquet", tmp_path / other], choice)
        assert values(read, "at") == ["true", "now"]
