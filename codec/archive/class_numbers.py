"""Numbers of the classes that a label column names, for networks that tell classes apart."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from underpaint.codec.archive.reader import Archive
from underpaint.codec.errors import UsageError


def class_numbers(archive: Archive, label: str) -> dict[Any, int]:
    """Return the number of each value of a label: 0, 1, …, in sorted order; no layer is read.

    Raises UsageError if there is no such label, if pictures have none of its values, or if a value
    is a list. Raises ArchiveDamaged.
    """
    known = ", ".join(archive.label_names) or "none"
    if label not in archive.label_names:
        raise UsageError(f"{archive.storage.root}: no label {label!r}; there are: {known}")
    found: set[Any] = set()
    for group in archive.row_groups(label):
        values = group.table.column(label)
        if pa.types.is_nested(values.type):
            raise UsageError(f"label {label!r}: its values are no classes: {values.type}")
        found.update(values.unique().to_pylist())
    if any(value is None or value != value for value in found):  # NaN differs from itself
        raise UsageError(f"label {label!r}: some pictures have no value")
    return {value: number for number, value in enumerate(sorted(found))}
