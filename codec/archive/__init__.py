"""The archive: a folder of Parquet files, one row an image, one column a layer.

Write (see `ArchiveWriter`):

    with ArchiveWriter(root, unit, layers=names, weights_id=weights) as writer:
        writer.add(Row(...)); writer.fail(DeadLetter(...))
    publish(root)

Read (see `Archive`): `Archive.open(root)` with `statistics()`, `rows()`, `row_groups()`, `get()`,
`dead_letters()`. Train (see `LayerDataset` and `LayerMap`, imported at their first use: they need
torch). The bytes of all files are specified in docs/archive.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from underpaint.codec.archive.commits import committed_units, orphans, sweep
from underpaint.codec.archive.manifest import Manifest
from underpaint.codec.archive.parquet.ranges import Traffic
from underpaint.codec.archive.publishing import publish
from underpaint.codec.archive.reader import Archive, RowGroup
from underpaint.codec.archive.records import Commit, FileEntry
from underpaint.codec.archive.rows import DeadLetter, Row
from underpaint.codec.archive.salvage import Damage
from underpaint.codec.archive.statistics import Statistics
from underpaint.codec.archive.writer import ArchiveWriter

if TYPE_CHECKING:
    from underpaint.codec.archive.torch.dataset import LayerDataset
    from underpaint.codec.archive.torch.map_style import LayerMap

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
        from underpaint.codec.archive.torch.dataset import LayerDataset

        return LayerDataset
    if name == "LayerMap":
        from underpaint.codec.archive.torch.map_style import LayerMap

        return LayerMap
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
