"""Arrow tables of archive columns, from rows and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from underpaint.codec.archive.layer_columns import by_layer
from underpaint.codec.archive.rows import Row
from underpaint.codec.archive.schema import EMBEDDING, FIXED_NAMES, SOURCE, is_reserved
from underpaint.codec.errors import ArchiveDamaged


def table(schema: pa.Schema, rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Return the Arrow table of rows given as tuples in the order of `schema`."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [
        pa.array(list(values), type=column.type, from_pandas=False)
        for values, column in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def rows_of(table: pa.Table) -> Iterator[Row]:
    """Yield the rows of a table of archive columns."""
    names = table.column_names
    layers = by_layer(names)
    fixed = [name for name in names if name in FIXED_NAMES and name not in ("states", "weights_id")]
    labels = [name for name in names if not is_reserved(name)]
    columns = {name: _values(table.column(name)) for name in names}
    for index in range(table.num_rows):
        values: dict[str, Any] = {name: columns[name][index] for name in fixed}
        if "notes" in values:
            values["notes"] = tuple(values["notes"])
        if "source_sha256" in values:
            values["source_sha256"] = values["source_sha256"] or b""
        if EMBEDDING in columns and columns[EMBEDDING][index] is not None:
            values["embedding"] = np.array(columns[EMBEDDING][index], dtype=np.float16)
        if SOURCE in columns:
            values["source"] = columns[SOURCE][index]
        chunks = ([columns[name][index] for name in names_of_layer] for names_of_layer in layers)
        blobs = (joined(chunk) for chunk in chunks)
        yield Row(
            **values,
            layers=tuple(blob for blob in blobs if blob is not None),
            labels={name: columns[name][index] for name in labels},
        )


def with_blobs(table: pa.Table, blobs: Mapping[str, bytes | None]) -> pa.Table:
    """Return a table of one row with blob columns appended."""
    for name, value in blobs.items():
        table = table.append_column(name, pa.array([value], pa.large_binary()))
    return table


def joined(parts: Sequence[bytes | None]) -> bytes | None:
    """Return a layer from its columns, smallest size first; None if all are null."""
    there = [part for part in parts if part is not None]
    return b"".join(there) if len(there) > 1 else there[0] if there else None


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Return the values of a column; nanoseconds, which datetime cannot represent, as numpy
    values.
    """
    kind = column.type
    if (pa.types.is_timestamp(kind) or pa.types.is_duration(kind)) and kind.unit == "ns":
        return [None if np.isnat(value) else value for value in column.to_numpy()]
    return column.to_pylist()


def vectors_of(column: pa.ChunkedArray) -> np.ndarray:
    """Return the embeddings of a column, float16 [rows, size]; ArchiveDamaged if it holds none."""
    if not pa.types.is_fixed_size_list(column.type) or column.null_count:
        raise ArchiveDamaged(f"embeddings of type {column.type}, or missing")
    size = column.type.list_size
    parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    values = np.concatenate(parts) if parts else np.zeros(0, np.float16)
    return values.astype(np.float16, copy=False).reshape(-1, size)
