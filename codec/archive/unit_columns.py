"""The units of an archive as Arrow columns: one row a unit, in the order of their names.

The properties that all units share, and the combinations of label columns, are not repeated in
each row: see `Shared` and `Units`. The columns, their limits and the bytes that are hashed for them
are specified in docs/archive.md (rules A18, A22 and A23).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from underpaint.codec import limits
from underpaint.codec.archive.label_columns import Named
from underpaint.codec.archive.records import (
    DATA,
    FAILED,
    UNIT_PATTERN,
    Commit,
    FileEntry,
    Shared,
    file_path,
)

_COUNTS = pa.list_(pa.int64())
_FILE = {
    "bytes": pa.int64(),
    "sha256": pa.binary(32),
    "footer_bytes": pa.int64(),
    "footer_sha256": pa.binary(32),
    "row_groups": _COUNTS,
}

SCHEMA = pa.schema(
    [
        ("unit", pa.string()),
        ("content", pa.binary(32)),
        *((f"{folder}_{name}", kind) for folder in (DATA, FAILED) for name, kind in _FILE.items()),
        ("pixels", pa.int64()),
        ("source_bytes", pa.int64()),
        ("layer_bytes", _COUNTS),
        ("size_bytes", _COUNTS),
        ("failures", pa.string()),
        ("skipped", pa.string()),
        ("roots", pa.string()),
        ("first_key", pa.string()),
        ("last_key", pa.string()),
        ("retries", pa.string()),
        ("replaces", pa.list_(pa.string())),
        ("generation", pa.int64()),
        ("supersedes", pa.bool_()),
        ("labels", pa.int64()),
    ]
)
"""Columns of the units; nulls are files, keys, units and maps that are not there."""

NULLABLE = frozenset(
    name
    for name in SCHEMA.names
    if name.startswith((f"{DATA}_", f"{FAILED}_"))
    or name in ("failures", "skipped", "roots", "first_key", "last_key", "retries", "replaces")
)

_ROWLESS: Mapping[str, Any] = {
    **{f"{DATA}_{name}": None for name in _FILE},
    **{"pixels": 0, "source_bytes": 0, "first_key": None, "last_key": None},
}
"""Values of a unit whose rows are replaced; its bytes of layers are zeros."""


def table_of(commits: Iterable[Commit], label_sets: dict[Named, int]) -> pa.Table:
    """Return the columns of some commits, in their order.

    `label_sets` numbers the combinations of label columns; new ones are added to it.
    """
    rows = [_values(commit, label_sets) for commit in commits]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def commits_of(table: pa.Table, shared: Shared, label_sets: Sequence[Named]) -> Iterator[Commit]:
    """Yield the commits of a table with all columns; ValueError for values that cannot be."""
    for start in range(0, table.num_rows, 256):
        for row in table.slice(start, 256).to_pylist():
            yield _commit(row, shared, label_sets)


def entries_of(table: pa.Table, folder: str = DATA) -> Iterator[FileEntry | None]:
    """Yield the file of each unit of a table with `file_columns(folder)`; ValueError as above."""
    for start in range(0, table.num_rows, 256):
        for row in table.slice(start, 256).to_pylist():
            yield _entry(row, folder)


def file_columns(folder: str) -> list[str]:
    """Return the names of the columns that describe the files of a folder, DATA or FAILED."""
    return ["unit", *(f"{folder}_{name}" for name in _FILE)]


def without_rows(table: pa.Table, replaced: pa.Array) -> pa.Table:
    """Return a table, with a column `unit`, in which the units `replaced` have no rows."""
    mask = pc.is_in(table.column("unit"), value_set=replaced)
    if not pc.any(mask).as_py():
        return table
    for place, name in enumerate(table.column_names):
        column = table.column(name)
        if name in _ROWLESS:
            empty = pa.scalar(_ROWLESS[name], column.type)
            table = table.set_column(place, SCHEMA.field(name), pc.if_else(mask, empty, column))
        elif name in ("layer_bytes", "size_bytes"):
            whole = column.combine_chunks()
            values = whole.flatten().to_numpy(zero_copy_only=False)
            at = np.repeat(mask.to_numpy(), whole.value_lengths().to_numpy(zero_copy_only=False))
            offsets = np.concatenate([[0], np.cumsum(whole.value_lengths().to_numpy())])
            zeroed = pa.array(np.where(at, 0, values))
            column = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), zeroed)
            table = table.set_column(place, SCHEMA.field(name), column.cast(_COUNTS))
    return table


def digest(column: pa.ChunkedArray | pa.Array) -> str:
    """Return the SHA-256, in hex, of the values of a column: the same for all Arrow layouts.

    The hashed bytes are the number of values as 8 bytes, a byte 1 or 0 for each value (there or
    null), and the values. A number or truth value takes 8 bytes; of texts and bytes come first all
    lengths, 8 bytes each, then all their bytes; of lists come first all lengths, then the values of
    all items together. Integers are little endian; a null is 0, or has a length of 0.
    """
    hashed = hashlib.sha256(len(column).to_bytes(8, "little"))
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    hashed.update(whole.is_valid().to_numpy(zero_copy_only=False).astype(np.uint8))
    _hash_values(hashed, whole)
    return hashed.hexdigest()


def check_column(name: str, column: pa.ChunkedArray, shared: Shared, label_sets: int) -> None:
    """Raise ValueError unless all values of a column can be those of an archive (rule A18)."""
    if column.type != SCHEMA.field(name).type:
        raise ValueError(f"{name} is {column.type}, not {SCHEMA.field(name).type}")
    if column.null_count and name not in NULLABLE:
        raise ValueError(f"{name} has nulls")
    if name in ("unit", "retries", "replaces"):
        texts = pc.list_flatten(column) if pa.types.is_list(column.type) else column
        if not _all(pc.match_substring_regex(texts, f"^{UNIT_PATTERN}$")):
            raise ValueError(f"{name} has a name that no unit can have")
    if name == "unit" and not is_sorted(column):
        raise ValueError("a unit is named twice, or out of order")
    if pa.types.is_list(column.type) and pa.types.is_integer(column.type.value_type):
        items = pc.list_flatten(column)
        _check_counts(name, items)
        if name.endswith("row_groups"):
            _check_groups(name, column, items)
        elif not _all(pc.equal(pc.list_value_length(column), _bytes_listed(name, shared))):
            raise ValueError(f"{name} has bytes of other sizes or layers")
    elif pa.types.is_integer(column.type):
        _check_counts(name, column)
    most = {"labels": label_sets, f"{DATA}_bytes": limits.MAX_ARCHIVE_FILE_BYTES}
    most |= {f"{FAILED}_bytes": limits.MAX_ARCHIVE_FILE_BYTES}
    most |= {f"{folder}_footer_bytes": limits.MAX_FOOTER_BYTES + 1 for folder in (DATA, FAILED)}
    if name in most and not _all(pc.less(column, most[name])):
        raise ValueError(f"{name} has a value of {pc.max(column).as_py()}, over the limit")


def check_table(table: pa.Table) -> None:
    """Raise ValueError unless the values of all columns of a table fit each other (rule A18)."""
    for folder in (DATA, FAILED):
        first, *others = (table.column(name) for name in file_columns(folder)[1:])
        if any(not first.is_valid().equals(other.is_valid()) for other in others):
            raise ValueError(f"a file in {folder} lacks some of its columns")
        if not _all(pc.less_equal(table.column(f"{folder}_footer_bytes"), first)):
            raise ValueError(f"a file in {folder} is shorter than its footer")
    for name in ("failures", "skipped"):
        counts_of(table.column(name))
    for text in pc.unique(table.column("roots").drop_null()).to_pylist():
        _texts(text)


def is_sorted(names: pa.ChunkedArray) -> bool:
    """Return whether names come in the order of their code points, each once."""
    return len(names) < 2 or _all(pc.less(names.slice(0, len(names) - 1), names.slice(1)))


def counts_of(column: pa.ChunkedArray) -> dict[str, int]:
    """Return the sum of counts by name of a column of JSON objects; ValueError for other JSON."""
    found: dict[str, int] = {}
    for each in pc.value_counts(column.drop_null().combine_chunks()).to_pylist():
        for name, count in _counts(each["values"]).items():
            found[name] = found.get(name, 0) + count * each["counts"]
    return found


def _values(commit: Commit, label_sets: dict[Named, int]) -> dict[str, Any]:
    files = {
        f"{folder}_{name}": value
        for folder, entry in ((DATA, commit.data), (FAILED, commit.failed))
        for name, value in (_packed(entry) if entry else dict.fromkeys(_FILE)).items()
    }
    return {
        "unit": commit.unit,
        "content": bytes.fromhex(commit.content),
        **files,
        "pixels": commit.pixels,
        "source_bytes": commit.source_bytes,
        "layer_bytes": commit.layer_bytes,
        "size_bytes": [count for row in commit.size_bytes for count in row],
        "failures": _json(commit.failures),
        "skipped": _json(commit.skipped),
        "roots": _json(commit.roots),
        "first_key": commit.first_key,
        "last_key": commit.last_key,
        "retries": commit.retries,
        "replaces": commit.replaces or None,
        "generation": commit.generation,
        "supersedes": commit.supersedes,
        "labels": label_sets.setdefault(commit.labels, len(label_sets)),
    }


def _packed(entry: FileEntry) -> dict[str, Any]:
    value = asdict(entry)
    del value["path"]
    return value | {name: bytes.fromhex(value[name]) for name in ("sha256", "footer_sha256")}


def _json(value: Mapping[str, Any]) -> str | None:
    if not value:
        return None
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _commit(row: Mapping[str, Any], shared: Shared, label_sets: Sequence[Named]) -> Commit:
    layers = len(shared.layer_names)
    counts = row["size_bytes"]
    return Commit(
        **{name: getattr(shared, name) for name in shared.__dataclass_fields__},
        unit=row["unit"],
        labels=label_sets[row["labels"]],
        content=row["content"].hex(),
        data=_entry(row, DATA),
        failed=_entry(row, FAILED),
        pixels=row["pixels"],
        source_bytes=row["source_bytes"],
        layer_bytes=tuple(row["layer_bytes"]),
        size_bytes=tuple(
            tuple(counts[at : at + layers]) for at in range(0, len(counts), layers or 1)
        ),
        failures=_counts(row["failures"] or "{}"),
        skipped=_counts(row["skipped"] or "{}"),
        roots=_texts(row["roots"] or "{}"),
        first_key=row["first_key"],
        last_key=row["last_key"],
        retries=row["retries"],
        replaces=tuple(row["replaces"] or ()),
        generation=row["generation"],
        supersedes=row["supersedes"],
    )


def _entry(row: Mapping[str, Any], folder: str) -> FileEntry | None:
    values = {name: row[f"{folder}_{name}"] for name in _FILE}
    missing = [name for name, value in values.items() if value is None]
    if missing:
        if len(missing) < len(values):
            raise ValueError(f"unit {row['unit']!r}: a file without {missing[0]}")
        return None
    if not 12 <= values["footer_bytes"] <= values["bytes"]:
        raise ValueError(f"unit {row['unit']!r}: a footer of {values['footer_bytes']} bytes")
    sha256 = values["sha256"].hex()
    return FileEntry(
        path=file_path(folder, row["unit"], sha256),
        bytes=values["bytes"],
        sha256=sha256,
        footer_bytes=values["footer_bytes"],
        footer_sha256=values["footer_sha256"].hex(),
        row_groups=tuple(values["row_groups"]),
    )


def _counts(text: str) -> dict[str, int]:
    value = json.loads(text)
    for count in value.values():
        if type(count) is not int or not 0 <= count <= limits.MAX_COUNT:
            raise ValueError(f"{count!r} is not a count")
    return dict(value)


def _texts(text: str) -> dict[str, str]:
    value = json.loads(text)
    if not all(isinstance(item, str) for item in value.values()):
        raise ValueError("not texts by name")
    return dict(value)


def _hash_values(hashed: Any, values: pa.Array) -> None:
    kind = values.type
    if pa.types.is_list(kind):
        _hash_numbers(hashed, values.value_lengths())
        _hash_values(hashed, values.flatten())
    elif pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        _hash_numbers(hashed, values)
    else:
        if pa.types.is_fixed_size_binary(kind):
            values = values.cast(pa.binary())
        values = values.fill_null("" if pa.types.is_string(kind) else b"")
        _hash_numbers(hashed, pc.binary_length(values))
        _, offsets, data = values.buffers()
        ends = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
        if len(values) and data:
            hashed.update(memoryview(data)[ends[0] : ends[-1]])


def _hash_numbers(hashed: Any, values: pa.Array) -> None:
    hashed.update(values.cast(pa.int64()).fill_null(0).to_numpy().astype("<i8"))


def _check_counts(name: str, values: pa.ChunkedArray) -> None:
    least, most = pc.min_max(values).as_py().values()
    for value in (least, most):
        if value is not None and not 0 <= value <= limits.MAX_COUNT:
            raise ValueError(f"{name}: {value} is not a count")


def _check_groups(name: str, column: pa.ChunkedArray, items: pa.ChunkedArray) -> None:
    if not _all(pc.greater(pc.list_value_length(column), 0)) or not _all(pc.greater(items, 0)):
        raise ValueError(f"{name}: no row groups, or one without rows")
    most = pc.max(items).as_py() or 0
    if most > limits.MAX_GROUP_ROWS:
        raise ValueError(f"{name}: a row group of {most} rows")


def _bytes_listed(name: str, shared: Shared) -> int:
    layers, sizes = len(shared.layer_names), len(shared.sizes)
    if name == "layer_bytes":
        return layers
    return layers * sizes if sizes > 1 else 0


def _all(mask: pa.ChunkedArray | pa.Array) -> bool:
    """Return whether all values are true, without regard to nulls."""
    return pc.all(mask).as_py() is not False
