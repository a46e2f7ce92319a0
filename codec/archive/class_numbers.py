"""Numbers and names of the classes that a label column tells apart."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from underpaint.codec.archive.reader import Archive
from underpaint.codec.errors import UsageError

MOST_CLASSES = 100_000
"""Most classes that are named."""


def class_names(archive: Archive, label: str) -> list[str]:
    """Return the names of the classes 0, 1, … of a label, which another label `label_name` holds.

    A class that no picture with a name has is called `class N`. -1 is no class, as where test
    pictures have none. Returns no names, so that the label is a plain number, if the labels are not
    of integers and of texts, a number is below -1 or not below MOST_CLASSES, a number has two
    names, or a name two numbers. No layer is read. Raises ArchiveDamaged.
    """
    fields = {item.name: item.type for item in archive.schema}
    named = f"{label}_name"
    if not pa.types.is_integer(fields.get(label, pa.null())) or fields.get(named) != pa.string():
        return []
    pairs: set[tuple[int, str | None]] = set()
    for group in archive.row_groups([label, named]):
        one = group.table.group_by([label, named]).aggregate([])
        pairs |= set(zip(*(one.column(name).to_pylist() for name in (label, named)), strict=True))
        if len(pairs) > 2 * MOST_CLASSES:
            return []
    numbers = {number for number, _ in pairs if number is not None}
    if not numbers or min(numbers) < -1 or max(numbers) >= MOST_CLASSES:
        return []
    known = [
        (number, name) for number, name in pairs if number is not None and number >= 0 and name
    ]
    found = dict(known)
    names = [found.get(number) or f"class {number}" for number in range(max(numbers) + 1)]
    return names if len(known) == len(found) and len(set(names)) == len(names) else []


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
