"""A job that wants the coarse layer fetches the coarse layer, and transient errors pass."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pyarrow.compute as pc
import pytest
from fsspec.spec import AbstractFileSystem
from hypothesis import given
from hypothesis import strategies as st

from underpaint.codec.archive import Archive, ArchiveWriter, LayerDataset, Row, publish
from underpaint.codec.archive.parquet.chunk_file import ChunkFile
from underpaint.codec.archive.parquet.ranges import coalesce
from underpaint.codec.archive.torch.prefetch import prefetched
from underpaint.codec.errors import ArchiveDamaged
from underpaint.codec.storage.retries import is_transient, with_retries

ROWS = 20_000
COARSE = 500
"""Bytes of a coarse blob: a sixth of what the codec makes of a photo, so overheads weigh more."""


class CountingFileSystem(AbstractFileSystem):
    """Passes every read on to another file system and counts the bytes that come back."""

    protocol = "counting"
    fetched: ClassVar[int] = 0
    requests: ClassVar[int] = 0

    def __init__(self, target: str = "file", **settings: Any) -> None:
        super().__init__(**settings)
        self.target = fsspec.filesystem(target, use_listings_cache=False)

    def info(self, path: str, **settings: Any) -> dict[str, Any]:
        return self.target.info(self._strip_protocol(path))

    def ls(self, path: str, detail: bool = True, **settings: Any) -> Any:
        return self.target.ls(self._strip_protocol(path), detail=detail)

    def cat_file(self, path: str, start: Any = None, end: Any = None, **settings: Any) -> bytes:
        data = self.target.cat_file(self._strip_protocol(path), start=start, end=end)
        CountingFileSystem.fetched += len(data)
        CountingFileSystem.requests += 1
        return data

    def _open(self, path: str, mode: str = "rb", **settings: Any) -> Any:
        raise OSError("the reader must ask for ranges, not open files")


fsspec.register_implementation("counting", CountingFileSystem, clobber=True)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("large")
    noise = np.random.default_rng(1).bytes(8 * COARSE * 1000)
    for unit in range(4):
        with ArchiveWriter(
            root, f"u{unit}", layers=("a", "b", "c"), weights_id="w", row_group_bytes=1 << 20
        ) as writer:
            for index in range(unit * ROWS // 4, (unit + 1) * ROWS // 4):
                at = index * 389 % (7 * COARSE * 1000)
                cuts = (at, at + COARSE - index % 97, at + 2 * COARSE, at + 5 * COARSE)
                blobs = tuple(noise[a:b] for a, b in pairwise(cuts))
                key = f"photos/{index:06}.jpg"
                writer.add(Row(key, blobs, 64, 48, source_uri=f"gs://photos/{key}"))
    publish(str(root))
    return root


def coarse_bytes(archive: Archive) -> int:
    return archive.statistics().layer_bytes[0]


@pytest.mark.parametrize("place", ["local", "emulator"])
def test_the_coarse_layer_of_20_000_rows_costs_at_most_a_tenth_more_than_its_bytes(
    large: Path, place: str, request: pytest.FixtureRequest
) -> None:
    url, target = str(large), "file"
    if place == "emulator":
        url, target = request.getfixturevalue("gs_folder"), "gs"
        store = fsspec.filesystem("gs")
        for path in sorted(large.rglob("*.*")):
            store.put_file(str(path), f"{url}/{path.relative_to(large)}")
    archive = Archive.open(f"counting://{url.removeprefix('gs://')}", {"target": target})
    CountingFileSystem.fetched = 0
    dataset = LayerDataset(archive, layers=1, output="bytes", window_bytes=4 << 20)
    read = sum(len(sample["layers"][0]) for sample in dataset)
    assert read == coarse_bytes(archive)
    assert CountingFileSystem.fetched == dataset.traffic.fetched
    assert dataset.traffic.fetched <= 1.1 * read
    assert 0.9 < dataset.traffic.ratio <= 1.1


def test_reads_of_local_files_are_what_the_system_counts(large: Path) -> None:
    def read_by_process() -> int:
        lines = Path("/proc/self/io").read_text().splitlines()
        return int(dict(line.split(": ") for line in lines)["rchar"])

    if not Path("/proc/self/io").exists():
        pytest.skip("this system does not count a process's reads")
    archive = Archive.open(large)
    next(iter(archive.row_groups(["key"], layers=1)))  # modules that load at first use
    before, counted = read_by_process(), archive.traffic.fetched
    for _ in archive.row_groups(["key"], layers=1):
        pass
    fetched = archive.traffic.fetched - counted
    assert fetched <= read_by_process() - before <= fetched + 20_000
    assert fetched <= 1.1 * coarse_bytes(archive)


def test_a_filter_on_small_columns_spares_the_blobs_of_other_row_groups(large: Path) -> None:
    archive = Archive.open(large)
    wanted = pc.field("key") == "photos/000007.jpg"
    rows = list(archive.rows(where=wanted))
    assert [row.key for row in rows] == ["photos/000007.jpg"]
    assert archive.traffic.fetched < archive.statistics().file_bytes / 8
    assert list(archive.rows(where=pc.field("width") > 64)) == []


ranges = st.lists(st.tuples(st.integers(0, 9999), st.integers(1, 500)), min_size=1, max_size=20)


@given(ranges, st.floats(0, 1), st.integers(0, 1000))
def test_coalescing_covers_all_and_wastes_no_more_than_allowed(
    drawn: list[tuple[int, int]], waste: float, gap: int
) -> None:
    asked = [(start, start + length) for start, length in drawn]
    merged = coalesce(asked, waste=waste, gap=gap)
    wanted = {at for start, stop in asked for at in range(start, stop)}
    fetched = {at for start, stop in merged for at in range(start, stop)}
    assert wanted <= fetched
    assert len(fetched) == sum(stop - start for start, stop in merged)
    assert len(fetched - wanted) <= waste * len(wanted)
    assert len(merged) <= len(coalesce(asked, waste=0, gap=0))


def test_bytes_that_were_not_fetched_cannot_be_read() -> None:
    file = ChunkFile(100, [(10, b"abcdef")])
    file.seek(12)
    assert bytes(file.read(3)) == b"cde"
    with pytest.raises(OSError, match="bytes 15 to 18 were not fetched"):
        file.read(3)


class Throttled(OSError):
    code = 503


def test_transient_errors_are_tried_again_and_answers_are_not() -> None:
    def failing(error: Exception, times: int) -> Iterator[Any]:
        calls = 0
        while True:
            calls += 1
            yield (error if calls <= times else "answer"), calls

    def call(source: Iterator[Any]) -> Any:
        outcome, _ = next(source)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    for error in (Throttled(), TimeoutError(), ConnectionResetError()):
        source = failing(error, 3)
        assert with_retries(lambda source=source: call(source), wait_s=0) == "answer"
    for error in (FileNotFoundError(), PermissionError(), ValueError()):
        source = failing(error, 3)
        with pytest.raises(type(error)):
            with_retries(lambda source=source: call(source), wait_s=0)
        assert next(source)[1] == 2
    source = failing(Throttled(), 99)
    with pytest.raises(Throttled):
        with_retries(lambda: call(source), attempts=4, wait_s=0)
    assert next(source)[1] == 5
    assert not is_transient(OSError("Forbidden: no access"))


@pytest.mark.slow
def test_a_reader_survives_a_store_that_fails_now_and_then(large: Path) -> None:
    class Flaky(CountingFileSystem):
        protocol = "flaky"
        calls: ClassVar[int] = 0

        def cat_file(self, *places: Any, **settings: Any) -> bytes:
            Flaky.calls += 1
            if Flaky.calls % 3 == 0:
                raise ConnectionResetError("the store hung up")
            return super().cat_file(*places, **settings)

    fsspec.register_implementation("flaky", Flaky, clobber=True)
    archive = Archive.open(f"flaky://{large}")
    assert len(list(archive.keys())) == ROWS
    assert Flaky.calls > 20


def test_prefetching_keeps_order_and_budget() -> None:
    loaded: list[int] = []
    handed = 0

    def load(task: int) -> int:
        loaded.append(task)
        assert len(loaded) - handed <= 4  # three of 10 bytes ahead, and the one being handed out
        return task * 2

    for result in prefetched(range(50), load, lambda task: 10, budget=30, threads=1):
        assert result == handed * 2
        handed += 1
    assert handed == 50


def test_an_error_of_a_prefetched_load_comes_at_its_place() -> None:
    def load(task: int) -> int:
        if task == 3:
            raise ArchiveDamaged("three")
        return task

    results = prefetched(range(9), load, lambda task: 1, budget=99, threads=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ArchiveDamaged, match="three"):
        next(results)
