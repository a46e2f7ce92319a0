"""Sources: the same photos from every kind of shard, split anywhere, damage contained."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers import shards
from tests.helpers.reading import outcome, read_all, skipped
from tests.helpers.shards import (
    field,
    photos,
    write_manifests,
    write_parquet,
    write_tar,
    write_tfrecord,
)
from underpaint.codec import limits
from underpaint.codec.errors import PictureDamaged, ShardCut, UsageError
from underpaint.transforms.encode import split_or_broken
from underpaint.transforms.records import (
    Shard,
    Span,
    unit_of_span,
)
from underpaint.transforms.sources import Choice, Source, all_labels, listed, open_sources
from underpaint.transforms.work_unit import records_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photos(tmp_path / "photos")
    return tmp_path


def contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((folder / "photos").rglob("*.jpg"))]


@pytest.mark.parametrize("span_bytes", [1, 5000, 1 << 30])
@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tfrecord", "tfrecord.gz", "parquet"])
def test_a_shard_gives_its_photos_whatever_the_span(
    folder: Path, kind: str, span_bytes: int
) -> None:
    pictures = sorted((folder / "photos").rglob("*.jpg"))
    path = folder / f"shard.{kind.removesuffix('.gz')}"
    {"tar": write_tar, "tfrecord": write_tfrecord, "parquet": write_parquet}[
        kind.removesuffix(".gz")
    ](path, pictures)
    if kind.endswith(".gz"):
        zipped = path.with_name(path.name + ".gz")
        with path.open("rb") as source, gzip.open(zipped, "wb") as target:
            shutil.copyfileobj(source, target)
        path = zipped
    records = read_all([path], span_bytes=span_bytes)
    assert [record.fetch() for record in records] == contents(folder)
    assert len({record.key for record in records}) == len(records)
    assert all(record.key.startswith("shard/") for record in records)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_manifest_gives_its_photos(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("underpaint.transforms.sources.manifest.ROWS_PER_SPAN", 2)
    path = write_manifests(folder, sorted((folder / "photos").rglob("*.jpg")))[kind]
    records = read_all([path], Choice("manifest", labels=(("score", "float64"),)))
    assert [record.fetch() for record in records] == contents(folder)
    labels = [(record.labels["caption"], record.labels["score"]) for record in records]
    assert labels == [(f'a "quoted"\nline {n}', n / 4) for n in range(len(records))]


def test_labels_of_each_kind_have_types(folder: Path) -> None:
    pictures = sorted((folder / "photos").rglob("*.jpg"))
    write_tar(folder / "a.tar", pictures)
    write_tfrecord(folder / "a.tfrecord", pictures)
    write_parquet(folder / "a.parquet", pictures)

    def of(name: str) -> tuple[pa.Schema, dict]:
        path = str(folder / name)
        labels = read_all([folder / name])[1].labels
        return all_labels(open_sources([path], Choice())), dict(labels)

    schema, labels = of("a.tar")
    assert schema == pa.schema([("cls", pa.int64()), ("json", pa.string())])
    assert labels == {"cls": 1, "json": json.dumps({"name": pictures[1].stem})}
    schema, labels = of("a.tfrecord")
    assert schema.field("image/class/label").type == pa.list_(pa.int64())
    assert labels["image/class/label"] == [1]
    assert labels["image/bbox"] == [0.25, 0.5]
    assert labels["image/filename"] == [pictures[1].name.encode()]
    schema, labels = of("a.parquet")
    assert schema.field("label").type == pa.int16()
    assert labels == {"label": 1, "label_width": 1.5}  # the archive has a column `width`


def with_one_label_more(folder: Path, kind: str) -> list[str]:
    """Two shards or tables of one kind, the second with a label `mood` that the first lacks."""
    pictures = sorted((folder / "photos").rglob("*.jpg"))
    first, second = folder / f"a.{kind}", folder / f"b.{kind}"
    if kind == "tar":
        write_tar(first, pictures[:3])
        with tarfile.open(second, "w") as tar:
            for name, content in (("9.jpg", pictures[3].read_bytes()), ("9.mood.txt", b"calm")):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    elif kind == "tfrecord":
        write_tfrecord(first, pictures[:3])
        features = {"image/encoded": pictures[3].read_bytes(), "mood.txt": b"calm"}
        entries = (
            field(1, field(1, name.encode()) + field(2, field(1, field(1, value))))
            for name, value in features.items()
        )
        second.write_bytes(shards.record(field(1, b"".join(entries))))
    elif kind == "parquet":
        write_parquet(first, pictures[:3])
        row = {"image": [pictures[3].read_bytes()], "mood.txt": ["calm"]}
        pq.write_table(pa.table(row), second)
    else:
        first.write_text(f"url,score\n{pictures[0]},1\n{pictures[1]},\n{pictures[2]},3\n")
        second.write_text(f"url,score,mood.txt\n{pictures[3]},4,calm\n")
    return [str(first), str(second)]


@pytest.mark.parametrize("kind", ["tar", "tfrecord", "parquet", "csv"])
def test_a_label_of_a_later_shard_is_a_column_too(folder: Path, kind: str) -> None:
    sources = open_sources(with_one_label_more(folder, kind), Choice())
    assert "mood.txt" in all_labels(sources).names
    *others, last = read_all([folder / f"a.{kind}", folder / f"b.{kind}"])
    assert len(others) == 3
    assert not any("mood.txt" in record.labels for record in others)
    calm = [b"calm"] if kind == "tfrecord" else "calm"
    assert last.labels["mood.txt"] == calm
    assert last.fetch() == contents(folder)[3]


@pytest.mark.parametrize("kind", ["tar", "tfrecord", "parquet", "csv"])
def test_a_label_of_a_shard_that_was_not_examined_brings_its_type(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("underpaint.transforms.sources.labels.PEEKED_SHARDS", 0)
    paths = with_one_label_more(folder, kind)
    assert "mood.txt" not in all_labels(open_sources(paths, Choice())).names
    *others, last = read_all([folder / f"a.{kind}", folder / f"b.{kind}"])
    assert [record.fetch() for record in others] == contents(folder)[:3]
    assert last.fetch() == contents(folder)[3]
    kind_of_list = pa.list_(pa.large_binary())
    assert last.label_types == {"mood.txt": kind_of_list if kind == "tfrecord" else pa.string()}
    assert last.labels["mood.txt"] == ([b"calm"] if kind == "tfrecord" else "calm")
    assert not any(record.label_types for record in others)
    assert not any(record.notes for record in [*others, last])


def test_labels_of_clashing_types_are_a_mistake(folder: Path) -> None:
    pictures = [path.read_bytes() for path in sorted((folder / "photos").rglob("*.jpg"))]
    pq.write_table(pa.table({"image": pictures, "year": [1900] * 6}), folder / "a.parquet")
    pq.write_table(pa.table({"image": pictures, "year": ["old"] * 6}), folder / "b.parquet")
    with pytest.raises(UsageError, match=r"labels of the inputs do not fit together: .*year"):
        open_sources([str(folder / "a.parquet"), str(folder / "b.parquet")], Choice())


def test_records_can_be_named_by_a_column(folder: Path) -> None:
    pictures = sorted((folder / "photos").rglob("*.jpg"))
    write_tfrecord(folder / "a.tfrecord", pictures)
    records = read_all([folder / "a.tfrecord"], Choice(key="image/filename"))
    assert [record.key for record in records] == [path.name for path in pictures]


@pytest.mark.parametrize("cut", [0.3, 0.5, 0.5001, 0.52, 0.6, 0.7, 0.8])
def test_a_cut_tar_loses_its_end_only(folder: Path, cut: float) -> None:
    pictures = sorted((folder / "photos").rglob("*.jpg"))
    write_tar(folder / "a.tar", pictures)
    whole = (folder / "a.tar").read_bytes()
    (folder / "a.tar").write_bytes(whole[: int(len(whole) * cut)])
    outcomes = [outcome(record) for record in read_all([folder / "a.tar"])]
    good = [each for each in outcomes if isinstance(each, bytes)]
    assert 0 < len(good) <= len(pictures)
    assert good == contents(folder)[: len(good)]
    assert 1 <= len(outcomes) - len(good) <= 2


def test_a_cut_tfrecord_loses_its_end_only(folder: Path) -> None:
    pictures = sorted((folder / "photos").rglob("*.jpg"))
    write_tfrecord(folder / "a.tfrecord", pictures)
    whole = (folder / "a.tfrecord").read_bytes()
    (folder / "a.tfrecord").write_bytes(whole[:-10])
    outcomes = [outcome(record) for record in read_all([folder / "a.tfrecord"])]
    assert outcomes[:-1] == contents(folder)[:-1]
    assert isinstance(outcomes[-1], type)


def test_a_flipped_tfrecord_loses_one_record(folder: Path) -> None:
    pictures = sorted((folder / "photos").rglob("*.jpg"))
    write_tfrecord(folder / "a.tfrecord", pictures)
    data = bytearray((folder / "a.tfrecord").read_bytes())
    data[data.index(pictures[2].read_bytes()) + 100] ^= 1
    (folder / "a.tfrecord").write_bytes(data)
    outcomes = [outcome(record) for record in read_all([folder / "a.tfrecord"])]
    expected = contents(folder)
    assert [each for each in outcomes if isinstance(each, bytes)] == expected[:2] + expected[3:]
    assert len(outcomes) == len(expected)


def test_a_source_that_fails_to_split_is_one_failure(folder: Path) -> None:
    class Broken(shards.Letters):
        def split(self, shard: Shard, span_bytes: int) -> Iterator[Span]:
            yield Span(0, 3, 0, 3, 3)
            raise OSError("gone")

    spans = list(split_or_broken(Broken(("hello",)), Shard("hello", "hello"), 1))
    assert [(span.first, span.records, span.broken) for span in spans] == [
        (0, 3, ""),
        (3, 0, "OSError: gone"),
    ]


@pytest.mark.parametrize("name", ["a.tar", "a.tfrecord"])
def test_a_shard_of_rubbish_is_one_failure(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\xff" * 3000)
    assert [type(outcome(record)) for record in read_all([folder / name])] == [type]


LIES = {
    "no nulls": (b"%\x02\x18\x05image", b"%\x00\x18\x05image"),
    "a repetition of none of the kinds": (b"%\x02\x18\x05image", b"%\x06\x18\x05image"),
    "a name": (b"\x18\x05image", b"\x18\x05im\xffge"),
    "a list": (b"\x19\x3c", b"\x19\xfc"),  # of three structs: of as many as a number says
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("choice", [Choice(), Choice(kind="manifest", url="name")])
def test_a_parquet_footer_that_lies_does_not_end_the_process(
    folder: Path, lie: str, choice: Choice
) -> None:
    """Asking pyarrow how large a chunk is aborts it for the first two; nothing asks."""
    path = folder / "a.parquet"
    pq.write_table(pa.table({"image": contents(folder), "name": ["none"] * 6}), path)
    source = open_sources([str(path)], choice)[0]
    (shard,) = listed([source])
    assert isinstance(shard, Shard)
    data = path.read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    assert LIES[lie][0] in data[footer:]
    path.write_bytes(data[:footer] + data[footer:].replace(*LIES[lie]))
    spans = list(split_or_broken(source, shard, 1))
    records = [r for s in spans for r in records_of(unit_of_span(shard, s, ""), source)]
    assert records
    assert not set(contents(folder)) & {outcome(record) for record in records}
    if lie in ("a name", "a list"):
        assert [
            span.broken.startswith("PictureDamaged: ") and "Parquet footer: " in span.broken
            for span in spans
        ] == [True]
        with pytest.raises(UsageError, match=r"^\S+a\.parquet: not a Parquet file \([^\n]+\)$"):
            open_sources([str(path)], choice)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_row_of_a_table_that_does_not_end_loses_the_rest_only(folder: Path, kind: str) -> None:
    """Read whole, a quote that nothing closes would take the square of the file's length."""
    pictures = sorted((folder / "photos").rglob("*.jpg"))
    table, endless = folder / f"a.{kind}", limits.MAX_TABLE_ROW_BYTES + 2
    if kind == "csv":
        rows = [b"url,score\n", *(f"{path},1\n".encode() for path in pictures[:3])]
        rows += [b'"never closed\n', b"x,2\n" * (endless // 4)]
    else:
        rows = [
            json.dumps({"url": str(path), "score": 1}).encode() + b"\n" for path in pictures[:3]
        ]
        rows += [b'{"url": "' + b"x" * endless + b'"}\n', rows[0]]
    table.write_bytes(b"".join(rows))
    records = read_all([table])
    assert [record.fetch() for record in records[:-1]] == contents(folder)[:3]
    with pytest.raises(ShardCut, match="a row of more than 4194304 bytes"):
        records[-1].fetch()


def test_a_parquet_shard_cut_anywhere_is_one_failure(folder: Path) -> None:
    write_parquet(folder / "a.parquet", sorted((folder / "photos").rglob("*.jpg"))[:1])
    source = open_sources([str(folder / "a.parquet")], Choice())[0]
    (shard,) = listed([source])
    assert isinstance(shard, Shard)
    whole = (folder / "a.parquet").read_bytes()
    for length in [*range(0, 64), *range(len(whole) - 64, len(whole))]:
        (folder / "a.parquet").write_bytes(whole[:length])
        [span] = source.split(shard, 1)
        assert span.broken.startswith("PictureDamaged: not a Parquet file")


def test_a_parquet_footer_that_is_too_long_is_not_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(folder / "a.parquet", sorted((folder / "photos").rglob("*.jpg")))
    monkeypatch.setattr("underpaint.codec.limits.MAX_SOURCE_FOOTER_BYTES", 500)
    with pytest.raises(UsageError, match="a footer of more than 500 bytes"):
        open_sources([str(folder / "a.parquet")], Choice())


def test_labels_without_a_picture_are_skipped(folder: Path) -> None:
    with tarfile.open(folder / "a.tar", "w") as tar:
        member = tarfile.TarInfo("000.cls")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"7"))
    assert skipped([folder / "a.tar"]) == {".cls": 1}


