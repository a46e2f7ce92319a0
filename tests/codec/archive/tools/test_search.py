"""Embeddings in an archive: which extractor made them, and the nearest by them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from underpaint import LayerDataset
from underpaint.codec.archive import Archive, ArchiveWriter, Row, publish
from underpaint.codec.archive.tools.merge import merge
from underpaint.codec.archive.tools.search import embeddings, near_duplicates, nearest
from underpaint.codec.archive.tools.trim import trim
from underpaint.codec.archive.torch.map_style import LayerMap
from underpaint.codec.errors import ArchiveError, NoSuchKey, UsageError

SIZE = 12


def vectors(count: int, seed: int = 5) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, SIZE)).astype(np.float32)
    drawn[3] = 4 * drawn[1]  # as like as can be
    return drawn.astype(np.float16)


def write(
    root: Path,
    wanted: np.ndarray,
    unit: str = "unit",
    *,
    first: int = 0,
    extractor: str | None = "net#sha256=12",
    sized: bool = True,
) -> Archive:
    """An archive of small row groups, one picture a vector."""
    labels = pa.schema([pa.field("cls", pa.int64())])
    with ArchiveWriter(
        root,
        unit,
        layers=["coarse", "fine"],
        weights_id="0" * 16,
        label_schema=labels,
        embedding_size=SIZE if sized else None,
        extractor=extractor,
        row_group_bytes=7000,
    ) as writer:
        for number, vector in enumerate(wanted, first):
            layers = (b"c" * 1000, b"f" * 5000)
            row = Row(f"{number:04d}", layers, 8, 8, labels={"cls": number})
            writer.add(row if not sized else Row(**{**vars(row), "embedding": vector}))
    publish(root)
    return Archive.open(root)


def test_the_nearest_are_those_of_all_pairs(tmp_path: Path) -> None:
    wanted = vectors(50)
    archive = write(tmp_path, wanted)
    unit = wanted.astype(np.float64) / np.linalg.norm(wanted.astype(np.float64), axis=1)[:, None]
    for number in (0, 1, 49):
        cosine = unit @ unit[number]
        found = nearest(archive, wanted[number], 9)
        assert [match.key for match in found] == [f"{i:04d}" for i in np.argsort(-cosine)[:9]]
        assert [match.similarity for match in found] == pytest.approx(
            sorted(cosine, reverse=True)[:9], abs=1e-3
        )
    assert len(nearest(archive, wanted[0], 500)) == 50


def test_near_duplicates_are_those_of_all_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("underpaint.codec.archive.tools.search.BLOCK_ROWS", 4)
    wanted = vectors(40)
    archive = write(tmp_path, wanted)
    unit = wanted.astype(np.float64) / np.linalg.norm(wanted.astype(np.float64), axis=1)[:, None]
    cosine = unit @ unit.T
    for least in (0.99, 0.6):
        expected = [(f"{i:04d}", f"{j:04d}") for i in range(40) for j in range(i) if
                    cosine[i, j] >= least]  # fmt: skip
        found = [(key, match.key) for key, match in near_duplicates(archive, least)]
        assert found == expected
        assert ("0003", "0001") in found


def test_a_search_reads_keys_and_embeddings_and_nothing_else(tmp_path: Path) -> None:
    archive = write(tmp_path, vectors(200))
    nearest(archive, np.ones(SIZE), 3)
    footers = sum(entry.footer_bytes for entry in archive.files)
    assert archive.traffic.fetched - footers < 200 * (2 * SIZE + 60)
    assert archive.statistics().layer_bytes[0] == 200 * 1000


def test_one_embedding_by_its_key(tmp_path: Path) -> None:
    wanted = vectors(50)
    archive = write(tmp_path, wanted)
    vector = archive.embedding("0031")
    assert vector.dtype == np.float16
    assert (vector == wanted[31]).all()
    assert archive.traffic.fetched < sum(entry.footer_bytes for entry in archive.files) + 4000
    with pytest.raises(NoSuchKey):
        archive.embedding("0050")


def test_an_archive_without_embeddings_says_so(tmp_path: Path) -> None:
    archive = write(tmp_path, vectors(4), extractor=None, sized=False)
    for ask in (
        lambda: list(embeddings(archive)),
        lambda: nearest(archive, np.ones(SIZE), 1),
        lambda: list(near_duplicates(archive, 0.5)),
        lambda: LayerDataset(archive, features=True),
    ):
        with pytest.raises(UsageError, match="no embeddings"):
            ask()
    with pytest.raises(UsageError, match="embedding"):
        archive.embedding("0000")


def test_a_vector_of_another_size_is_refused(tmp_path: Path) -> None:
    archive = write(tmp_path, vectors(4))
    with pytest.raises(UsageError, match="12 values"):
        nearest(archive, np.ones(SIZE + 1), 1)


def test_commits_of_other_extractors_are_no_one_archive(tmp_path: Path) -> None:
    write(tmp_path, vectors(4))
    with pytest.raises(ArchiveError, match="extractor"):
        write(tmp_path, vectors(4), "other", first=4, extractor="net#sha256=34")


def test_trimmed_and_merged_archives_name_the_extractor(tmp_path: Path) -> None:
    first = write(tmp_path / "a", vectors(6))
    second = write(tmp_path / "b", vectors(6), "other", first=6)
    trim(tmp_path / "a", tmp_path / "trimmed", 1)
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "merged")
    for name, rows in (("trimmed", 6), ("merged", 12)):
        made = Archive.open(tmp_path / name)
        assert made.manifest.extractor == first.manifest.extractor == second.manifest.extractor
        assert sum(len(keys) for keys, _ in embeddings(made)) == rows
    write(tmp_path / "c", vectors(6), "third", first=12, extractor="net#sha256=34")
    with pytest.raises(ArchiveError, match="extractor"):
        merge([tmp_path / "a", tmp_path / "c"], tmp_path / "mixed")


def test_records_of_archives_without_an_extractor_are_as_they_were(tmp_path: Path) -> None:
    write(tmp_path / "a", vectors(4), extractor=None)
    assert b"extractor" not in (tmp_path / "a" / "manifest.json").read_bytes()
    assert Archive.open(tmp_path / "a").manifest.extractor is None


def test_features_come_with_the_samples_of_a_training_job(tmp_path: Path) -> None:
    wanted = vectors(40)
    archive = write(tmp_path, wanted)
    dataset = LayerDataset(archive, layers=1, output="bytes", features=True, seed=3)
    samples = list(dataset)
    assert sorted(sample["key"] for sample in samples) == [f"{i:04d}" for i in range(40)]
    for sample in samples:
        assert (sample["features"].numpy() == wanted[int(sample["key"])]).all()
        assert sample["labels"] == {"cls": int(sample["key"])}
    plain = list(LayerDataset(archive, layers=1, output="bytes", seed=3))
    assert [one["key"] for one in plain] == [one["key"] for one in samples]
    assert "features" not in plain[0]
    by_index = LayerMap(archive, layers=1, output="bytes", features=True)
    for index in (0, 17, 39):
        sample = by_index[index]
        assert sample
        assert (sample["features"].numpy() == wanted[index]).all()
