"""The Parquet columns of data files and of files of dead letters.

    key │ source_uri │ … │ labels… │ embedding │ blob_bytes │ layer_0_256 │ … │ layer_n │ source
    └──────── small columns: zstd, dictionary, statistics ───────┘ └──── blobs: stored raw ────┘

The columns of the layers are adjacent, smallest size first (see `layer_columns`), so the coarse
layers of a small size are one range of a row group. Columns `layer_0…` hold layer 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from underpaint.codec import limits
from underpaint.codec.archive.layer_columns import FULL, columns_for, is_layer, split_layers
from underpaint.codec.archive.rows import Row, check_key, printable
from underpaint.codec.errors import ArchiveDamaged, RowInvalid, UsageError
from underpaint.codec.storage.redaction import redacted

FIXED_FIELDS = (
    pa.field("key", pa.string(), nullable=False),
    pa.field("source_uri", pa.string(), nullable=False),
    pa.field("source_sha256", pa.binary(32)),
    pa.field("source_bytes", pa.int64(), nullable=False),
    pa.field("source_version", pa.string()),
    pa.field("source_format", pa.string(), nullable=False),
    pa.field("notes", pa.list_(pa.string()), nullable=False),
    pa.field("metadata", pa.string()),
    pa.field("width", pa.int32(), nullable=False),
    pa.field("height", pa.int32(), nullable=False),
    pa.field("states", pa.int32(), nullable=False),
    pa.field("weights_id", pa.string(), nullable=False),
)
FIXED_NAMES = tuple(fixed.name for fixed in FIXED_FIELDS)
EMBEDDING, SOURCE = "embedding", "source"

BLOB_BYTES = "blob_bytes"
"""Column of the lengths of a row's blobs, in the order of their columns; NO_BLOB for a null."""

NO_BLOB = -1

DEAD_LETTER_SCHEMA = pa.schema(
    [
        pa.field(name, pa.string(), nullable=False)
        for name in ("key", "source_uri", "stage", "error", "message", "trace")
    ]
)

_LENGTHS = f"{BLOB_BYTES}.list.element"
"""The Parquet leaf of the lengths."""

_NO_STATISTICS = ("source_uri", "metadata", "trace")
_NO_DICTIONARY = ("key", "source_sha256")
_CONTROL = "[\\x00-\\x1f\\x7f]"

PAGE_BYTES = 128 << 10
"""A blob page is closed once it holds this many bytes, so that one row can be fetched alone."""


def is_blob(name: str) -> bool:
    """Return whether a column holds blobs: a layer or the source bytes."""
    return name == SOURCE or is_layer(name)


def is_reserved(name: str) -> bool:
    """Return whether a name is not allowed for a label."""
    return name in ("", *FIXED_NAMES, EMBEDDING, BLOB_BYTES) or is_blob(name)


def label_fields(schema: pa.Schema) -> pa.Schema:
    """Return the columns of a data file that are labels."""
    return pa.schema([item for item in schema if not is_reserved(item.name)])