def test_files_are_keyed_by_their_path_below_the_input(folder: Path) -> None:
    (folder / "photos" / ".hidden.jpg").write_bytes(b"")
    (folder / "photos" / "notes.txt").write_bytes(b"")
    (folder / "photos" / "link.jpg").symlink_to(folder / "photos/left/001.jpg")
    (folder / "photos" / "circle").symlink_to(folder / "photos")
    (folder / "photos" / "nothing.jpg").symlink_to(folder / "nothing.jpg")
    (folder / "photos" / "itself.jpg").symlink_to(folder / "photos" / "itself.jpg")
    keys = [record.key for record in read_all([folder / "photos"])]
    assert keys[:2] == ["left/001.jpg", "left/003.jpg"]
    assert keys[3] == "link.jpg"
    assert len(keys) == 7
    keys = [record.key for record in read_all([folder / "photos/left", folder / "photos/right"])]
    assert keys[0] == "left/001.jpg"
    assert keys[-1] == "right/004.jpg"
    assert [r.key for r in read_all([folder / "photos/*/00[12].jpg"])] == [
        "left/001.jpg",
        "right/002.jpg",
    ]
    assert [r.key for r in read_all([folder / "photos/left/001.jpg"])] == ["001.jpg"]


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    photos(tmp_path / "a" / "set", 1)
    photos(tmp_path / "b" / "set", 1)
    keys = [record.key for record in read_all([tmp_path / "a" / "set", tmp_path / "b" / "set"])]
    assert keys == ["a/set/right/000.jpg", "b/set/right/000.jpg"]


