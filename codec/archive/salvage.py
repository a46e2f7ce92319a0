"""Reads the intact part of a damaged row group and names every loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from underpaint.codec.archive.parquet.ranges import RangeReader
from underpaint.codec.archive.records import FileEntry
from underpaint.codec.archive.schema import SOURCE, is_blob
from underpaint.codec.bitstream import unpack_stream
from underpaint.codec.errors import ArchiveDamaged, StreamError


@dataclass(frozen=True)
class Damage:
    """A loss found while reading."""

    path: str
    """The data file, below the archive."""
    row_group: int | None
    """Index of the row group in the file; None if the damage concerns the whole file."""
    key: str | None
    """Key of the image; None if the row group cannot be read, not even its keys."""
    layer: int | None
    """Index (from 0) of the coarsest lost layer; the finer ones are lost too. None: the row is
    lost.
    """
    reason: str

    def __str__(self) -> str:
        if self.row_group is None:
            return f"{self.path}: {self.reason}"
        what = f"image {self.key!r}" if self.key is not None else f"row group {self.row_group}"
        part = f" from layer {self.layer}" if self.layer is not None else ""
        return f"{self.path}: {what}{part}: {self.reason}"


def salvage(
    reader: RangeReader,
    entry: FileEntry,
    group: int,
    columns: Sequence[str],
    error: Exception,
    report: Callable[[Damage], None],
) -> tuple[pa.Table, np.ndarray] | None:
    """Return the intact rows of a row group that failed with `error`, and their indices in it.

    Returns None if nothing is left.

    Small columns and source bytes must match their page checksums. A layer column that does not is
    read without them, and then every layer of the group must pass its own CRC (`columns` hold a
    prefix of the layers, or none). A row keeps the layers before its first bad one; a row without
    layer 1 is dropped.
    """

    def lost(key: str | None, layer: int | None, reason: object) -> None:
        report(Damage(entry.path, group, key, layer, str(reason)))

    try:
        known = reader.read(entry, group, ["key", "states"])
        keys, states = (known.column(name).to_pylist() for name in ("key", "states"))
    except ArchiveDamaged:
        lost(None, None, error)
        return None
    layers = sorted((n for n in columns if is_blob(n) and n != SOURCE), key=lambda n: int(n[6:]))
    small = [name for name in columns if name not in layers]
    try:
        table = reader.read(entry, group, small) if small else None
    except ArchiveDamaged as why:
        for key in keys:
            lost(key, None, why)
        return None
    values = {name: _layer(reader, entry, group, name) for name in layers}
    alive, kept = [], []
    for row, key in enumerate(keys):
        blobs = [values[name][row] for name in layers]
        good, reason = _good_prefix(blobs)
        if not reason and good < min(states[row], len(blobs)):
            reason = (
                f"missing: the row has {states[row]} layers"  # a null where a value is required
            )
        if reason:
            lost(key, good or None, reason)
        kept.append(blobs[:good] + [None] * (len(blobs) - good))
        alive.append(bool(good) or not layers)
    if not any(alive):
        return None
    read = {name: table.column(name) for name in small} if table else {}
    for place, name in enumerate(layers):
        read[name] = pa.chunked_array([pa.array([row[place] for row in kept], pa.large_binary())])
    mask = np.array(alive)
    result = pa.table({name: read[name] for name in columns}).filter(pa.array(mask))
    return result, np.flatnonzero(mask)


def _good_prefix(blobs: Sequence[bytes | None]) -> tuple[int, str]:
    """Return how many layers of an image are intact, and why the next is not ("" if all are)."""
    layers = [blob for blob in blobs if blob is not None]
    for layer, blob in enumerate(blobs):
        if blob is None:
            rest_is_there = any(later is not None for later in blobs[layer:])
            return layer, "missing" if rest_is_there or not layer else ""
        try:
            unpack_stream(layers[: layer + 1])
        except StreamError as error:
            return layer, str(error)
    return len(blobs), ""


def _layer(reader: RangeReader, entry: FileEntry, group: int, name: str) -> list[bytes | None]:
    """Return the values of a layer column, if need be without page checksums; None if
    unreadable.
    """
    for checked in (True, False):
        with suppress(ArchiveDamaged):
            return reader.read(entry, group, [name], checked=checked).column(name).to_pylist()
    return [None] * entry.row_groups[group]
