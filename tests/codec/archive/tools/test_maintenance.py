"""Trim, merge, export and view: what they keep, refuse and show."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.streams import framed
from underpaint.codec.archive import Archive, ArchiveWriter, DeadLetter, Row, orphans, publish
from underpaint.codec.archive.tools.export import LONGEST_NAME, export, export_name
from underpaint.codec.archive.tools.merge import merge
from underpaint.codec.archive.tools.repair import repair
from underpaint.codec.archive.tools.trim import trim
from underpaint.codec.archive.tools.view import PaletteEntry, StateView, render, view_of
from underpaint.codec.bitstream import PictureHeader
from underpaint.codec.codec import Codec
from underpaint.codec.errors import ArchiveError, DuplicateKey, UsageError
from underpaint.codec.image_io.read import read_picture

LAYERS = ("coarse", "middle", "fine")


def write(root: Path, unit: str, keys: list[str], **settings: Any) -> None:
    settings = {"layers": LAYERS, "weights_id": "w", "row_group_bytes": 300, **settings}
    labels = pa.schema([("when", pa.timestamp("ns")), ("tags", pa.list_(pa.string()))])
    with ArchiveWriter(root, unit, label_schema=labels, **settings) as writer:
        for key in keys:
            rng = np.random.default_rng([*key.encode()])
            blobs = [rng.bytes(40 * 3**layer) for layer in range(len(settings["layers"]))]
            when = pa.scalar(1_700_000_000_123_456_789, pa.timestamp("ns"))
            writer.add(
                Row(key, tuple(blobs), 16, 16, labels={"when": when, "tags": ["a", None, key]})
            )
        writer.fail(DeadLetter(f"bad-{unit}", "file:///bad", "read", "OSError", "gone"))
    publish(str(root))


def test_trim_keeps_all_but_the_finer_layers_and_reads_none_of_them(tmp_path: Path) -> None:
    write(tmp_path / "a", "one", [f"k{i}" for i in range(20)])
    write(tmp_path / "a", "two", ["x", "y"])
    trim(tmp_path / "a", tmp_path / "b", 2)
    before, after = Archive.open(tmp_path / "a"), Archive.open(tmp_path / "b")
    assert after.layer_names == LAYERS[:2]
    assert list(after.dead_letters()) == list(before.dead_letters())
    for old, new in zip(before.row_groups(layers=2), after.row_groups(layers=2), strict=True):
        assert new.table.drop(["states"]).equals(old.table.drop(["states"]))
        assert set(new.table.column("states").to_pylist()) == {2}
    assert after.statistics().layer_bytes == before.statistics().layer_bytes[:2]
    # again, and after a kill that lost the manifest and one unit: the same archive
    whole = after.manifest
    (tmp_path / "b" / "manifest.json").unlink()
    (tmp_path / "b" / "commits" / "two.json").unlink()
    assert trim(tmp_path / "a", tmp_path / "b", 2) == whole


def test_trim_refuses_mistakes(tmp_path: Path) -> None:
    write(tmp_path / "a", "one", ["k"])
    write(tmp_path / "c", "other", ["k"])
    with pytest.raises(UsageError, match="layers: 4; the archive has layers 1 to 3"):
        trim(tmp_path / "a", tmp_path / "b", 4)
    with pytest.raises(UsageError, match="cannot be written over itself"):
        trim(tmp_path / "a", tmp_path / "a", 1)
    with pytest.raises(UsageError, match="holds other units already"):
        trim(tmp_path / "a", tmp_path / "c", 1)
    trim(tmp_path / "a", tmp_path / "d", 2)
    with pytest.raises(UsageError, match="d: holds other layers or sizes of this archive"):
        trim(tmp_path / "a", tmp_path / "d", 1)
    with pytest.raises(UsageError, match="holds unit 'one' with other content; choose another"):
        merge([tmp_path / "d"], tmp_path / "a")


def test_no_archive_is_written_among_other_files(tmp_path: Path) -> None:
    write(tmp_path / "a", "one", ["k"])
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "photo.jpg").write_bytes(b"photo")
    writers: list[Callable[[], object]] = [
        lambda: trim(tmp_path / "a", photos, 1),
        lambda: merge([tmp_path / "a"], photos),
        lambda: repair(tmp_path / "a", photos, print),
    ]
    for write_there in writers:
        with pytest.raises(UsageError, match="holds files, and no archive; choose another folder"):
            write_there()
    assert [path.name for path in photos.rglob("*")] == ["photo.jpg"]


def test_merge_takes_every_row_once_and_equal_units_once(tmp_path: Path) -> None:
    write(tmp_path / "a", "one", ["a", "b"])
    write(tmp_path / "b", "one", ["c"])  # another unit of the same name
    write(tmp_path / "c", "one", ["a", "b"])  # the same unit
    write(tmp_path / "c", "two", ["d"])
    sources = [tmp_path / name for name in "abc"]
    merged = merge(sources, tmp_path / "m")
    archive = Archive.open(tmp_path / "m")
    assert [unit.unit for unit in merged.units] == ["one", "one.archive-1", "two"]
    assert sorted(archive.keys()) == ["a", "b", "c", "d"]
    expected = {row.key: row for source in sources for row in Archive.open(source).rows()}
    assert {row.key: row.layers for row in archive.rows()} == {
        key: row.layers for key, row in expected.items()
    }
    assert archive.statistics().failed == 3
    assert merge(sources, tmp_path / "m") == merged
    assert orphans(str(tmp_path / "m")) == {}
    assert list(archive.check_files()) == []


def test_merge_refuses_archives_that_do_not_fit(tmp_path: Path) -> None:
    write(tmp_path / "a", "one", ["a", "b"])
    write(tmp_path / "b", "two", ["b"])
    with pytest.raises(DuplicateKey, match="b: more than one of the archives"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "m")
    write(tmp_path / "c", "three", ["c"], layers=LAYERS[:2])
    with pytest.raises(ArchiveError, match="underpaint trim"):
        merge([tmp_path / "a", tmp_path / "c"], tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.slow
@given(st.text(min_size=1).filter(lambda key: key.isprintable()))
def test_exported_names_stay_in_the_folder_and_differ(key: str) -> None:
    name = export_name(key)
    parts = name.split("/")
    assert all(re.fullmatch(r"[A-Za-z0-9_%-]+", part) for part in parts)
    assert len(name) <= LONGEST_NAME
    assert export_name(key + "x") != name
    assert export_name(key + "/") != name


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """A small archive of the real codec, and its pictures from all layers."""
    root = tmp_path_factory.mktemp("photos")
    codec = Codec.load()
    rng = np.random.default_rng(2)
    pictures = {
        key: np.clip(rng.normal(120, 30, (1, 1, 3)) + rng.normal(0, 8, (*side, 3)), 0, 255).astype(
            np.uint8
        )
        for key, side in {"a/cat.jpg": (40, 50), "<b>&.png": (16, 16), "../up": (20, 33)}.items()
    }
    streams = codec.encode(list(pictures.values()))
    with ArchiveWriter(
        root,
        "unit",
        layers=codec.layer_names,
        weights_id=codec.weights_id,
        label_schema=pa.schema([("cls", pa.int64()), ("caption", pa.string())]),
    ) as writer:
        for (key, pixels), stream in zip(pictures.items(), streams, strict=True):
            height, width, _ = pixels.shape
            labels = {"cls": 7, "caption": "<script>alert(1)</script>"}
            writer.add(Row(key, stream, width, height, source_bytes=9999, labels=labels))
    publish(str(root))
    return root, dict(zip(pictures, codec.decode(streams), strict=True))


def test_export_to_a_folder(photos: tuple[Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    root, pictures = photos
    done = export(root, tmp_path / "out", form="folder")
    assert (done.images, done.files) == (3, 4)
    lines = (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()
    for line in map(json.loads, lines):
        data = (tmp_path / "out" / line["file_name"]).read_bytes()
        assert np.array_equal(read_picture(data).pixels, pictures[line["key"]])
        assert line["cls"] == 7
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    with pytest.raises(UsageError, match="the folder is not empty"):
        export(root, tmp_path / "out", form="folder")


def test_no_exported_label_stands_for_the_name_of_a_file(tmp_path: Path) -> None:
    [layer] = framed([bytes(16)], PictureHeader(8, 8, "0" * 16))
    labels = {"file_name": "../../etc/passwd", "layers": "mine", "label_layers": "too"}
    schema = pa.schema([(name, pa.string()) for name in labels])
    with ArchiveWriter(
        tmp_path / "in", "u", layers=("c",), weights_id="0" * 16, label_schema=schema
    ) as writer:
        writer.add(Row("k", (layer,), 8, 8, labels=labels))
    publish(tmp_path / "in")
    export(tmp_path / "in", tmp_path / "out", form="folder", format="layers")
    line = json.loads((tmp_path / "out" / "metadata.jsonl").read_text())
    assert (line["file_name"], line["layers"]) == ("k.layer_1", 1)
    found = {name: value for name, value in line.items() if name.startswith("label_")}
    assert found == {
        "label_file_name": "../../etc/passwd",
        "label_layers": "mine",
        "label_label_layers": "too",
    }


def test_export_to_webdataset_shards(
    photos: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    import webdataset

    root, _ = photos
    done = export(root, tmp_path, layers=1, shard_bytes=1)
    assert done.files == 3
    names = [str(path) for path in sorted(tmp_path.glob("*.tar"))]
    samples = list(webdataset.WebDataset(names, shardshuffle=False))
    expected = [row.key for row in Archive.open(root).rows()]
    assert [json.loads(sample["json"])["key"] for sample in samples] == expected
    codec = Codec.load()
    coarse = codec.decode([row.layers for row in Archive.open(root).rows(layers=1)])
    for sample, pixels in zip(samples, coarse, strict=True):
        assert np.array_equal(read_picture(sample["png"]).pixels, pixels)


def test_export_of_the_layers_themselves(
    photos: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    root, _ = photos
    export(root, tmp_path, format="layers", layers=2)
    with tarfile.open(tmp_path / "shard-000000.tar") as tar:
        members = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    for row in Archive.open(root).rows(layers=2):
        for layer, blob in enumerate(row.layers, 1):
            assert members[f"{export_name(row.key)}.layer_{layer}"] == blob


@pytest.mark.slow
def test_the_page_of_an_image_is_escaped_and_loads_nothing(
    photos: tuple[Path, dict[str, np.ndarray]],
) -> None:
    row, states = view_of(Archive.open(photos[0]), "<b>&.png")
    page = render(row, states)
    assert len(states) == len(Archive.open(photos[0]).layer_names)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<h1>&lt;b&gt;&amp;.png</h1>" in page
    assert not re.search(r"(src|href)=\"(?!data:image/png;base64,)", page)
    assert page.count("<section>") == len(states)
    for state in states:
        assert sum(entry.share for entry in state.palette) == pytest.approx(1)


def test_the_page_shows_each_state_in_a_browser(
    photos: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    browser = browser or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    colours = [(230, 20, 20), (20, 200, 40)]
    states = [
        StateView(
            f"state {n}",
            100,
            100 * (n + 1),
            np.full((64, 64, 3), colour, np.uint8),
            np.zeros((4, 4), np.int64),
            (PaletteEntry(0, 1.0, colour),),
        )
        for n, colour in enumerate(colours)
    ]
    page = tmp_path / "page.html"
    page.write_text(render(Row("key", (b"x",), 64, 64), states), encoding="utf-8")
    shot = tmp_path / "shot.png"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    subprocess.run(
        [*command, "--window-size=800,900", f"--screenshot={shot}", page.as_uri()],
        check=True,
        capture_output=True,
        timeout=120,
    )
    pixels = read_picture(shot.read_bytes()).pixels.reshape(-1, 3)
    areas = [int((pixels == colour).all(1).sum()) for colour in colours]
    assert areas[0] == 0  # the last state is the one shown at first: picture, map and swatch
    assert areas[1] > 64 * 64 + 200 * 200