@pytest.mark.parametrize("missing", ["nowhere", "no/where/*.jpg", "photos/none.jpg", "x.tar"])
def test_a_missing_input_is_a_mistake(folder: Path, missing: str) -> None:
    with pytest.raises(UsageError):
        read_all([folder / missing])


def test_an_unknown_scheme_is_a_mistake() -> None:
    with pytest.raises(UsageError):
        open_sources(["nosuch://x"], Choice())


def test_a_source_of_ones_own(folder: Path) -> None:
    sources = open_sources(["hello"], Choice(kind=f"{shards.__name__}:Letters"))
    (shard,) = listed(sources)
    assert isinstance(shard, Shard)
    (span,) = sources[0].split(shard, 1)
    assert [r.fetch() for r in records_of(unit_of_span(shard, span, ""), sources[0])] == [
        letter.encode() for letter in "hello"
    ]
    assert issubclass(shards.Letters, Source)
    assert isinstance(span, Span)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip", "tfrecord", "parquet"])
def test_a_remote_shard_gives_its_photos(folder: Path, kind: str) -> None:
    pictures = sorted((folder / "photos").rglob("*.jpg"))
    write = {"tar": write_tar, "tfrecord": write_tfrecord, "parquet": write_parquet}
    if kind == "zip":
        data = shards.zip_of({f"{n}.jpg": path.read_bytes() for n, path in enumerate(pictures)})
    else:
        write[kind.removesuffix(".gz")](folder / "shard", pictures)
        data = shards.packed((folder / "shard").read_bytes(), kind)
    fsspec.filesystem("memory").pipe({f"/shards/a.{kind}": data})
    for span_bytes in (1, 1 << 30):
        records = read_all([f"memory://shards/a.{kind}"], span_bytes=span_bytes)
        assert [record.fetch() for record in records] == contents(folder)
        assert len({record.key for record in records}) == len(records)


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz", "tar.zst", "tfrecord.gz"])
def test_a_compressed_shard_that_is_cut_loses_its_end_only(folder: Path, kind: str) -> None:
    pictures = sorted((folder / "photos").rglob("*.jpg"))
    make = write_tfrecord if "tfrecord" in kind else write_tar
    make(folder / "plain", pictures)
    packed = shards.packed((folder / "plain").read_bytes(), kind)
    (folder / f"a.{kind}").write_bytes(packed[: len(packed) * 2 // 3])
    outcomes = [outcome(record) for record in read_all([folder / f"a.{kind}"])]
    assert outcomes[-1] is ShardCut
    assert outcomes[:-1] == contents(folder)[: len(outcomes) - 1]
    assert len(outcomes) > 1 or kind in ("tar.bz2", "tar.xz", "tar.zst")  # of larger blocks
    (folder / f"a.{kind}").write_bytes(packed[:-40] + bytes(20))
    assert ShardCut in [outcome(record) for record in read_all([folder / f"a.{kind}"])]


def test_a_tar_behind_a_tar_is_not_passed_over(folder: Path) -> None:
    one, two = (shards.tar_of({f"{n}.jpg": contents(folder)[n]}) for n in range(2))
    for kind in ("tar", "tgz"):
        (folder / f"a.{kind}").write_bytes(shards.packed(one + two, kind))
        for span_bytes in (1, 1 << 30):
            records = read_all([folder / f"a.{kind}"], span_bytes=span_bytes)
            assert [outcome(record) for record in records] == [contents(folder)[0], ShardCut]


def test_a_member_of_a_zip_that_is_damaged_is_one_failure(folder: Path) -> None:
    files = {f"{n}.jpg": content for n, content in enumerate(contents(folder))}
    data = bytearray(shards.zip_of(files))
    at = data.index(b"2.jpg") + 200
    data[at : at + 4] = b"\0\0\0\0"
    (folder / "a.zip").write_bytes(data)
    outcomes = [outcome(record) for record in read_all([folder / "a.zip"])]
    assert outcomes[2] is PictureDamaged
    assert outcomes[:2] + outcomes[3:] == contents(folder)[:2] + contents(folder)[3:]
    (folder / "b.zip").write_bytes(data[: len(data) // 2])
    assert [outcome(record) for record in read_all([folder / "b.zip"])] == [ShardCut]


@pytest.mark.parametrize("rows", [1, 2, 6])
def test_a_row_group_is_unpacked_once(folder: Path, rows: int) -> None:
    table = pa.table({"image": contents(folder), "n": list(range(6))})
    pq.write_table(table, folder / "a.parquet", row_group_size=rows)
    source = open_sources([str(folder / "a.parquet")], Choice())[0]
    (shard,) = listed([source])
    assert isinstance(shard, Shard)
    spans = list(source.split(shard, 1000))
    assert [span.open_ended for span in spans] == [rows > 1] * (6 // rows)
    for span_bytes in (1, 1000, 1 << 30):
        records = read_all([folder / "a.parquet"], span_bytes=span_bytes)
        assert [record.labels["n"] for record in records] == list(range(6))
        assert [record.fetch() for record in records] == contents(folder)


def test_closed_spans_of_a_stream_have_names_of_their_own(folder: Path) -> None:
    files = {f"{n:04}{'.jpg' if n % 3 else '.md'}": b"x" * (n * 7) for n in range(300)}
    (folder / "a.tgz").write_bytes(shards.packed(shards.tar_of(files), "tgz"))
    source = open_sources([str(folder / "a.tgz")], Choice())[0]
    (shard,) = listed([source])
    assert isinstance(shard, Shard)
    (span,) = source.split(shard, 5000)
    parts = list(source.stream(shard, span, 5000))
    names = [unit_of_span(shard, closed, "").name for closed, _ in parts]
    assert len(set(names)) == len(names) > 10
    assert sum(closed.records for closed, _ in parts) == 200
    assert sum(closed.size for closed, _ in parts) <= shard.size


def test_a_zip_without_its_end_is_called_cut(tmp_path: Path) -> None:
    whole = shards.zip_of({f"{number}.jpg": shards.jpeg(number) for number in range(5)})
    for name, content, said in (
        ("cut.zip", whole[: len(whole) // 2], "the zip file is cut short"),
        ("late.zip", whole[:-10], "the zip file is cut short"),
        ("none.zip", b"hello" * 99, "File is not a zip file"),
    ):
        (tmp_path / name).write_bytes(content)
        (record,) = read_all([tmp_path / name])
        with pytest.raises(ShardCut, match=f"^{said}"):
            record.fetch()
