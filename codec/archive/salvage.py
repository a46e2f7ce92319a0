"""Reads the intact part of a damaged row group and names every loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from underpaint.codec.archive.layer_columns import by_layer, sizes_in
from underpaint.codec.archive.parquet.ranges import RangeReader
from underpaint.codec.archive.records import FileEntry
from underpaint.codec.archive.tables import joined
from underpaint.codec.bitstream import PictureHeader, unpack_stream
from underpaint.codec.errors import ArchiveDamaged, FileMissing, StreamError


@dataclass(frozen=True)
class Damage:
    """A loss found while reading."""

    path: str
    """The data file, below the archive."""
    row_group: int | None
    """Index of the row group in the file; None if the whole file is lost."""
    key: str | None
    """Key of the image; None if the row group cannot be read, not even its keys."""
    layer: int | None
    """Index (from 0) of the coarsest lost layer; the finer ones are lost too. None: the row is
    lost.
    """
    reason: str
    rows: int = 1
    """Number of rows concerned: those of the row group if it cannot be read."""

    def __str__(self) -> str:
        reason = self.reason.removeprefix(f"{self.path}: ")
        if self.row_group is None:
            return f"{self.path}: {reason}"
        what = f"picture {self.key!r}" if self.key is not None else f"row group {self.row_group}"
        part = f" from layer {self.layer + 1}" if self.layer is not None else ""
        return f"{self.path}: {what}{part}: {reason}"


OnDamage = Callable[[Damage], None]
"""Is told of each loss; the reading goes on without what is lost."""


def salvage(
    reader: RangeReader,
    entry: FileEntry,
    group: int,
    columns: Sequence[str],
    error: Exception,
    report: OnDamage,
) -> tuple[pa.Table, np.ndarray] | None:
    """Return the intact rows of a row group that failed with `error`, and their indices in it.

    Returns None if nothing is left.

    Small columns and source bytes must match their page checksums. A layer column that does not is
    read without them, and then every layer of the group must pass its own CRC (`columns` hold a
    prefix of the layers for one size, or none). A row keeps the layers before its first bad one; a
    row without layer 1 is dropped.
    """

    def lost(key: str | None, layer: int | None, reason: object) -> None:
        rows = 1 if key is not None else entry.row_groups[group]
        lost_group = None if isinstance(reason, FileMissing) else group
        report(Damage(entry.path, lost_group, key, layer, str(reason), rows))

    try:
        known = reader.read(entry, group, ["key", "states"])
        keys, states = (known.column(name).to_pylist() for name in ("key", "states"))
    except ArchiveDamaged:
        lost(None, None, error)
        return None
    layers = by_layer(columns)
    blobs = [name for names in layers for name in names]
    small = [name for name in columns if name not in blobs]
    try:
        table = reader.read(entry, group, small) if small else None
    except ArchiveDamaged as why:
        for key in keys:
            lost(key, None, why)
        return None
    values = {name: _column(reader, entry, group, name) for name in blobs}
    size = len(sizes_in(blobs)) - 1
    alive, good_layers = [], []
    for row, key in enumerate(keys):
        chunks = [joined([values[name][row] for name in names]) for names in layers]
        good, reason = _good_prefix(chunks, size)
        if not reason and good < min(states[row], len(chunks)):
            reason = (
                f"missing: the row has {states[row]} layers"  # a null where a value is required
            )
        if reason:
            lost(key, good or None, reason)
        good_layers.append(good)
        alive.append(bool(good) or not layers)
    if not any(alive):
        return None
    read = {name: table.column(name) for name in small} if table else {}
    for layer, names in enumerate(layers):
        for name in names:
            kept = [v if layer < good_layers[row] else None for row, v in enumerate(values[name])]
            read[name] = pa.chunked_array([pa.array(kept, pa.large_binary())])
    mask = np.array(alive)
    result = pa.table({name: read[name] for name in columns}).filter(pa.array(mask))
    return result, np.flatnonzero(mask)


def _good_prefix(chunks: Sequence[bytes | None], size: int) -> tuple[int, str]:
    """Return how many layers of an image are intact, and why the next is not ("" if all are).

    `size` is the index of the size that the layers were read for.
    """

    def level(picture: PictureHeader) -> int:
        return picture.cuts[size] if size < len(picture.cuts) else 0

    layers = [chunk for chunk in chunks if chunk is not None]
    for layer, chunk in enumerate(chunks):
        if chunk is None:
            rest_is_there = any(later is not None for later in chunks[layer:])
            return layer, "missing" if rest_is_there or not layer else ""
        try:
            found = unpack_stream(layers[: layer + 1], level)
        except StreamError as error:
            return layer, str(error)
        if len(found.layers) <= layer:
            return layer, f"layer {layer + 1}: a part of it is missing"
    return len(chunks), ""


def _column(reader: RangeReader, entry: FileEntry, group: int, name: str) -> list[bytes | None]:
    """Return the values of a layer column, if need be without page checksums; None if
    unreadable.
    """
    for checked in (True, False):
        with suppress(ArchiveDamaged):
            return reader.read(entry, group, [name], checked=checked).column(name).to_pylist()
    return [None] * entry.row_groups[group]
