"""Archive: opens an archive, counts, looks up and iterates its images."""

from __future__ import annotations

import operator
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from underpaint.codec.archive.conditions import named_columns
from underpaint.codec.archive.key_hashes import RepeatedKeys, hashes_of
from underpaint.codec.archive.layer_columns import FULL, columns_for, sizes_for
from underpaint.codec.archive.letters import read_letters
from underpaint.codec.archive.manifest import Manifest, read_manifest
from underpaint.codec.archive.parquet.pages import BlobPages
from underpaint.codec.archive.parquet.ranges import Range, Traffic
from underpaint.codec.archive.parquet.values import PREFIX
from underpaint.codec.archive.records import DATA, FAILED, FileEntry
from underpaint.codec.archive.row_index import Place
from underpaint.codec.archive.row_reader import RowReader
from underpaint.codec.archive.rows import DeadLetter, Row
from underpaint.codec.archive.salvage import Damage, salvage
from underpaint.codec.archive.schema import EMBEDDING, FIXED_NAMES, SOURCE
from underpaint.codec.archive.statistics import Statistics, statistics_of
from underpaint.codec.archive.tables import rows_of, vectors_of
from underpaint.codec.archive.united_reader import UnitedReader
from underpaint.codec.errors import ArchiveDamaged, NoSuchKey, UsageError
from underpaint.codec.storage.files import Storage

OnDamage = Callable[[Damage], None]


@dataclass(frozen=True)
class RowGroup:
    """Some columns of one row group."""

    path: str
    """The data file, below the archive."""
    index: int
    """Index of the row group in its file."""
    table: pa.Table


