"""Units that share keys are published with unique keys, and no picture is lost."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.helpers.streams import framed
from underpaint.codec import limits
from underpaint.codec.archive import Archive, ArchiveWriter, DeadLetter, Row, key_hashes, publish
from underpaint.codec.archive.commits import committed_units, orphans, sweep
from underpaint.codec.archive.key_conflicts import key_for, note_of
from underpaint.codec.archive.key_hashes import RepeatedKeys, hashes_of
from underpaint.codec.archive.rows import check_key
from underpaint.codec.archive.tools.merge import merge
from underpaint.codec.archive.tools.repair import repair
from underpaint.codec.archive.tools.trim import trim
from underpaint.codec.bitstream import PictureHeader
from underpaint.codec.errors import ArchiveError

LABELS = pa.schema([("caption", pa.string())])


def row(key: str, uri: str, text: str = "", caption: str = "") -> Row:
    content = (text or uri).encode()
    return Row(
        key=key,
        layers=(b"coarse " + content, b"fine " + content),
        width=8,
        height=8,
        source_uri=uri,
        source_sha256=hashlib.sha256(content).digest(),
        labels={"caption": caption},
    )


def write(
    root: Path,
    unit: str,
    rows: list[Row],
    failed: tuple[str, ...] = (),
    generation: int = 0,
    supersedes: bool = False,
) -> None:
    with ArchiveWriter(
        root,
        unit,
        layers=("a", "b"),
        weights_id="w" * 16,
        label_schema=LABELS,
        row_group_bytes=40,
        generation=generation,
        supersedes=supersedes,
    ) as writer:
        for item in rows:
            writer.add(item)
        for key in failed:
            writer.fail(DeadLetter(key, f"/{key}", "decode", "PictureDamaged"))
        writer.skip(".txt", 2)


def sources(root: Path) -> dict[str, str]:
    return {item.key: item.source_uri for item in Archive.open(root).rows()}


def test_the_first_source_keeps_the_key_and_the_others_are_renamed(tmp_path: Path) -> None:
    write(tmp_path, "one", [row("a.jpg", "/z/a.jpg"), row("b.jpg", "/z/b.jpg")], ("lost",))
    write(tmp_path, "two", [row("a.jpg", "/m/a.jpg"), row("c.jpg", "/m/c.jpg")])
    said: list[str] = []
    publish(str(tmp_path), report=said.append)
    renamed = key_for("a.jpg", "/z/a.jpg")
    assert sources(tmp_path) == {
        "a.jpg": "/m/a.jpg",
        renamed: "/z/a.jpg",
        "b.jpg": "/z/b.jpg",
        "c.jpg": "/m/c.jpg",
    }
    archive = Archive.open(tmp_path)
    assert archive.duplicate_keys() == []
    assert archive.get(renamed).layers == row("", "/z/a.jpg").layers
    assert archive.get(renamed).notes == (note_of("a.jpg"),)
    assert said == [f"a.jpg: the key of several sources; /z/a.jpg is stored as {renamed}"]
    statistics = archive.statistics()
    assert (statistics.images, statistics.failed, statistics.skipped) == (4, 1, {".txt": 4})
    assert statistics.pixels == 4 * 64
    assert [letter.key for letter in archive.dead_letters()] == ["lost"]


def test_a_new_key_that_stands_in_the_unit_is_not_given_again(tmp_path: Path) -> None:
    taken = key_for("a.jpg", "/z/a.jpg")
    write(tmp_path, "one", [row("a.jpg", "/z/a.jpg"), row(taken, "/z/other.jpg")])
    write(tmp_path, "two", [row("a.jpg", "/m/a.jpg")])
    publish(str(tmp_path))
    found = sources(tmp_path)
    assert sorted(found.values()) == ["/m/a.jpg", "/z/a.jpg", "/z/other.jpg"]
    assert (found["a.jpg"], found[taken]) == ("/m/a.jpg", "/z/other.jpg")


def test_a_row_that_was_written_twice_is_kept_once(tmp_path: Path) -> None:
    write(tmp_path, "one", [row("a", "/a"), row("b", "/b")])
    write(tmp_path, "two", [row("a", "/a"), row("b", "/b"), row("c", "/c")])
    said: list[str] = []
    publish(str(tmp_path), report=said.append)
    assert sources(tmp_path) == {"a": "/a", "b": "/b", "c": "/c"}
    assert said == []


def test_other_bytes_or_labels_of_one_source_are_kept(tmp_path: Path) -> None:
    for number, (text, caption) in enumerate([("x", "cat"), ("x", "dog"), ("y", "cat")]):
        write(tmp_path, f"unit-{number}", [row("a", "/shard.tar", text, caption)])
    publish(str(tmp_path))
    found = [(item.layers[0], item.labels["caption"]) for item in Archive.open(tmp_path).rows()]
    assert sorted(found) == [(b"coarse x", "cat"), (b"coarse x", "dog"), (b"coarse y", "cat")]
    assert len(sources(tmp_path)) == 3


def test_a_later_generation_replaces_rows_of_its_keys(tmp_path: Path) -> None:
    write(tmp_path, "one", [row("a", "/a"), row("b", "/b"), row("c", "/c")], ("lost",))
    publish(str(tmp_path))
    before = (tmp_path / "manifest.json").read_bytes()
    edited = [row("a", "/a", "edited"), row("b", "/other/b")]
    write(tmp_path, "two", edited, generation=1, supersedes=True)
    edited = [row("a", "/a", "edited again")]
    write(tmp_path, "three", edited, generation=2, supersedes=True)
    assert (tmp_path / "manifest.json").read_bytes() == before  # readers see the old rows
    publish(str(tmp_path))
    assert sources(tmp_path) == {"a": "/a", "b": "/other/b", "c": "/c"}
    assert Archive.open(tmp_path).get("a").layers == row("", "/a", "edited again").layers
    statistics = Archive.open(tmp_path).statistics()
    assert (statistics.images, statistics.failed, statistics.pixels) == (3, 1, 3 * 64)
    after = (tmp_path / "manifest.json").read_bytes()
    (tmp_path / "manifest.json").unlink()
    publish(str(tmp_path))
    assert (tmp_path / "manifest.json").read_bytes() == after


def test_a_unit_whose_rows_are_all_replaced_has_no_data(tmp_path: Path) -> None:
    write(tmp_path, "one", [row("a", "/a")])
    write(tmp_path, "two", [row("a", "/a", "edited")], generation=1, supersedes=True)
    publish(str(tmp_path))
    assert len(Archive.open(tmp_path).files) == 1
    assert Archive.open(tmp_path).get("a").layers == row("", "/a", "edited").layers


def test_rows_of_the_same_or_a_later_generation_are_not_replaced(tmp_path: Path) -> None:
    write(tmp_path, "one", [row("a", "/1")], generation=1, supersedes=True)
    write(tmp_path, "two", [row("a", "/2")], generation=1)
    write(tmp_path, "three", [row("a", "/3")], generation=2)
    publish(str(tmp_path))
    assert sorted(sources(tmp_path).values()) == ["/1", "/2", "/3"]


def test_rows_without_a_known_source_are_never_taken_for_repeated(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path, f"unit-{number}", [replace(row("a", ""), source_sha256=b"")])
    publish(str(tmp_path))
    assert len(sources(tmp_path)) == 3


def test_the_outcome_depends_on_neither_order_nor_interruptions(tmp_path: Path) -> None:
    units = {
        "one": [row("a", "/z"), row("b", "/z/b")],
        "two": [row("a", "/m"), row("d", "/m/d")],
        "three": [row("a", "/a"), row("b", "/a/b"), row(key_for("a", "/z"), "/c")],
    }
    outcomes = set()
    for number, order in enumerate(itertools.permutations(units)):
        for publish_between in (False, True):
            root = tmp_path / f"{number}-{publish_between}"
            for unit in order:
                write(root, unit, units[unit])
                if publish_between:
                    publish(str(root))
            publish(str(root))
            assert len(sources(root)) == 7
            outcomes.add(tuple(sorted(sources(root).items())))
    assert len(outcomes) == 1


def test_publishing_again_and_from_commits_alone_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, "one", [row("a", "/z")])
    write(tmp_path, "two", [row("a", "/m")])
    publish(str(tmp_path))
    before = (tmp_path / "manifest.json").read_bytes()
    publish(str(tmp_path))
    assert (tmp_path / "manifest.json").read_bytes() == before
    (tmp_path / "manifest.json").unlink()
    publish(str(tmp_path))
    assert (tmp_path / "manifest.json").read_bytes() == before
    assert set(committed_units(str(tmp_path))) == {"one", "one.keys1", "two"}


def test_a_replaced_data_file_is_swept_and_a_repeated_writer_adds_nothing(tmp_path: Path) -> None:
    write(tmp_path, "one", [row("a", "/z")])
    write(tmp_path, "two", [row("a", "/m")])
    publish(str(tmp_path))
    assert [name.split("/")[1][:4] for name in orphans(str(tmp_path))] == ["one-"]
    sweep(str(tmp_path), older_than_s=0)
    expected = sources(tmp_path)
    write(tmp_path, "one", [row("a", "/z")])
    publish(str(tmp_path))
    assert sources(tmp_path) == expected


def test_no_keys_are_read_where_units_cannot_share_any(tmp_path: Path) -> None:
    write(tmp_path, "one", [row("a", "/a"), row("f", "/f")])
    write(tmp_path, "two", [row("g", "/g"), row("z", "/z")])
    for file in (tmp_path / "data").iterdir():
        file.write_bytes(b"gone")
    assert publish(str(tmp_path)).rows == 4


def test_a_unit_whose_keys_cannot_be_read_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, "one", [row("a", "/z")])
    write(tmp_path, "two", [row("a", "/m")])
    [file] = (tmp_path / "data").glob("one-*")
    file.write_bytes(bytes(file.stat().st_size))
    assert publish(str(tmp_path)).rows == 2


def test_archives_with_replaced_units_are_trimmed_merged_and_repaired(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    [layer] = framed([bytes(16)], PictureHeader(8, 8, "0" * 16))  # repair checks it
    places = (("a", "/z"), ("b", "/b"), ("a", "/m"))
    rows = [replace(row(*place), layers=(layer,)) for place in places]
    write(root, "one", rows[:2], ("lost",))
    write(root, "two", rows[2:])
    publish(str(root))
    expected = sources(root)
    said: list[str] = []
    repair(root, tmp_path / "repaired", said.append)
    assert said == []
    assert sources(tmp_path / "repaired") == expected
    trim(root, tmp_path / "trimmed", 1)
    assert sources(tmp_path / "trimmed") == expected
    shutil.copytree(root, tmp_path / "copy")
    write(tmp_path / "other", "one", [row("q", "/q")])
    publish(str(tmp_path / "other"))
    merge([root, tmp_path / "copy", tmp_path / "other"], tmp_path / "merged")
    assert sources(tmp_path / "merged") == {**expected, "q": "/q"}
    assert Archive.open(tmp_path / "merged").statistics().failed == 1
    merge([tmp_path / "other", root], tmp_path / "merged-2")  # the replaced unit gets another name
    assert sources(tmp_path / "merged-2") == {**expected, "q": "/q"}


def test_the_difference_of_archives_that_cannot_be_merged_is_named(tmp_path: Path) -> None:
    settings = {"layers": ("a", "b"), "weights_id": "w" * 16, "label_schema": LABELS}
    changes: dict[str, tuple[dict[str, object], str]] = {
        "weights": ({"weights_id": "v" * 16}, f"weights \\({'w' * 16} and {'v' * 16}\\)$"),
        "layers": ({"layers": ("a",)}, r"layers \(a, b and a\); `underpaint trim --layers 1`"),
        "names": ({"layers": ("a", "c")}, r"layers \(a, b and a, c\)$"),
        "size": ({"embedding_size": 3}, r"embedding size \(none and 3\)$"),
        "source": ({"keep_source": True}, r"kept sources \(no and yes\)$"),
    }
    for name, (change, _) in {"first": ({}, ""), **changes}.items():
        with ArchiveWriter(tmp_path / name, name, **{**settings, **change}):  # type: ignore[arg-type]
            pass
        publish(str(tmp_path / name))
    for name, (_, message) in changes.items():
        with pytest.raises(ArchiveError, match=f"cannot be merged.*{message}"):
            merge([tmp_path / "first", tmp_path / name], tmp_path / "merged")


@pytest.mark.parametrize(
    "key", ["a.jpg", "x/y.z/a", "é" * 512, "k" * 1020 + ".jpg", "." + "s" * 999]
)
def test_a_new_key_is_valid_and_depends_on_the_source(key: str) -> None:
    keys = {key_for(key, uri) for uri in ("/a", "/b", "https://user:secret@host/c")}
    assert len(keys) == 3
    for new in keys:
        check_key(new)
        assert len(new.encode()) <= limits.MAX_KEY_BYTES
    assert key_for("a.jpg", "https://me:secret@host/c") == key_for("a.jpg", "https://you:x@host/c")


def test_repeated_hashes_are_found_in_memory_and_in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    keys = [f"key {number}" for number in rng.integers(0, 3000, 4000)]
    values, counts = np.unique(hashes_of(keys), return_counts=True)
    for budget in (1 << 22, 100, 1):
        monkeypatch.setattr(key_hashes, "HELD_KEYS", budget)
        with RepeatedKeys() as found:
            for start in range(0, len(keys), 37):
                found.add(hashes_of(keys[start : start + 37]))
            assert np.array_equal(found.repeated(), values[counts > 1])
    with RepeatedKeys() as found:
        assert len(found.repeated()) == 0
