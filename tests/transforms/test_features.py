"""Features in Beam: one bad picture costs itself, batches are bounded by pixels, models shared."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that
from PIL import Image

from tests.helpers.networks import CHANNELS, network, photo, saved
from tests.helpers.shards import photos
from underpaint import Codec
from underpaint.codec.archive import Archive, DeadLetter, publish
from underpaint.codec.errors import UsageError
from underpaint.codec.extractors import Preprocessing, open_extractor
from underpaint.codec.image_io.read import read_picture
from underpaint.transforms.embedding import BATCH_PIXELS, CUDA_BATCH_PIXELS, Embedding
from underpaint.transforms.features import FAILED, FEATURES, ExtractFeatures, FeatureHandler
from underpaint.transforms.records import Item, unit_of_items
from underpaint.transforms.settings import Settings
from underpaint.transforms.sources import Choice, open_sources
from underpaint.transforms.work_unit import encode_unit

BLACK = np.zeros((30, 40, 3), np.uint8)
"""Has no features by the network with a logarithm."""


class Greedy:
    """An extractor that runs out of memory beyond two pictures, and notes its loads and batches."""

    name, identity, size = f"{__name__}:Greedy", "greedy", 4
    preprocessing = Preprocessing(16, crop=None)

    def __init__(self, device: str) -> None:
        self.device = device
        with open(os.environ["GREEDY_LOADS"], "a") as file:
            file.write("load\n")

    def features(self, fitted: np.ndarray) -> np.ndarray:
        with open(os.environ["GREEDY_LOADS"], "a") as file:
            file.write(f"{len(fitted)}\n")
        if len(fitted) > 2:
            raise MemoryError("no room")
        vectors = fitted.reshape(len(fitted), -1)[:, :4].astype(np.float32) + 1
        unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


@pytest.fixture
def greedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GREEDY_LOADS", str(tmp_path / "loads"))
    return tmp_path / "loads"


@pytest.fixture
def embedding(tmp_path: Path) -> Embedding:
    path, digest = saved(tmp_path, network(logarithm=True))
    return Embedding.named(f"onnx:{path}#sha256={digest}&mean=0,0,0&std=1,1,1")


def check(
    embedding: Embedding,
    pictures: Sequence[tuple[str, np.ndarray]],
    vectors: Mapping[str, np.ndarray],
    failures: Mapping[str, str],
) -> None:
    """Run the transform; it must give these vectors, and dead letters of these keys and errors."""

    def check_vectors(found: list[tuple[str, np.ndarray]]) -> None:
        assert sorted(key for key, _ in found) == sorted(vectors)
        for key, vector in found:
            np.testing.assert_allclose(vector, vectors[key], atol=1e-6)

    def check_failures(found: list[DeadLetter]) -> None:
        assert {one.key: one.error for one in found} == failures
        assert {one.stage for one in found} <= {"embed"}
        assert len(found) == len(failures)

    with beam.Pipeline(runner="FnApiRunner", options=PipelineOptions([])) as pipeline:
        outputs = pipeline | beam.Create(pictures) | ExtractFeatures(embedding, "cpu")
        assert_that(outputs[FEATURES], check_vectors, label="vectors")
        assert_that(outputs[FAILED], check_failures, label="failures")


def expected(embedding: Embedding, pictures: Sequence[tuple[str, np.ndarray]]) -> dict:
    """Vectors one by one, without Beam."""
    extractor = open_extractor(embedding.name)
    fit = extractor.preprocessing.fit
    return {key: extractor.features(fit(image)[None])[0] for key, image in pictures}


def test_each_picture_has_a_vector_or_a_dead_letter(embedding: Embedding) -> None:
    good = [(f"{number}", photo(number, 60 + number, 80)) for number in range(7)]
    bad = [("black", BLACK), ("flat", np.zeros((4, 4), np.float64))]
    failures = {"black": "FeaturesInvalid", "flat": "UsageError"}
    check(embedding, [*bad, *good], expected(embedding, good), failures)


def test_a_batch_without_room_is_halved_and_the_model_loaded_once(greedy: Path) -> None:
    embedding = Embedding.named(f"{__name__}:Greedy")
    good = [(f"{number}", photo(number)) for number in range(9)]
    wanted = expected(embedding, good)
    greedy.write_text("")
    check(embedding, good, wanted, {})
    notes = greedy.read_text().split()
    assert notes.count("load") == 1
    batches = [int(note) for note in notes if note != "load"]
    assert sum(size for size in batches if size <= 2) == 9


def test_batches_are_bounded_by_pixels(embedding: Embedding) -> None:
    handler = FeatureHandler(embedding, "cpu")
    assert handler.batch_elements_kwargs()["max_batch_size"] == BATCH_PIXELS // 32**2
    large = replace(embedding, preprocessing=Preprocessing(4096))
    assert FeatureHandler(large, "cpu").batch_elements_kwargs()["max_batch_size"] == 1
    assert embedding.batch("cuda:1") == CUDA_BATCH_PIXELS // 32**2


def test_a_worker_refuses_another_network_than_the_job_was_given(
    embedding: Embedding, tmp_path: Path
) -> None:
    assert embedding.load("cpu").embed([photo(1)])[0].shape == (CHANNELS,)  # type: ignore[union-attr]
    path, _ = saved(tmp_path, network())
    named = Embedding.named(f"onnx:{path}")
    with pytest.raises(UsageError, match="not another"):
        replace(named, identity="another").load("cpu")


def test_a_unit_stores_vectors_and_fails_pictures_without_them(
    tmp_path: Path, embedding: Embedding
) -> None:
    codec = Codec.load()
    paths = photos(tmp_path / "photos", 5)
    Image.fromarray(BLACK).save(paths[1])
    settings = Settings(
        archive=str(tmp_path / "archive"),
        weights_id=codec.weights_id,
        layer_names=codec.layer_names[:1],
        labels=pa.schema([]),
        memory=1 << 28,
        embedding=embedding,
    )
    unit = unit_of_items([Item(path.name, str(path), path.stat().st_size) for path in paths])
    source = open_sources([str(tmp_path / "photos")], Choice("files"))[0]
    prefetcher = settings.prefetcher()
    try:
        counts = encode_unit(
            unit, None, source, codec, settings, prefetcher, embedder=embedding.load("cpu")
        )
    finally:
        prefetcher.close()
    publish(settings.archive)
    archive = Archive.open(settings.archive)
    assert (counts.images, counts.failed) == (4, 1)
    (letter,) = archive.dead_letters()
    assert (letter.key, letter.stage, letter.error) == (paths[1].name, "embed", "FeaturesInvalid")
    assert archive.manifest.extractor == embedding.identity
    assert archive.manifest.embedding_size == CHANNELS
    pictures = {item.key: read_picture(Path(item.uri).read_bytes()).pixels for item in unit.items}
    del pictures[paths[1].name]
    wanted = expected(embedding, list(pictures.items()))
    for row in archive.rows():
        assert row.embedding is not None
        np.testing.assert_allclose(row.embedding, wanted[row.key], atol=1e-3)