@dataclass(frozen=True)
class Columns:
    """The columns of an archive; equal in all its files."""

    layer_names: tuple[str, ...]
    labels: pa.Schema = field(default_factory=lambda: pa.schema([]))
    embedding_size: int | None = None
    keeps_source: bool = False
    sizes: tuple[int, ...] = (FULL,)
    """Short sides in pixels that layers are cut for, and FULL."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.layer_names) <= limits.MAX_LAYERS:
            raise UsageError(
                f"an archive has 1 to {limits.MAX_LAYERS} layers, not {len(self.layer_names)}"
            )
        if self.embedding_size is not None and self.embedding_size < 1:
            raise UsageError(f"an embedding has at least one value, not {self.embedding_size}")
        taken = [name for name in self.labels.names if is_reserved(name)]
        if taken:
            reason = "the archive has such a column" if taken[0] else "it needs a name"
            raise UsageError(f"a label cannot be called {taken[0]!r}: {reason}")
        if len(set(self.labels.names)) != len(self.labels.names):
            raise UsageError("two labels have the same name")

    @property
    def layer_columns(self) -> list[str]:
        """Names of the columns that hold layers, in order."""
        return columns_for(len(self.layer_names), self.sizes)

    def schema(self) -> pa.Schema:
        """Return the Arrow schema of a data file, in order, without the lengths of its blobs."""
        fields = [*FIXED_FIELDS]
        fields += [label.with_nullable(True).remove_metadata() for label in self.labels]
        if self.embedding_size is not None:
            item = pa.field("element", pa.float16(), nullable=False)
            embedding = pa.list_(item, self.embedding_size)
            fields.append(pa.field(EMBEDDING, embedding, nullable=False))
        fields += [
            pa.field(name, pa.large_binary(), nullable=place > 0)
            for place, name in enumerate(self.layer_columns)
        ]
        if self.keeps_source:
            fields.append(pa.field(SOURCE, pa.large_binary()))
        return pa.schema(fields)

    def values(self, row: Row, weights_id: str) -> tuple[Any, ...]:
        """Return one value for each column of `schema()`; RowInvalid if a rule is broken."""
        check_key(row.key)
        if not 1 <= len(row.layers) <= len(self.layer_names):
            raise RowInvalid(
                f"{row.key}: {len(row.layers)} layers for an archive of {len(self.layer_names)}"
            )
        if any(not layer or len(layer) > limits.MAX_LAYER_BYTES for layer in row.layers):
            raise RowInvalid(f"{row.key}: a layer has 1 to {limits.MAX_LAYER_BYTES} bytes")
        if not (1 <= row.width <= limits.MAX_SIDE and 1 <= row.height <= limits.MAX_SIDE):
            raise RowInvalid(f"{row.key}: {row.width} x {row.height} pixels are outside the limits")
        if row.source_sha256 and len(row.source_sha256) != 32:
            raise RowInvalid(f"{row.key}: source_sha256 has {len(row.source_sha256)} bytes, not 32")
        if row.metadata is not None and len(row.metadata.encode()) > limits.MAX_METADATA_BYTES:
            raise RowInvalid(f"{row.key}: metadata of over {limits.MAX_METADATA_BYTES} bytes")
        if row.source_bytes < 0:
            raise RowInvalid(f"{row.key}: source_bytes is negative")
        unknown = set(row.labels) - set(self.labels.names)
        if unknown:
            raise RowInvalid(f"{row.key}: no label column {min(unknown)!r} in this archive")
        if (row.source is not None) > self.keeps_source:
            raise RowInvalid(f"{row.key}: this archive keeps no source bytes")
        values: list[Any] = [
            row.key,
            printable(redacted(row.source_uri)),
            bytes(row.source_sha256) or None,
            row.source_bytes,
            None if row.source_version is None else printable(row.source_version),
            row.source_format,
            [printable(note) for note in row.notes],
            row.metadata,
            row.width,
            row.height,
            len(row.layers),
            weights_id,
        ]
        values += [_checked_label(row, label) for label in self.labels]
        if self.embedding_size is not None:
            values.append(_checked_embedding(row, self.embedding_size))
        elif row.embedding is not None:
            raise RowInvalid(f"{row.key}: this archive has no embeddings")
        sides, count = (row.height, row.width), len(self.layer_names)
        try:
            values += split_layers(row.layers, sides, count, self.sizes)
        except RowInvalid as error:
            raise RowInvalid(f"{row.key}: {error}") from error
        if self.keeps_source:
            values.append(row.source)
        return tuple(values)


def _checked_label(row: Row, label: pa.Field) -> Any:
    value = row.labels.get(label.name)
    try:
        pa.array([value], type=label.type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise RowInvalid(f"{row.key}: label {label.name!r} is no {label.type}: {reason}") from error
    return value


def _checked_embedding(row: Row, size: int) -> np.ndarray:
    if row.embedding is None:
        raise RowInvalid(f"{row.key}: every row of this archive has an embedding")
    embedding = np.asarray(row.embedding)
    if embedding.shape != (size,):
        raise RowInvalid(f"{row.key}: embedding of shape {embedding.shape}, not ({size},)")
    return embedding.astype(np.float16)


def with_blob_bytes(rows: pa.Table) -> pa.Table:
    """Return the table of a row group with the lengths of its blobs, before its first blob."""
    blobs = [name for name in rows.column_names if is_blob(name)]
    lengths = [pc.fill_null(pc.binary_length(rows.column(name)), NO_BLOB) for name in blobs]
    values = np.stack([one.to_numpy() for one in lengths], axis=1).astype(np.int32)
    column = pa.FixedSizeListArray.from_arrays(values.ravel(), type=_blob_bytes_type(len(blobs)))
    field = pa.field(BLOB_BYTES, column.type, nullable=False)
    return rows.add_column(rows.schema.get_field_index(blobs[0]), field, column)


def stored_schema(schema: pa.Schema) -> pa.Schema:
    """Return the Arrow schema of a data file with the column that `with_blob_bytes` adds."""
    return with_blob_bytes(schema.empty_table()).schema


def blob_lengths(column: pa.ChunkedArray, blobs: int) -> np.ndarray:
    """Return the lengths of the blobs of some rows, int32 [rows, blobs]; NO_BLOB for a null.

    Raises ArchiveDamaged if the column does not hold them.
    """
    if column.type != _blob_bytes_type(blobs) or column.null_count:
        raise ArchiveDamaged(f"column {BLOB_BYTES!r} is {column.type}, or has nulls")
    values = column.combine_chunks().flatten()
    lengths: np.ndarray = values.to_numpy().reshape(-1, blobs)
    return lengths


def _blob_bytes_type(blobs: int) -> pa.DataType:
    return pa.list_(pa.field("element", pa.int32(), nullable=False), blobs)


def breach(table: pa.Table, *, failed: bool, required: str = "layer_0") -> str:
    """Return how a table breaks the rules of its columns; "" if it does not.

    `required` is the first of the file's columns of layers, which has no nulls. Labels may be of
    any type. Types and nulls of all other columns of a data file, or of a file of dead letters
    (`failed`), and the keys must be what a writer may write.
    """
    known = {item.name: item for item in (DEAD_LETTER_SCHEMA if failed else FIXED_FIELDS)}
    for name in table.column_names:
        column, item = table.column(name), known.get(name)
        if not failed and is_blob(name):
            item = pa.field(name, pa.large_binary(), nullable=name != required)
        if item is not None and column.type != item.type:
            return f"column {name!r} is {column.type}, not {item.type}"
        if item is not None and not item.nullable and column.null_count:
            return f"column {name!r} has nulls"
    if (
        "key" in table.column_names
        and pc.any(pc.match_substring_regex(table.column("key"), _CONTROL)).as_py()
    ):
        return "a key holds a control character"
    return ""


def parquet_settings(schema: pa.Schema) -> dict[str, Any]:
    """Return the arguments of `pq.ParquetWriter` for a data or dead-letter file.

    Blob columns: uncompressed, PLAIN, no statistics, pages of about PAGE_BYTES. Small columns:
    zstd, dictionary, statistics for plain types; for the lengths of blobs zstd and
    BYTE_STREAM_SPLIT. All pages have a CRC-32, and the file has a page index.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    leaves = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    paths = [leaves.column(index).path for index in range(len(leaves.names))]
    small = [path for path in paths if not is_blob(path)]
    scalar = [path for path in small if "." not in path]
    encodings = {path: "PLAIN" for path in paths if is_blob(path)}
    lengths = [path for path in small if path == _LENGTHS]
    encodings |= dict.fromkeys(lengths, "BYTE_STREAM_SPLIT")
    return {
        "version": "2.6",
        "data_page_version": "1.0",
        "compression": {path: "none" if is_blob(path) else "zstd" for path in paths},
        "use_dictionary": [path for path in small if path not in (*_NO_DICTIONARY, *lengths)],
        "column_encoding": encodings or None,
        "write_statistics": [
            path for path in scalar if path not in ("source_uri", "metadata", "trace")
        ],
        "write_page_checksum": True,
        "write_page_index": True,
        "data_page_size": PAGE_BYTES,
        "write_batch_size": 1,
        "store_schema": True,
    }
