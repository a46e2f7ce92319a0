"""The archive: a folder of Parquet files, one row an image, one column a layer.

Write (see `ArchiveWriter`):

    with ArchiveWriter(root, unit, layers=names, weights_id=weights) as writer:
        writer.add(Row(...)); writer.fail(DeadLetter(...))
    publish(root)

Read (see `Archive`): `Archive.open(root)` with `statistics()`, `rows()`, `row_groups()`, `get()`,
`dead_letters()`. Train (see `LayerDataset` and `LayerMap`, imported at their first use: they need
torch). The bytes of all files are specified in FORMAT.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codec.archive.manifest import committed_units, orphans, publish, sweep
from codec.archive.ranges import Traffic
from codec.archive.reader import Archive, RowGroup, Statistics
from codec.archive.records import Commit, FileEntry, Manifest
from codec.archive.salvage import Damage
from codec.archive.schema import DeadLetter, Row
from codec.archive.writer import ArchiveWriter

if TYPE_CHECKING:
    from codec.archive.dataset import LayerDataset
    from codec.archive.mapstyle import LayerMap

__all__ = [
    "Archive",
    "ArchiveWriter",
    "Commit",
    "Damage",
    "DeadLetter",
    "FileEntry",
    "LayerDataset",
    "LayerMap",
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


def __getattr__(name: str) -> Any:
    """Import the PyTorch data sets at their first use."""
    if name == "LayerDataset":
        from codec.archive.dataset import LayerDataset

        return LayerDataset
    if name == "LayerMap":
        from codec.archive.mapstyle import LayerMap

        return LayerMap
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
