"""A Beam transform that extracts features: bounded batches, one model a process, per-element
errors.

    (key, uint8 [H, W, 3])
      │ "Fit pictures"  ParDo          (key, uint8 [side, side, 3]), or an error
      │ "Run network"   RunInference   (key, float32 [size]), or an error
      ├ features                       (key, float32 [size])
      └ failed                         DeadLetter

`ExtractFeatures` is for pipelines of your own. It avoids three problems of RunInference.
RunInference counts elements and not pixels, so pictures are first resized to the network's square.
One bad element would fail its whole batch, and out-of-memory errors are not retried, so the handler
halves a failed batch and returns errors as results. Models shared between processes pickle their
tensors, so a model is shared only by the threads of one process, through Beam's `Shared`.

`underpaint encode` does not use it (see `transforms.work_unit`): its pictures never leave the
worker that decodes them, whereas RunInference would send them through the runner once more.
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
"""Names of the outputs of `ExtractFeatures`."""

Keyed = tuple[str, np.ndarray]


class ExtractFeatures(beam.PTransform):
    """(key, uint8 [H, W, 3]) to a dict of two collections: `features` and `failed`.

    `features` holds (key, float32 [size]) in no particular order; `failed` holds one `DeadLetter`
    for each other picture. `device` is a torch device or "auto".
    """

    def __init__(self, embedding: Embedding, device: str = "auto") -> None:
        super().__init__()
        self._embedding, self._device = embedding, device

    def expand(self, pictures: beam.PCollection) -> dict[str, beam.PCollection]:
        """Build the graph from pictures to vectors and failures."""
        fit = beam.ParDo(FitPictures(self._embedding.preprocessing))
        fit = fit.with_outputs(FAILED, main=FEATURES)
        fitted = pictures | "Fit pictures" >> fit  # (str, uint8 [side, side, 3])
        handler = FeatureHandler(self._embedding, self._device)
        results = fitted[FEATURES] | "Run network" >> RunInference(handler)
        parts = results | "Part" >> beam.ParDo(PartResults()).with_outputs(FAILED, main=FEATURES)
        failed = (fitted[FAILED], parts[FAILED]) | "Failures" >> beam.Flatten()
        return {FEATURES: parts[FEATURES], FAILED: failed}


class FitPictures(beam.DoFn):
    """Resizes pictures to squares of one size, so that a number of elements is a number of
    pixels.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._preprocessing = preprocessing

    def process(self, element: Keyed) -> Iterator[Any]:  # type: ignore[override]
        """Yield one square, or one dead letter."""
        key, image = element
        try:
            yield key, self._preprocessing.fit(image)
        except Exception as error:  # any fault of one picture costs that picture only
            yield beam.pvalue.TaggedOutput(FAILED, letter(key, error))


class FeatureHandler(ModelHandler[Keyed, tuple[str, Any], Embedder]):
    """A network for RunInference: loads it and runs it on batches."""

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
        """Return for each element its key and vector, or its key and error."""
        found = model.embed_fitted([fitted for _, fitted in batch])
        return [(key, each) for (key, _), each in zip(batch, found, strict=True)]

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """Return the batch size that the pixel limit allows; all squares have one size."""
        return {"min_batch_size": 1, "max_batch_size": self._embedding.batch(self._device)}


class PartResults(beam.DoFn):
    """Separates vectors from errors, which become dead letters."""

    def process(self, element: tuple[str, Any]) -> Iterator[Any]:  # type: ignore[override]
        """Yield one vector or one dead letter."""
        key, found = element
        if isinstance(found, Exception):
            yield beam.pvalue.TaggedOutput(FAILED, letter(key, found))
        else:
            yield key, found


def letter(key: str, error: Exception) -> DeadLetter:
    """Return the dead letter of a picture without features."""
    message = " ".join(str(error).split())[:1000]
    trace = "" if isinstance(error, UnderpaintError) else repr(error)[:1000]
    return DeadLetter(key, "", STAGE, type(error).__name__, message, trace)
