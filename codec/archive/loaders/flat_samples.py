"""FlatSamples: samples as flat dicts of NumPy arrays and plain values; a data source of Grain."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Unpack

import pyarrow as pa
import torch

from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.torch.map_style import LayerMap
from underpaint.codec.archive.torch.options import SampleOptions, check_options, complete
from underpaint.codec.errors import UsageError

TOGETHER = 64
"""Samples that are read and decoded at a time where many are wanted."""


class FlatSamples:
    """Images of an archive by index, as Grain's `RandomAccessDataSource` wants them.

        grain.MapDataset.source(FlatSamples("gs://bucket/archive", layers=2)).shuffle(seed=1)

    A sample is a dict with "key", the labels under their own names and, by default, "image" as
    uint8 [H, W, 3]; or the latents as in `LayerMap`. `options` are those of `LayerMap`. It can be
    pickled. Its text is the same for the same archive and options, as Grain's checkpoints need.
    """

    def __init__(
        self, archive: Archive | str | os.PathLike[str], **options: Unpack[SampleOptions]
    ) -> None:
        check_options(FlatSamples, options)
        self._options = complete({"output": "image", **options})
        self._map = LayerMap(archive, **self._options)

    def __len__(self) -> int:
        return len(self._map)

    def __repr__(self) -> str:
        return f"FlatSamples({self._map!r})"

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one sample; IndexError outside of the archive."""
        return self.take([index])[0]

    @property
    def archive(self) -> Archive:
        """The archive."""
        return self._map.archive

    @cached_property
    def columns(self) -> dict[str, str]:
        """Columns of the archive in the samples: name there -> column of the archive.

        Raises UsageError if `label` is a function, whose results have no known type.
        """
        label, labels = self._options["label"], self._options["labels"]
        if callable(label):
            raise UsageError("label: want a name, for the types of columns, not a function")
        names = self.archive.label_names if labels is True else labels or ()
        named = dict.fromkeys(names) if label is None else {"label": label}
        others = dict.fromkeys((*self._options["columns"], "key"))
        return {name: column or name for name, column in {**named, **others}.items()}

    @property
    def schema(self) -> pa.Schema:
        """Arrow types of these columns, without those of an empty archive; raises as `columns`."""
        known = self.archive.schema
        kinds = {name: known.field(of).type for name, of in self.columns.items() if len(known)}
        return pa.schema(list(kinds.items()))

    def spans(self, most: int = 1024) -> list[range]:
        """Return the indices of all samples, cut into at most so many runs of equal lengths."""
        count = len(self)
        length = max(TOGETHER, -(-count // most))
        return [range(at, min(at + length, count)) for at in range(0, count, length)]

    def taken(self, spans: Iterable[range]) -> Iterator[dict[str, Any]]:
        """Yield the samples of some spans in order, decoding TOGETHER of them at a time."""
        for span in spans:
            for at in range(span.start, span.stop, TOGETHER):
                yield from self.take(range(at, min(at + TOGETHER, span.stop)))

    def take(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return samples of several indices, decoded together; damaged ones are left out."""
        return [_flat(one) for one in self._map.__getitems__(indices) if one is not None]


def _flat(sample: dict[str, Any]) -> dict[str, Any]:
    nested = {**sample.pop("labels", {}), **sample.pop("columns", {})}
    for name, value in sample.items():
        if name == "image" and isinstance(value, torch.Tensor):
            value = value.permute(1, 2, 0)
        nested[name] = value.cpu().numpy() if isinstance(value, torch.Tensor) else value
    return nested
