"""An archive as a data set of Hugging Face datasets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Unpack

import datasets
import pyarrow as pa

from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.torch.dataset import LayerDataset
from underpaint.codec.archive.torch.options import SampleOptions, check_options


def load_dataset(
    archive: str | os.PathLike[str], **options: Unpack[SampleOptions]
) -> datasets.IterableDataset:
    """Return the images of an archive: "key", "image" (decoded) and the labels.

    A label of integers with a label of texts beside it, `X` and `X_name`, becomes a ClassLabel with
    these names. One worker reads an archive. `options`: as in `LayerDataset`.
    """
    check_options(load_dataset, options)
    opened = Archive.open(archive)
    fields = {item.name: item.type for item in opened.schema if item.name in opened.label_names}
    features = datasets.Features.from_arrow_schema(pa.schema(fields))
    for name, kind in fields.items():
        if pa.types.is_integer(kind) and fields.get(f"{name}_name") == pa.string():
            features[name] = datasets.ClassLabel(names=class_names(opened, name))
    features |= {"key": datasets.Value("string"), "image": datasets.Image()}
    options = {"output": "pil", **options}
    return datasets.IterableDataset.from_generator(
        samples, datasets.Features(features), gen_kwargs={"archive": archive, "options": options}
    )


def samples(archive: str | os.PathLike[str], options: SampleOptions) -> Iterator[dict[str, Any]]:
    """Yield flat samples in the order of the archive."""
    for sample in LayerDataset(archive, seed=None, rank=0, world_size=1, **options):
        yield {"key": sample["key"], "image": sample["image"], **sample.get("labels", {})}


def class_names(archive: Archive, label: str) -> list[str]:
    """Return the names of the classes 0, 1, … of a label; `class N` where no row has it."""
    found: dict[int, str] = {}
    for group in archive.row_groups([label, f"{label}_name"]):
        pairs = zip(*(column.to_pylist() for column in group.table.columns), strict=True)
        found |= {number: name for number, name in pairs if number is not None and name}
    return [found.get(number, f"class {number}") for number in range(max(found, default=-1) + 1)]
