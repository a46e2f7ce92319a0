"""A unit of work: every input becomes one row or one dead letter, in order, within its memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from tests.helpers.shards import photos, write_tar
from underpaint import Codec
from underpaint.codec.archive import Archive, publish
from underpaint.codec.errors import ArchiveError
from underpaint.transforms.held import Held
from underpaint.transforms.identity import Identity
from underpaint.transforms.prefetch import Prefetcher
from underpaint.transforms.progress import ProgressStore
from underpaint.transforms.records import Item, Record, Span, WorkUnit, unit_of_items, unit_of_span
from underpaint.transforms.settings import AHEAD_BYTES, BYTES_PER_PIXEL, Settings
from underpaint.transforms.sources import Choice, Source, open_sources
from underpaint.transforms.work_unit import Exclusions, encode_unit


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load()


@pytest.fixture
def settings(tmp_path: Path, codec: Codec) -> Settings:
    return Settings(
        archive=str(tmp_path / "archive"),
        weights_id=codec.weights_id,
        layer_names=codec.layer_names[:2],
        labels=pa.schema([]),
        memory=1 << 28,
    )


@pytest.fixture
def prefetcher(settings: Settings) -> Iterator[Prefetcher]:
    prefetcher = settings.prefetcher()
    yield prefetcher
    prefetcher.close()


def files(folder: Path, count: int = 6) -> tuple[Source, WorkUnit]:
    """A source and one unit of photos, the third of them broken."""
    paths = photos(folder, count)
    for path in paths[2:3]:
        path.write_bytes(path.read_bytes()[:300])
    items = [Item(path.name, str(path), path.stat().st_size) for path in paths]
    return open_sources([str(folder)], Choice("files"))[0], unit_of_items(items)


def opened(settings: Settings) -> Archive:
    publish(settings.archive)
    return Archive.open(settings.archive)


def test_rows_and_dead_letters_are_the_inputs(
    tmp_path: Path, codec: Codec, settings: Settings, prefetcher: Prefetcher
) -> None:
    source, unit = files(tmp_path / "photos")
    (tmp_path / "progress_store").mkdir()
    progress_store = ProgressStore(str(tmp_path / "progress_store"))
    counts = encode_unit(unit, None, source, codec, settings, prefetcher, progress_store)
    archive = opened(settings)
    keys = [item.key for item in unit.items]
    assert list(archive.keys()) == [key for key in keys if key != keys[2]]
    (letter,) = archive.dead_letters()
    assert (letter.key, letter.stage, letter.error) == (keys[2], "decode", "PictureDamaged")
    assert (counts.images, counts.failed, counts.units) == (5, 1, 1)
    assert progress_store.total() == counts
    for row, item in zip(archive.rows(), [i for i in unit.items if i.key != keys[2]], strict=True):
        assert row.source_bytes == item.size
        assert row.source_format == "JPEG"
        (pixels,) = codec.decode([row.layers])
        assert pixels.shape == (row.height, row.width, 3)


class Moody:
    """A codec that cannot take some pictures, nor more than a few at once."""

    def __init__(self, codec: Codec, width: int) -> None:
        self.codec, self.width = codec, width

    def encode(
        self,
        images: Sequence[np.ndarray],
        *,
        layers: int | None = None,
        effort: int = 1,
        sizes: Sequence[int] = (),
    ) -> list[tuple[bytes, ...]]:
        if len(images) > 2:
            raise MemoryError("out of memory")
        if any(image.shape[1] == self.width for image in images):
            raise RuntimeError("no such luck")
        return self.codec.encode(images, layers=layers, effort=effort, sizes=sizes)


def test_a_picture_the_codec_cannot_take_costs_itself(
    tmp_path: Path, codec: Codec, settings: Settings, prefetcher: Prefetcher
) -> None:
    source, unit = files(tmp_path / "photos")
    with Image.open(unit.items[4].uri) as image:
        moody = Moody(codec, image.width)
    encode_unit(unit, None, source, moody, settings, prefetcher)
    letters = {letter.key: letter for letter in opened(settings).dead_letters()}
    assert set(letters) == {unit.items[2].key, unit.items[4].key}
    assert letters[unit.items[4].key].stage == "encode"
    assert letters[unit.items[4].key].error == "RuntimeError"
    assert "no such luck" in letters[unit.items[4].key].trace
    assert len(opened(settings)) == 4


def test_layers_do_not_depend_on_the_memory(
    tmp_path: Path, codec: Codec, settings: Settings, prefetcher: Prefetcher
) -> None:
    source, unit = files(tmp_path / "photos")
    encode_unit(unit, None, source, codec, settings, prefetcher)
    small = replace(settings, archive=settings.archive + "2", memory=20_000 * BYTES_PER_PIXEL)
    encode_unit(unit, None, source, codec, small, prefetcher)
    assert [r.layers for r in opened(small).rows()] == [r.layers for r in opened(settings).rows()]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_pipes_and_devices_are_failures_and_nothing_waits_for_them(
    tmp_path: Path, codec: Codec, settings: Settings, prefetcher: Prefetcher
) -> None:
    source, unit = files(tmp_path / "photos", 2)
    os.mkfifo(tmp_path / "pipe.jpg")
    items = [Item("pipe", str(tmp_path / "pipe.jpg")), Item("zero", "/dev/zero"), *unit.items]
    encode_unit(unit_of_items(items), None, source, codec, settings, prefetcher)
    archive = opened(settings)
    assert {(x.key, x.stage, x.error) for x in archive.dead_letters()} == {
        ("pipe", "read", "OSError"),
        ("zero", "read", "OSError"),
    }
    assert len(archive) == 2


def test_few_pictures_wait_however_much_memory_there_is(tmp_path: Path, settings: Settings) -> None:
    data = photos(tmp_path, 1)[0].read_bytes()
    taken: list[int] = []

    def records() -> Iterator[Record]:
        for number in range(100):
            taken.append(number)
            yield Record(f"{number}", "", lambda: data, size=1 << 20)

    prefetcher = replace(settings, memory=1 << 40).prefetcher()
    try:
        next(prefetcher.ready(records()))
    finally:
        prefetcher.close()
    assert 1 <= len(taken) <= 1 + (2 * AHEAD_BYTES >> 20)


def test_a_picture_without_room_is_a_failure(
    tmp_path: Path, codec: Codec, settings: Settings, prefetcher: Prefetcher
) -> None:
    source, unit = files(tmp_path / "photos", 2)
    Image.new("RGB", (400, 300)).save(unit.items[0].uri)
    tight = replace(settings, memory=20_000 * BYTES_PER_PIXEL)
    encode_unit(unit, None, source, codec, tight, prefetcher)
    (letter,) = opened(settings).dead_letters()
    assert (letter.key, letter.error) == (unit.items[0].key, "PictureTooLarge")
    assert len(opened(settings)) == 1


def test_pictures_of_one_key_are_kept_and_one_listed_twice_is_there_once(
    tmp_path: Path, codec: Codec, settings: Settings, prefetcher: Prefetcher
) -> None:
    source, unit = files(tmp_path / "photos", 2)
    twins = unit_of_items([replace(item, key="same") for item in (*unit.items, *unit.items[:1])])
    counts = encode_unit(twins, None, source, codec, settings, prefetcher)
    assert (counts.images, counts.failed, counts.skipped) == (2, 0, {"listed twice": 1})
    assert list(opened(settings).dead_letters()) == []
    assert opened(settings).statistics().skipped == {"listed twice": 1}
    own, other = sorted(opened(settings).rows(), key=lambda row: len(row.key))
    assert own.key == "same"
    assert other.key.startswith("same-")
    assert {own.source_uri, other.source_uri} == {item.uri for item in unit.items}


def test_duplicates_are_left_out(
    tmp_path: Path, codec: Codec, settings: Settings, prefetcher: Prefetcher
) -> None:
    source, unit = files(tmp_path / "photos")
    keys = [item.key for item in unit.items]
    left_out = Exclusions(Identity(Held()), {keys[4]: keys[3]})
    counts = encode_unit(unit, None, source, codec, settings, prefetcher, exclusions=left_out)
    assert (counts.images, counts.failed, counts.done_before, counts.duplicates) == (4, 1, 0, 1)
    letters = {letter.key: letter for letter in opened(settings).dead_letters()}
    assert letters[keys[4]].error == "Duplicate"
    assert keys[3] in letters[keys[4]].message


def test_a_unit_done_twice_is_there_once(
    tmp_path: Path, codec: Codec, settings: Settings, prefetcher: Prefetcher
) -> None:
    source, unit = files(tmp_path / "photos")
    for _ in range(2):
        encode_unit(unit, None, source, codec, settings, prefetcher)
    assert len(opened(settings)) == 5
    assert opened(settings).duplicate_keys() == []


def test_trouble_of_the_archive_is_no_dead_letter(
    tmp_path: Path, codec: Codec, settings: Settings, prefetcher: Prefetcher
) -> None:
    source, unit = files(tmp_path / "photos")
    (tmp_path / "archive").write_bytes(b"in the way")
    with pytest.raises((ArchiveError, OSError)):
        encode_unit(unit, None, source, codec, settings, prefetcher)


def test_a_shard_that_changed_since_it_was_split_keeps_its_sum(
    tmp_path: Path, codec: Codec, settings: Settings, prefetcher: Prefetcher
) -> None:
    paths = photos(tmp_path / "photos")
    write_tar(tmp_path / "a.tar", paths)
    source = open_sources([str(tmp_path / "a.tar")], Choice())[0]
    (shard,) = source.listing()
    span = Span(0, shard.size, 0, len(paths), shard.size)  # type: ignore[union-attr]
    write_tar(tmp_path / "a.tar", paths[:4])
    unit = unit_of_span(shard, span, "")  # type: ignore[arg-type]
    labelled = replace(settings, labels=source.labels())
    counts = encode_unit(unit, None, source, codec, labelled, prefetcher)
    assert (counts.images, counts.failed) == (4, 2)
    letters = list(opened(settings).dead_letters())
    assert len({letter.key for letter in letters}) == 2
    assert all("2 records" in letter.message for letter in letters)
