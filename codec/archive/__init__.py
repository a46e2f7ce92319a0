"""The archive: a folder of Parquet files, one row an image, one column a layer.

Write (see `ArchiveWriter`):

    with ArchiveWriter(root, unit, layers=names, weights_id=weights) as writer:
        writer.add(Row(...)); writer.fail(DeadLetter(...))
    publish(root)

Read (see `Archive`): `Archive.open(root)` with `statistics()`, `rows()`, `row_groups()`, `get()`,
`dead_letters()`. The bytes of all files are specified in FORMAT.md.
"""

from codec.archive.manifest import (
    Commit,
    FileEntry,
    Manifest,
    committed_units,
    orphans,
    publish,
    sweep,
)
from codec.archive.ranges import Traffic
from codec.archive.reader import Archive, RowGroup, Statistics
from codec.archive.salvage import Damage
from codec.archive.schema import DeadLetter, Row
from codec.archive.writer import ArchiveWriter

__all__ = [
    "Archive",
    "ArchiveWriter",
    "Commit",
    "Damage",
    "DeadLetter",
    "FileEntry",
    "Manifest",
    "Row",
    "RowGroup",
    "Statistics",
    "Traffic",
    "committed_units",
    "orphans",
    "publish",
    "sweep",
]
