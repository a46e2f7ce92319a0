"""Manifests as a foreign writer might write them: everything about a unit can be changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from underpaint.codec.archive.manifest import read_manifest
from underpaint.codec.archive.record_json import Pointer, encode_pointer
from underpaint.codec.archive.unit_columns import SCHEMA, digest
from underpaint.codec.archive.unit_file import DIGESTS, file_name
from underpaint.codec.storage.files import Storage

Unit = dict[str, Any]


def sealed(units: Sequence[Unit], pointer: Pointer) -> tuple[bytes, str, bytes]:
    """Return `manifest.json`, and name and bytes of the file of some units, given by column.

    Checksums and numbers of units and rows are those of the given values.
    """
    table = pa.Table.from_pylist(list(units), schema=SCHEMA)
    lines = [" ".join(SCHEMA.names), *([" ".join(map(digest, table.columns))] if units else [])]
    text = "".join(f"{line}\n" for line in lines)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, SCHEMA) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({DIGESTS: text})
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    rows = sum(sum(unit["data_row_groups"] or ()) for unit in units)
    pointer = Pointer(len(units), rows, sha256, pointer.shared, pointer.label_sets)
    return encode_pointer(pointer), file_name(sha256), sink.getvalue().to_pybytes()


def reseal(root: Path, change: Callable[[list[Unit]], object]) -> None:
    """Change the units of an archive's manifest, whose checksums then hold again."""
    units = read_manifest(Storage(root)).units
    rows = [row for table in units.tables() for row in table.to_pylist()]
    change(rows)
    pointer = Pointer(0, 0, "", units.shared, units.label_sets)
    manifest, name, columns = sealed(rows, pointer)
    (root / name).write_bytes(columns)
    (root / "manifest.json").write_bytes(manifest)
