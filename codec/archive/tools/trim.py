"""Copies an archive without its finer layers or larger sizes; nothing is decoded."""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.compute as pc

from underpaint.codec.archive.layer_columns import by_layer, sizes_in
from underpaint.codec.archive.letters import read_letters
from underpaint.codec.archive.manifest import Manifest
from underpaint.codec.archive.publishing import publish
from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.schema import SOURCE, is_blob, label_fields
from underpaint.codec.archive.tools.targets import checked_target
from underpaint.codec.archive.united_reader import UnitedReader
from underpaint.codec.archive.writer import ArchiveWriter
from underpaint.codec.errors import UsageError
from underpaint.codec.storage.files import Storage


def trim(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    layers: int | None = None,
    size: int | None = None,
) -> Manifest:
    """Copy an archive with layers 1 to `layers` (None: all), for pictures up to a size.

    `size` is a short side in pixels: the smallest of the archive's sizes that reaches it is the
    largest that is kept (None: all). The other columns are never fetched and nothing is encoded
    again; row groups and dead letters stay, and every file gets the label columns of all units.
    Units are committed one by one, so a killed run resumes where it stopped. Raises UsageError if
    `layers` or `size` is out of range, or `target` holds other units.
    """
    archive = Archive.open(source)
    columns = archive.layer_columns(layers, size)
    sizes = sizes_in(columns)
    layers = len(by_layer(columns))
    planned = archive.manifest.units.column("unit").to_pylist()
    done = checked_target([archive.storage], Storage(target), planned)
    reader = UnitedReader(archive.storage, archive.manifest.units)
    schema = archive.schema
    kept = [n for n in schema.names if not is_blob(n) or n in columns or n == SOURCE]
    labels = label_fields(schema)
    for unit in archive.manifest.units:
        if unit.unit in done:
            if (len(done[unit.unit].layer_names), done[unit.unit].sizes) != (layers, sizes):
                raise UsageError(
                    f"{target}: holds other layers or sizes of this archive; choose another folder"
                )
            continue
        with ArchiveWriter.like(target, unit, labels, layers=layers, sizes=sizes) as writer:
            for group in range(len(unit.data.row_groups) if unit.data else 0):
                assert unit.data
                writer.add_group(_with_states(reader.read(unit.data, group, kept), layers))
            for group in range(len(unit.failed.row_groups) if unit.failed else 0):
                assert unit.failed
                for letter in read_letters(reader, unit.failed, group):
                    writer.fail(letter)
            for reason, count in unit.skipped.items():
                writer.skip(reason, count)
    return publish(str(target))


def _with_states(group: pa.Table, layers: int) -> pa.Table:
    place = group.schema.get_field_index("states")
    states = pc.min_element_wise(group.column(place), pa.scalar(layers, pa.int32()))
    return group.set_column(place, group.schema.field(place), states)
