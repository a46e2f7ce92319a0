"""An archive as a data set of Ray Data."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Unpack

from underpaint.codec.archive.loaders.flat_samples import FlatSamples
from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.torch.options import SampleOptions, check_options
from underpaint.codec.arguments import as_size

if TYPE_CHECKING:
    import ray.data


def read_ray(
    archive: Archive | str | os.PathLike[str],
    *,
    batch_size: int = 64,
    **options: Unpack[SampleOptions],
) -> ray.data.Dataset:
    """Return the images of an archive as a Ray data set, with the columns of `FlatSamples`.

    Tasks read `batch_size` images each, which decode together; neighbours share a row group.
    """
    check_options(read_ray, options)
    batch_size = as_size("batch_size", batch_size)
    import ray.data

    samples = FlatSamples(archive, **options)

    def read(batch: dict[str, Any]) -> dict[str, list[Any]]:
        taken = samples.take(batch["id"].tolist())
        return {name: [one[name] for one in taken] for name in taken[0]} if taken else {}

    return ray.data.range(len(samples)).map_batches(read, batch_size=batch_size)