class Archive:
    """An archive opened for reading; see `Archive.open`.

        archive[key]          the picture of a key
        archive[10]           the picture number 10, in the order of the archive, from 0
        archive[:100]         a list of pictures
        key in archive        whether there is such a key

    A picture is a `Row`, here with its key, layers, sides and labels; see `get` for more or fewer
    layers and for the other columns. Checksums are verified on every read. It can be pickled and
    works after a fork.
    """

    def __init__(self, storage: Storage, manifest: Manifest) -> None:
        self.storage = storage
        self.manifest = manifest
        self.files: Sequence[FileEntry] = manifest.units.files
        self._reader = UnitedReader(storage, manifest.units)
        self._row_reader: RowReader | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_row_reader": None}

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], options: Mapping[str, Any] | None = None
    ) -> Archive:
        """Open a local folder or fsspec URL (`gs://…`); `options` go to the file system.

        Reads the manifest only. Raises NotAnArchive, ArchiveDamaged or UnknownArchiveVersion.
        """
        storage = Storage(path, options)
        return cls(storage, read_manifest(storage))

    @property
    def weights_id(self) -> str:
        """Id of the weights that made the streams."""
        return self.manifest.weights_id

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers, coarsest first."""
        return self.manifest.layer_names

    @property
    def sizes(self) -> tuple[int, ...]:
        """Short sides in pixels that have columns of their own, then 0 if the full size has."""
        return self.manifest.sizes

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the label columns of all units; a row of a unit without one has a null there."""
        return self.manifest.label_names

    @property
    def rows_count(self) -> int:
        """Number of images."""
        return self.manifest.rows

    def __len__(self) -> int:
        return self.manifest.rows

    def _repr_html_(self) -> str:
        """Return how a notebook shows the archive: a few pictures, bytes by layers and size."""
        from underpaint.codec.archive.tools.notebook import archive_html

        return archive_html(self)

    def _repr_png_(self) -> bytes | None:
        """Return a few pictures as PNG, for tools that show no HTML; None without pictures."""
        from underpaint.codec.archive.tools.notebook import archive_png

        return archive_png(self)

    def __repr__(self) -> str:
        layers, sizes = len(self.layer_names), [str(size) for size in self.sizes if size]
        sizes += ["full"] if FULL in self.sizes else []
        return (
            f"Archive({str(self.storage.root)!r}, {len(self):,} pictures, {layers} layers, "
            f"sizes {', '.join(sizes)})"
        )

    def __iter__(self) -> Iterator[Row]:
        return self.rows()

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._single.index.find(key) is not None

    @overload
    def __getitem__(self, which: str | int) -> Row: ...

    @overload
    def __getitem__(self, which: slice) -> list[Row]: ...

    def __getitem__(self, which: str | int | slice) -> Row | list[Row]:
        """Return a picture by key or number, or a list of pictures; NoSuchKey or IndexError."""
        if isinstance(which, slice):
            return [self[number] for number in range(*which.indices(len(self)))]
        if isinstance(which, str):
            return self.get(which, provenance=False)
        if isinstance(which, (bool, np.bool_)):
            raise TypeError("want the key or the number of a picture, not a truth value")
        number = operator.index(which)
        if not -len(self) <= number < len(self):
            raise IndexError(f"{self.storage.root}: picture {number} of {len(self)}")
        place = self._single.index.at(number % len(self))
        names = self._row_columns(None, None, labels=True, source=False, provenance=False)
        return next(rows_of(self._single.row(place, names, {})))

    @property
    def paths(self) -> list[str]:
        """Paths or URLs of the data files, for other tools that read Parquet."""
        return [f"{self.storage.root}/{entry.path}" for entry in self.files]

    @property
    def traffic(self) -> Traffic:
        """Bytes fetched and wanted by all reads of this object so far."""
        return self._reader.counter.traffic

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the rows, with the labels of all units; empty without rows.

        The other columns are those of the first intact file.
        """
        damage: ArchiveDamaged | None = None
        for entry in self.files:
            try:
                others = [*self._reader.footer(entry).schema]
                others = [item for item in others if item.name not in self.label_names]
                at = len(FIXED_NAMES)
                return pa.schema([*others[:at], *self._reader.labels, *others[at:]])
            except ArchiveDamaged as error:
                damage = damage or error
        if damage:
            raise damage
        return pa.schema([])

    def statistics(self) -> Statistics:
        """Return counts of images, pixels, bytes and failures; no data file is read."""
        return statistics_of(self.manifest)

    def layer_columns(self, layers: int | None, size: int | None = None) -> list[str]:
        """Return the columns of layers 1 to `layers` (None: all) for pictures of a size.

        `size` is a short side in pixels, as in `Codec.decode`; None is the largest that the archive
        has. Raises UsageError if either is out of range.
        """
        count = len(self.layer_names)
        layers = count if layers is None else layers
        if not 1 <= layers <= count and (count or layers < 1):
            raise UsageError(f"layers: {layers}; the archive has layers 1 to {count}")
        return columns_for(layers, sizes_for(self.sizes, size))

    def decoded_size(self, size: int | None) -> int | None:
        """Return the argument `size` of `Codec.decode` for layers read with `size`.

        They are equal, unless the archive has no full pictures and `size` is None.
        """
        return self.sizes[-1] or None if size is None else size

    def row_groups(
        self,
        columns: Sequence[str] | None = None,
        *,
        layers: int | None = None,
        size: int | None = None,
        where: pc.Expression | None = None,
        on_damage: OnDamage | None = None,
    ) -> Iterator[RowGroup]:
        """Yield row groups in the order of the archive, with `columns` and layers 1 to `layers`.

        Args:
            columns: any columns by name (None: all but layers, source and embedding).
            layers: number of layers in addition (None: none).
            size: short side in pixels of the pictures that the layers are for (None: full).
            where: an expression over small columns (`pc.field("width") > 640`). Rows that do not
                match are left out, and blobs of groups without a match are not fetched.
            on_damage: called for each damaged row or file, which is then left out or cut to its
                intact layers. None: ArchiveDamaged is raised.
        """
        names = list(columns) if columns is not None else [*FIXED_NAMES, *self.label_names]
        names += self.layer_columns(layers, size) if layers is not None else []
        self._check_columns(names)
        tested = self.columns_of(where) if where is not None and self.files else []
        for entry in self.files:
            for group in range(len(entry.row_groups)):
                try:
                    table = self._read(entry, group, names, where, tested)
                except ArchiveDamaged as error:
                    if on_damage is None:
                        raise
                    wanted = list(dict.fromkeys([*tested, *names]))
                    found = salvage(self._reader, entry, group, wanted, error, on_damage)
                    table = found[0] if found else None
                    if table is not None and where is not None:
                        table = table.filter(where).select(names)
                if table is not None and table.num_rows:
                    yield RowGroup(entry.path, group, table)

    def rows(
        self,
        layers: int | None = None,
        *,
        size: int | None = None,
        labels: bool = True,
        source: bool = False,
        where: pc.Expression | None = None,
        keys: Sequence[str] | None = None,
        on_damage: OnDamage | None = None,
    ) -> Iterator[Row]:
        """Yield images in the order of the archive, with layers 1 to `layers` (None: all).

        `size`: only what pictures of this short side need, see `Codec.decode` (None: full).
        `source`: with the original bytes, if the archive keeps them. `keys`: only these images, in
        the order of the archive; NoSuchKey before the first is read. Other arguments as in
        `row_groups`.
        """
        names = self._row_columns(layers, size, labels=labels, source=source)
        if keys is not None:
            if where is not None:
                raise UsageError("rows: give either keys or where")
            yield from self._rows_of(self.places(keys), names, on_damage)
            return
        groups = self.row_groups(names, where=where, on_damage=on_damage)
        for group in groups:
            yield from rows_of(group.table)

    def get(
        self,
        key: str,
        layers: int | None = None,
        *,
        size: int | None = None,
        labels: bool = True,
        source: bool = False,
        provenance: bool = True,
    ) -> Row:
        """Return the image of a key, with layers 1 to `layers` (None: all), as `rows` does.

        Each layer is fetched by its own byte range, all at the same time, together with the small
        columns of its row group, which are kept. Finding the key needs the index of the data files
        that may hold it; see `load_index`.

        Args:
            layers, size, labels, source: as in `rows`.
            provenance: with the columns that say where the picture came from, and its embedding.
                Without, nothing but layers and labels is fetched.

        Raises NoSuchKey or ArchiveDamaged.
        """
        names = self._row_columns(layers, size, labels=labels, source=source, provenance=provenance)
        place = self._place(key)
        known = {} if provenance else {"key": key}
        names = [name for name in names if name not in known]
        return next(rows_of(self._single.row(place, names, known)))

    def columns_of(self, where: pc.Expression) -> list[str]:
        """Return the small columns that a condition names, at least one; UsageError for others."""
        names = [*FIXED_NAMES, *self.label_names]
        schema = pa.schema([self.schema.field(name) for name in names])
        return named_columns(where, schema) or ["key"]

    def places(self, keys: Iterable[str]) -> list[Place]:
        """Return where the images of some keys are stored, sorted, each once; NoSuchKey."""
        return sorted({self._place(key) for key in keys})

    def check_key(self, key: str) -> None:
        """NoSuchKey unless the archive has a picture of this key."""
        self._place(key)

    def load_index(self) -> int:
        """Read the index of all data files, to find keys; return its memory in bytes.

        Otherwise the index of a data file is read when a key that it may hold is first asked for.
        """
        self._single.index.load()
        return self._single.index.nbytes

    def locate(self, key: str) -> tuple[int, int, int]:
        """Return the file (index into `files`), row group and row of a key; NoSuchKey."""
        place = self._place(key)
        return place.file, place.group, place.row

    def embedding(self, key: str) -> np.ndarray:
        """Return the embedding of an image, float16 [size]; no layer is read.

        Raises NoSuchKey, UsageError if there are no embeddings, or ArchiveDamaged.
        """
        self._check_columns([EMBEDDING])
        row = self._single.row(self._place(key), [EMBEDDING], {})
        vector: np.ndarray = vectors_of(row.column(EMBEDDING))[0]
        return vector

    def keys(self) -> Iterator[str]:
        """Yield the keys of all images in the order of the archive; blobs are not read."""
        for group in self.row_groups(["key"]):
            yield from group.table.column("key").to_pylist()

    def duplicate_keys(self) -> list[str]:
        """Return the keys that occur more than once, sorted; a sound archive has none."""
        with RepeatedKeys() as found:
            for group in self.row_groups(["key"]):
                found.add(hashes_of(group.table.column("key").to_pylist()))
            repeated = found.repeated()
        seen: Counter[str] = Counter()
        for group in self.row_groups(["key"]) if len(repeated) else ():
            keys = group.table.column("key").to_pylist()
            hit = np.isin(hashes_of(keys), repeated)
            seen.update(key for key, suspect in zip(keys, hit, strict=True) if suspect)
        return sorted(key for key, count in seen.items() if count > 1)

    def dead_letters(self) -> Iterator[DeadLetter]:
        """Yield the inputs that did not become rows and were not retried successfully."""
        for unit in self.manifest.units.failed():
            assert unit.failed
            for group in range(len(unit.failed.row_groups)):
                yield from read_letters(self._reader, unit.failed, group)

    def check_files(self) -> Iterator[Damage]:
        """Yield files that are missing or changed since their commit. Reads everything once."""
        for folder in (DATA, FAILED):
            for entry in self.manifest.units.entries(folder):
                if reason := self._reader.difference(entry):
                    yield Damage(entry.path, None, None, None, reason)

    def read_group(self, file: int, group: int, columns: Sequence[str]) -> pa.Table:
        """Return columns of row group `group` of file `file` (index into `files`);
        ArchiveDamaged.
        """
        return self._reader.read(self.files[file], group, columns)

    def read_blobs(
        self, file: int, group: int, row: int, columns: Sequence[str]
    ) -> dict[str, bytes | None]:
        """Return blob columns of one row of a row group, by their bytes; ArchiveDamaged."""
        return self._single.blobs(Place(file, group, row), columns)

    def read_rows(
        self, file: int, group: int, rows: Sequence[int], columns: Sequence[str]
    ) -> pa.Table:
        """Return columns of some rows of a row group: small columns whole, which are kept, and
        blobs by their bytes; ArchiveDamaged.
        """
        return self._single.rows(file, group, rows, columns)

    def blob_pages(self, file: int, group: int, columns: Sequence[str]) -> dict[str, BlobPages]:
        """Return the pages of blob columns of a row group; ArchiveDamaged."""
        return self._reader.pages(self.files[file], group, columns)

    def blob_page(self, file: int, pages: BlobPages, number: int) -> list[bytes | None]:
        """Return all values of one of these pages; ArchiveDamaged."""
        return self._reader.page(self.files[file], pages, number)

    def layer_ranges(self, file: int, group: int, row: int) -> list[list[Range | None]]:
        """Return the byte ranges of the layers of one row in its data file, for other readers.

        A list for each of `sizes`, and in it a range for each layer; None for a null. The four
        bytes in front of a range hold its length: compare them (rule A25 of docs/archive.md).
        Raises ArchiveDamaged if the lengths of the layers or the page index cannot be read.
        """
        entry = self.files[file]
        positions = self._single.index.positions(Place(file, group, row))
        if positions is None:
            raise ArchiveDamaged(f"{entry.path}: row group {group}: no positions of its layers")
        count = len(self.layer_names)
        names = columns_for(count, self.sizes)
        ranges = [positions[name].range(row) for name in names]
        if any(one and not PREFIX <= one[0] <= one[1] <= entry.bytes for one in ranges):
            raise ArchiveDamaged(f"{entry.path}: row group {group}: lengths beyond the file")
        return [ranges[at : at + count] for at in range(0, len(ranges), count)]

    def read_range(self, entry: FileEntry, start: int, stop: int) -> bytes:
        """Return bytes [start, stop) of a data file, in one request; ArchiveDamaged if cut."""
        [data] = self._reader.fetch_each(entry, [(start, stop)])
        return data

    def column_bytes(self, file: int, group: int, columns: Sequence[str]) -> int:
        """Return the bytes that columns take in a row group, from the footer; ArchiveDamaged."""
        chunks = self._reader.chunks(self.files[file], group, columns)
        return sum(stop - start for start, stop in chunks.values())

    def salvage_group(
        self, file: int, group: int, columns: Sequence[str], error: Exception, report: OnDamage
    ) -> tuple[pa.Table, np.ndarray] | None:
        """Return the readable part of a damaged row group, as `salvage`; each loss goes to
        `report`.
        """
        return salvage(self._reader, self.files[file], group, columns, error, report)

    @property
    def _single(self) -> RowReader:
        if self._row_reader is None:
            self._row_reader = RowReader(self._reader, self.manifest.units)
        return self._row_reader

    def _rows_of(
        self, places: Sequence[Place], names: Sequence[str], on_damage: OnDamage | None
    ) -> Iterator[Row]:
        """Yield the rows of some places, each read by itself."""
        for place in places:
            try:
                table = self._single.row(place, names, {})
            except ArchiveDamaged as error:
                if on_damage is None:
                    raise
                entry = self.files[place.file]
                found = salvage(self._reader, entry, place.group, names, error, on_damage)
                table = found[0].filter(pa.array(found[1] == place.row)) if found else None
            if table is not None:
                yield from rows_of(table)

    def _place(self, key: str) -> Place:
        """Return the place of a key; NoSuchKey."""
        place = self._single.index.find(key)
        if place is not None:
            return place
        first = pc.min(self.manifest.units.column("first_key")).as_py()
        hint = f"; the first key is {first!r}" if first is not None else ""
        raise NoSuchKey(f"{self.storage.root}: no picture {key!r}{hint}")

    def _row_columns(
        self,
        layers: int | None,
        size: int | None,
        *,
        labels: bool,
        source: bool,
        provenance: bool = True,
    ) -> list[str]:
        names = list(FIXED_NAMES if provenance else ("key", "width", "height"))
        names += self.label_names if labels else ()
        if self.manifest.embedding_size is not None and provenance:
            names.append(EMBEDDING)
        names += self.layer_columns(layers, size)
        if source:
            if self.files and not self.manifest.keeps_source:
                raise UsageError(f"{self.storage.root}: this archive keeps no source bytes")
            names.append(SOURCE)
        return names

    def _check_columns(self, names: Sequence[str]) -> None:
        known = self.schema.names if self.files else names
        unknown = [name for name in names if name not in known]
        if unknown:
            if EMBEDDING in unknown:
                raise UsageError(
                    f"{self.storage.root}: no embeddings; encode with --embedding NAME"
                )
            raise UsageError(f"{self.storage.root}: no column {unknown[0]!r}")

    def _read(
        self,
        entry: FileEntry,
        group: int,
        names: Sequence[str],
        where: pc.Expression | None,
        tested: Sequence[str],
    ) -> pa.Table | None:
        """Return the rows of a row group for which `where` holds, on the columns `tested`."""
        if where is None:
            return self._reader.read(entry, group, names)
        known = self._reader.read(entry, group, tested)
        numbered = known.append_column("__row", pa.array(np.arange(known.num_rows)))
        chosen = numbered.filter(where).column("__row")
        if not len(chosen):
            return None
        rest = [name for name in names if name not in tested]
        table = self._reader.read(entry, group, rest) if rest else known
        order = [known.column(n) if n in tested else table.column(n) for n in names]
        return pa.table(dict(zip(names, order, strict=True))).take(chosen)
