"""What can still be read of a damaged row group, with every loss named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from underpaint.codec.archive.parquet.ranges import RangeReader
from underpaint.codec.archive.records import FileEntry
from underpaint.codec.archive.schema import SOURCE, is_blob
from underpaint.codec.bitstream import unpack_layer
from underpaint.codec.errors import ArchiveDamaged, StreamError


@dataclass(frozen=True)
class Damage:
    """A loss found while reading."""

    path: str
    """The data file, below the archive."""
    row_group: int | None
    """Its number in the file; None where the file as a whole is meant."""
    key: str | None
    """Of the image; None where its whole row group cannot be read, not even its keys."""
    layer: int | None
    """The coarsest layer lost (the finer ones go with it); None where all of the row is."""
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
    """Rows of a row group that failed to read with `error`, and their numbers in the group.

    None where nothing is left.

    Small columns and source bytes must hold their page checksums. A layer column that does not is
    read without them, and all layers of the group must then pass the CRC of the layer itself
    (`columns` hold a prefix of the layers, or none): a row keeps the layers before its first bad
    one and is dropped where that is layer 0.
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
            reason = f"missing: the row has {states[row]} layers"  # a null where none was written
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
    """How many layers of an image hold their checks, and why the next does not ("" if it does)."""
    check = 0
    for layer, blob in enumerate(blobs):
        if blob is None:
            rest_is_there = any(later is not None for later in blobs[layer:])
            return layer, "missing" if rest_is_there or not layer else ""
        try:
            check = unpack_layer(blob, layer, check).check
        except StreamError as error:
            return layer, str(error)
    return len(blobs), ""


def _layer(reader: RangeReader, entry: FileEntry, group: int, name: str) -> list[bytes | None]:
    """Values of a layer column, without page checksums if need be; None where unreadable."""
    for checked in (True, False):
        with suppress(ArchiveDamaged):
            return reader.read(entry, group, [name], checked=checked).column(name).to_pylist()
    return [None] * entry.row_groups[group]
