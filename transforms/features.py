"""Features of pictures: in batches bounded by pixels, one model a process, failures told apart.

    (key, uint8 [H, W, 3])
      │ "Fit pictures"  ParDo          (key, uint8 [side, side, 3]), or an error
      │ "Run network"   RunInference   (key, float32 [size]), or an error
      ├ features                       (key, float32 [size])
      └ failed                         DeadLetter

`ExtractFeatures` is for pipelines of one's own. RunInference serves there because its traps are
avoided: it counts elements and not their pixels, so pictures are fitted to the network's square
before it; one bad element would end its whole batch and memory that runs out is not tried again, so
the handler halves a batch that fails and returns errors as results; one model is shared by the
threads of a process through Beam's own `Shared`, and not between processes, which would pickle
tensors.

`underpaint encode` does without (see `transforms.work_unit`): its pictures never leave the worker
that
decodes them, where RunInference would send them through the runner once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.ml.inference.base import ModelHandler, RunInference

from underpaint.codec.archive import DeadLetter
from underpaint.codec.errors import UnderpaintError
from underpaint.codec.extractors import Preprocessing
from underpaint.transforms.embedding import STAGE, Embedder, Embedding

FEATURES, FAILED = "features", "failed"
"""Outputs of `ExtractFeatures`."""

Keyed = tuple[str, np.ndarray]


class ExtractFeatures(beam.PTransform):
    """(key, uint8 [H, W, 3]) to a dict of two collections: `features` and `failed`.

    `features` holds (key, float32 [size]) in no order, `failed` a `DeadLetter` for each of the
    other pictures. `device` is a torch device or "auto".
    """

    def __init__(self, embedding: Embedding, device: str = "auto") -> None:
        super().__init__()
        self._embedding, self._device = embedding, device

    def expand(self, pictures: beam.PCollection) -> dict[str, beam.PCollection]:
        """From pictures to vectors and failures."""
        fit = beam.ParDo(FitPictures(self._embedding.preprocessing))
        fit = fit.with_outputs(FAILED, main=FEATURES)
        fitted = pictures | "Fit pictures" >> fit  # (str, uint8 [side, side, 3])
        handler = FeatureHandler(self._embedding, self._device)
        results = fitted[FEATURES] | "Run network" >> RunInference(handler)
        parts = results | "Part" >> beam.ParDo(PartResults()).with_outputs(FAILED, main=FEATURES)
        failed = (fitted[FAILED], parts[FAILED]) | "Failures" >> beam.Flatten()
        return {FEATURES: parts[FEATURES], FAILED: failed}


class FitPictures(beam.DoFn):
    """Pictures to squares of one size, so that so many elements are so many pixels."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._preprocessing = preprocessing

    def process(self, element: Keyed) -> Iterator[Any]:  # type: ignore[override]
        """One square, or one dead letter."""
        key, image = element
        try:
            yield key, self._preprocessing.fit(image)
        except Exception as error:  # whatever is wrong with one picture costs that one
            yield beam.pvalue.TaggedOutput(FAILED, letter(key, error))


class FeatureHandler(ModelHandler[Keyed, tuple[str, Any], Embedder]):
    """A network for RunInference: loads it, and runs it over batches."""

    def __init__(self, embedding: Embedding, device: str = "auto") -> None:
        super().__init__()
        self._embedding, self._device = embedding, device

    def load_model(self) -> Embedder:
        """Open the extractor."""
        return self._embedding.load(self._device)

    def run_inference(
        self,
        batch: Sequence[Keyed],
        model: Embedder,
        inference_args: Mapping[str, Any] | None = None,
    ) -> list[tuple[str, Any]]:
        """Key and vector, or key and error, of each element."""
        found = model.embed_fitted([fitted for _, fitted in batch])
        return [(key, each) for (key, _), each in zip(batch, found, strict=True)]

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """As many as the pixels of a batch allow: all squares are of one size."""
        return {"min_batch_size": 1, "max_batch_size": self._embedding.batch(self._device)}


class PartResults(beam.DoFn):
    """Results apart: vectors, and dead letters of errors."""

    def process(self, element: tuple[str, Any]) -> Iterator[Any]:  # type: ignore[override]
        """One of both."""
        key, found = element
        if isinstance(found, Exception):
            yield beam.pvalue.TaggedOutput(FAILED, letter(key, found))
        else:
            yield key, found


def letter(key: str, error: Exception) -> DeadLetter:
    """The dead letter of a picture without features."""
    message = " ".join(str(error).split())[:1000]
    trace = "" if isinstance(error, UnderpaintError) else repr(error)[:1000]
    return DeadLetter(key, "", STAGE, type(error).__name__, message, trace)
