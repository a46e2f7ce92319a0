"""LayerMap: an archive as a PyTorch data set by index."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
from torch.utils.data import Dataset

from underpaint.codec.archive.parquet.ranges import Traffic
from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.torch.options import SampleOptions, check_options, complete
from underpaint.codec.archive.torch.samples import Group, Sample, SampleMaker, Wanted
from underpaint.codec.arguments import as_picture_number, as_size

CACHE_BYTES = 256 << 20
"""Default size of the cache of row groups in bytes."""


class LayerMap(Dataset[Sample | None]):
    """Images of an archive by index, in the order of the archive; samples as in `LayerDataset`.

    With `where`, `keys` or `limit`, indices count the chosen images only. A few images of a row
    group are fetched by their byte ranges; many are read with the whole group, which then stays in
    a cache of `cache_bytes` (least recently used groups go first). A sampler that jumps at random
    over a large archive fetches several times the bytes it uses; to train in shuffled order use
    `LayerDataset`. "position" is the index. A damaged image raises ArchiveDamaged or LayerDamaged;
    with `on_damage` it is reported and its sample is None.

    A DataLoader forms batches with `collate_fn=collate`; without it, it ends in "stack expects each
    tensor to be equal size" where pictures have several sizes.

    `options` are described in `SampleOptions`.
    """

    def __init__(
        self,
        archive: Archive | str | os.PathLike[str],
        *,
        cache_bytes: int = CACHE_BYTES,
        **options: Unpack[SampleOptions],
    ) -> None:
        check_options(LayerMap, options)
        whole = complete(options)
        self._cache_bytes = as_size("cache_bytes", cache_bytes, least=0)
        self.archive = archive if isinstance(archive, Archive) else Archive.open(archive)
        self._maker = SampleMaker(self.archive, whole)
        self._ends = np.cumsum(self._maker.rows)
        self._cache: OrderedDict[int, Group] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": OrderedDict()}

    def __len__(self) -> int:
        """Return the number of chosen images."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def __repr__(self) -> str:
        return f"LayerMap({self.archive.storage.root!r}, {self._maker})"

    @property
    def traffic(self) -> Traffic:
        """Bytes fetched and wanted by this process so far."""
        return self.archive.traffic

    def __getitem__(self, index: int) -> Sample | None:
        """Return one sample; IndexError outside of the archive, TypeError for no number."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Sample | None]:
        """Return samples of several indices, decoded together; each row group is read once."""
        rows = len(self)
        asked = [as_picture_number(index) for index in indices]
        for index in asked:
            if not -rows <= index < rows:
                raise IndexError(f"picture {index} of {rows}")
        places = [index % rows for index in asked]
        numbers = np.searchsorted(self._ends, places, side="right").tolist()
        first = self._ends - self._maker.rows
        rows_of: dict[int, list[int]] = {}
        for place, number in zip(places, numbers, strict=True):
            rows_of.setdefault(number, []).append(place - int(first[number]))
        held = {number: self._group(number, rows) for number, rows in sorted(rows_of.items())}
        wanted = [
            Wanted(at, held[number], self._maker.stored_row(number, place - int(first[number])))
            for at, (place, number) in enumerate(zip(places, numbers, strict=True))
        ]
        samples: list[Sample | None] = [None] * len(places)
        for sample in self._maker.make(wanted):
            at = sample["position"]
            sample["position"] = places[at]
            samples[at] = sample
        return samples

    def _group(self, number: int, rows: Sequence[int]) -> Group:
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        group = self._maker.load_rows(number, sorted(set(rows)))
        if group.whole:
            self._cache[number] = group
            while len(self._cache) > 1 and self._cached_bytes() > self._cache_bytes:
                self._cache.popitem(last=False)
        return group

    def _cached_bytes(self) -> int:
        return int(self._maker.sizes[list(self._cache)].sum())
