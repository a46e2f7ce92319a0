"""An archive as a data set of Hugging Face datasets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Unpack

import datasets
import pyarrow as pa

from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.torch.dataset import LayerDataset
from underpaint.codec.archive.torch.map_style import LayerMap
from underpaint.codec.archive.torch.options import SampleOptions, check_options, complete
from underpaint.codec.errors import UsageError


def load_dataset(
    archive: Archive | str | os.PathLike[str], **options: Unpack[SampleOptions]
) -> datasets.IterableDataset:
    """Return the images of an archive: "key", "image" (decoded), the labels and `columns`.

    A label of integers with a label of texts beside it, `X` and `X_name`, becomes a ClassLabel with
    these names. One worker reads an archive. `options`: as in `LayerDataset`; `label` is a name,
    whose value comes as "label". Raises UsageError for options that give no pictures, or values of
    an unknown type.
    """
    check_options(load_dataset, options)
    whole = complete({"output": "pil", **options})
    if whole["output"] != "pil":
        raise UsageError(f"output {whole['output']!r}: load_dataset gives pictures; leave it out")
    if whole["features"]:
        raise UsageError("features: load_dataset gives no embeddings; use LayerDataset")
    opened = archive if isinstance(archive, Archive) else Archive.open(archive)
    opened.condition(whole["where"])
    every: SampleOptions = {**whole, "where": None, "keys": None, "limit": None}
    LayerMap(opened, **every)  # options that do not fit the archive raise here
    features = features_of(opened, whole)
    return datasets.IterableDataset.from_generator(
        samples, features, gen_kwargs={"archive": archive, "options": whole}
    )


def features_of(archive: Archive, options: SampleOptions) -> datasets.Features:
    """Return the types of the columns of samples with complete options."""
    label, labels = options["label"], options["labels"]
    if callable(label):
        raise UsageError("label: load_dataset wants a name, for the types of columns")
    names = archive.label_names if labels is True else labels or ()
    columns = {name: name for name in names} if label is None else {"label": label}
    columns |= {name: name for name in options["columns"]}
    fields = {item.name: item.type for item in archive.schema}
    found = {column: fields[name] for column, name in columns.items() if name in fields}
    features = datasets.Features.from_arrow_schema(pa.schema(found))
    for column, kind in found.items():
        name = columns[column]
        if pa.types.is_integer(kind) and fields.get(f"{name}_name") == pa.string():
            features[column] = datasets.ClassLabel(names=class_names(archive, name))
    features |= {"key": datasets.Value("string"), "image": datasets.Image()}
    return datasets.Features(features)


def samples(
    archive: Archive | str | os.PathLike[str], options: SampleOptions
) -> Iterator[dict[str, Any]]:
    """Yield flat samples in the order of the archive."""
    for sample in LayerDataset(archive, seed=None, rank=0, world_size=1, **options):
        flat = {**sample.get("labels", {}), **sample.get("columns", {})}
        if "label" in sample:
            flat["label"] = sample["label"]
        yield {**flat, "key": sample["key"], "image": sample["image"]}


def class_names(archive: Archive, label: str) -> list[str]:
    """Return the names of the classes 0, 1, … of a label; `class N` where no row has it."""
    found: dict[int, str] = {}
    for group in archive.row_groups([label, f"{label}_name"]):
        pairs = zip(*(column.to_pylist() for column in group.table.columns), strict=True)
        found |= {number: name for number, name in pairs if number is not None and name}
    return [found.get(number, f"class {number}") for number in range(max(found, default=-1) + 1)]
