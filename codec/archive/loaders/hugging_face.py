"""An archive as a data set of Hugging Face datasets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Unpack

import datasets

from underpaint.codec.archive.class_numbers import class_names
from underpaint.codec.archive.loaders.flat_samples import FlatSamples
from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.torch.options import SampleOptions, check_options, complete
from underpaint.codec.errors import UsageError


def load_dataset(
    archive: Archive | str | os.PathLike[str], **options: Unpack[SampleOptions]
) -> datasets.IterableDataset:
    """Return the images of an archive: "key", "image" (decoded), the labels and `columns`.

    A label of integers with a label of texts beside it, `X` and `X_name`, becomes a ClassLabel with
    these names if they have `class_names`. The shards of the data set are parts of the archive, for
    workers and ranks. `options`: as in `LayerMap`; `label` is a name, whose value comes as "label".
    Raises UsageError for options that give no pictures, or values of an unknown type.
    """
    check_options(load_dataset, options)
    whole = complete({"output": "pil", **options})
    if whole["output"] != "pil":
        raise UsageError(f"output {whole['output']!r}: load_dataset gives pictures; leave it out")
    if whole["features"]:
        raise UsageError("features: load_dataset gives no embeddings; use LayerDataset")
    samples = FlatSamples(archive, **whole)
    features = datasets.Features.from_arrow_schema(samples.schema)
    for column, name in samples.columns.items():
        if names := class_names(samples.archive, name):
            features[column] = datasets.ClassLabel(names=names)
    features["image"] = datasets.Image()
    return datasets.IterableDataset.from_generator(
        _rows, features, gen_kwargs={"samples": samples, "spans": samples.spans()}
    )


def _rows(samples: FlatSamples, spans: Sequence[range]) -> Iterator[dict[str, Any]]:
    for sample in samples.taken(spans):
        yield {name: sample[name] for name in (*samples.columns, "image")}
