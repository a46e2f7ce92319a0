"""Reads single rows: each blob by its own byte range, all in one parallel round.

place ─┬─> positions of the blobs ─> one range a blob ─┐
       └─> small columns of the row group, kept ───────┴─> checks ─> row
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from underpaint.codec.archive.layer_columns import by_layer, is_layer, sizes_in
from underpaint.codec.archive.parquet.footer import Range
from underpaint.codec.archive.parquet.ranges import RangeReader, coalesce
from underpaint.codec.archive.parquet.values import PREFIX, ValuePlaces
from underpaint.codec.archive.row_index import Place, RowIndex
from underpaint.codec.archive.schema import is_blob
from underpaint.codec.archive.tables import joined
from underpaint.codec.archive.units import Units
from underpaint.codec.bitstream import PictureHeader, unpack_stream
from underpaint.codec.errors import ArchiveDamaged, StreamError

TABLE_BYTES = 64 << 20
"""Memory of the small columns that are kept; those used longest ago are dropped."""

Values = dict[str, bytes | None]


class RowReader:
    """Reads single rows of an archive. It is thread-safe."""

    def __init__(self, reader: RangeReader, units: Units) -> None:
        self._reader = reader
        self.index = RowIndex(reader, units)
        self._lock = threading.Lock()
        self._tables: OrderedDict[tuple[int, int, tuple[str, ...]], pa.Table] = OrderedDict()
        self._held = 0

    def row(self, place: Place, names: Sequence[str], known: Mapping[str, object]) -> pa.Table:
        """Return columns of one row as a table of one row.

        Args:
            place: of the row.
            names: columns to read. `width` and `height` are taken from a whole stream instead.
            known: values of further columns.

        Raises ArchiveDamaged.
        """
        blobs = [name for name in names if is_blob(name)]
        small = [name for name in names if not is_blob(name)]
        sides = [name for name in small if name in ("width", "height")]
        others = [name for name in small if name not in sides]
        if self._reader.storage.is_local or not others or not blobs:
            table = self._small(place, others)
            values, picture = self._checked_blobs(place, blobs)
        else:
            with ThreadPoolExecutor(1) as pool:
                pending = pool.submit(self._small, place, others)
                values, picture = self._checked_blobs(place, blobs)
                table = pending.result()
        columns = {name: table.column(name) for name in others}
        columns |= {name: pa.array([value]) for name, value in known.items()}
        if picture is not None:
            pixels = {"width": picture.width, "height": picture.height}
            columns |= {name: pa.array([pixels[name]], pa.int32()) for name in sides}
        elif sides:
            read = self._small(place, sides)
            columns |= {name: read.column(name) for name in sides}
        columns |= {name: pa.array([value], pa.large_binary()) for name, value in values.items()}
        return pa.table(columns)

    def rows(self, file: int, group: int, rows: Sequence[int], names: Sequence[str]) -> pa.Table:
        """Return columns of some rows of a row group, in the order of `rows`; ArchiveDamaged."""
        blobs = [name for name in names if is_blob(name)]
        small = [name for name in names if not is_blob(name)]
        table = self._group(file, group, small).take(list(rows))
        places = [Place(file, group, row) for row in rows]
        read = self._near(places, blobs) if blobs else []
        for name in blobs:
            column = pa.array([values[name] for values in read], pa.large_binary())
            table = table.append_column(name, column)
        return table

    def blobs(self, place: Place, columns: Sequence[str]) -> Values:
        """Return blobs of one row; ArchiveDamaged."""
        return self._checked_blobs(place, columns)[0]

    def blob_bytes(self, place: Place, columns: Sequence[str]) -> int:
        """Return the length of blobs of one row; 0 if it is not known."""
        positions = self.index.positions(place)
        return sum(positions[name].length(place.row) for name in columns) if positions else 0

    def _checked_blobs(
        self, place: Place, columns: Sequence[str]
    ) -> tuple[Values, PictureHeader | None]:
        """Return blobs of one row, and the header of the stream that its layers are.

        Layers are read by their positions. If they are not a whole stream, and for the source, the
        pages are read, whose checksums tell damage from layers that never were a stream.
        """
        layers = [name for name in columns if is_layer(name)]
        values, picture = None, None
        if layers:
            values = self._by_position(place, layers)
            picture = _picture(values) if values is not None else None
        by_pages = [name for name in columns if picture is None or name not in layers]
        found = dict(values) if values is not None and picture is not None else {}
        if by_pages:
            entry = self.index.entry(place.file)
            found |= self._reader.row_blobs(entry, place.group, place.row, by_pages)
        return {name: found[name] for name in columns}, picture

    def _near(self, places: Sequence[Place], columns: Sequence[str]) -> list[Values]:
        """Return blobs of some rows of one row group; values side by side by one request."""
        layers = [name for name in columns if is_layer(name)]
        positions = self.index.positions(places[0]) if places and layers else None
        cells = [_cells(positions, place.row, layers) for place in places]
        ranges = coalesce((cell for row in cells for cell in row.values() if cell), waste=0)
        parts: list[tuple[int, bytes]] = []
        if ranges:
            entry = self.index.entry(places[0].file)
            if ranges[-1][1] <= entry.bytes:
                data = self._reader.fetch_each(entry, ranges)
                parts = [(start, one) for (start, _), one in zip(ranges, data, strict=True)]
        read = []
        for place, row in zip(places, cells, strict=True):
            values = _values(row, parts) if row else None
            if values is None or len(layers) < len(columns) or _picture(values) is None:
                values = self.blobs(place, columns)
            else:
                self._reader.counter.add(wanted=sum(len(one or b"") for one in values.values()))
            read.append(values)
        return read

    def _by_position(self, place: Place, columns: Sequence[str]) -> Values | None:
        """Return values by their positions; None unless each has its length in front of it."""
        cells = _cells(self.index.positions(place), place.row, columns)
        entry = self.index.entry(place.file)
        ranges = sorted(cell for cell in cells.values() if cell)
        if not cells or any(stop > entry.bytes for _, stop in ranges):
            return None
        fetched = self._reader.fetch_each(entry, ranges)
        parts = [(start, data) for (start, _), data in zip(ranges, fetched, strict=True)]
        values = _values(cells, parts)
        if values is None:
            return None
        self._reader.counter.add(wanted=sum(len(value or b"") for value in values.values()))
        return values

    def _small(self, place: Place, names: Sequence[str]) -> pa.Table:
        """Return small columns of one row, from those of its row group, which are kept."""
        if not names:
            return pa.table({})
        return self._group(place.file, place.group, names).slice(place.row, 1)

    def _group(self, file: int, group: int, names: Sequence[str]) -> pa.Table:
        """Return small columns of a row group, which are kept."""
        at = file, group, tuple(names)
        with self._lock:
            table = self._tables.get(at)
            if table is not None:
                self._tables.move_to_end(at)
        if table is None:
            entry = self.index.entry(file)
            table = self._reader.read(entry, group, names)
            if missing := [name for name in names if name not in table.column_names]:
                raise ArchiveDamaged(f"{entry.path}: row group {group}: no column {missing[0]!r}")
            with self._lock:
                self._held += 0 if at in self._tables else table.nbytes
                self._tables[at] = table
                while len(self._tables) > 1 and self._held > TABLE_BYTES:
                    self._held -= self._tables.popitem(last=False)[1].nbytes
        return table


def _cells(
    positions: Mapping[str, ValuePlaces] | None, row: int, columns: Sequence[str]
) -> dict[str, Range | None]:
    """Return where the values of a row stand with the lengths in front of them; None for a null.

    Empty if that is not known, or if one would begin before its column does.
    """
    cells: dict[str, Range | None] = {}
    if positions is None:
        return cells
    for name in columns:
        place = positions[name].range(row)
        cells[name] = (place[0] - PREFIX, place[1]) if place else None
        if place and place[0] - PREFIX < positions[name].start:
            return {}
    return cells


def _values(cells: Mapping[str, Range | None], parts: Sequence[tuple[int, bytes]]) -> Values | None:
    """Return values from fetched parts of the file, in order, each with its start in the file.

    None unless each value has its length in front of it.
    """
    values: Values = dict.fromkeys(cells)
    starts = [start for start, _ in parts]
    for name, cell in cells.items():
        if cell is None:
            continue
        start, stop = cell
        at = bisect_right(starts, start) - 1
        if at < 0:
            return None
        first, data = parts[at]
        found = data[start - first : stop - first]
        if len(found) != stop - start:
            return None
        if int.from_bytes(found[:PREFIX], "little") != len(found) - PREFIX:
            return None
        values[name] = found[PREFIX:]
    return values


def _picture(values: Values) -> PictureHeader | None:
    """Return the header of the stream that the layers of a row are; None unless it is whole.

    The checks of a stream are continued from layer to layer, so they also tell the layers of two
    pictures apart.
    """
    size = len(sizes_in(list(values))) - 1

    def level(picture: PictureHeader) -> int:
        return picture.cuts[size] if size < len(picture.cuts) else 0

    chunks = [joined([values[name] for name in names]) for names in by_layer(list(values))]
    layers = [chunk for chunk in chunks if chunk is not None]
    try:
        stream = unpack_stream(layers, level)
    except StreamError:
        return None
    return stream.picture if len(stream.layers) == len(layers) else None
