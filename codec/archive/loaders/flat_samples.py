"""FlatSamples: samples as flat dicts of NumPy arrays and plain values; a data source of Grain."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Unpack

import torch

from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.torch.map_style import LayerMap
from underpaint.codec.archive.torch.options import SampleOptions, check_options


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
        chosen: SampleOptions = {"output": "image", **options}
        self._map = LayerMap(archive, **chosen)

    def __len__(self) -> int:
        return len(self._map)

    def __repr__(self) -> str:
        return f"FlatSamples({self._map!r})"

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one sample; IndexError outside of the archive."""
        return self.take([index])[0]

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
