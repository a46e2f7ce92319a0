"""Archive: opens an archive, counts, looks up and iterates its images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from underpaint.codec.archive.conditions import Condition, Where
from underpaint.codec.archive.data_files import DataFiles
from underpaint.codec.archive.key_hashes import RepeatedKeys, hashes_of
from underpaint.codec.archive.layer_columns import FULL
from underpaint.codec.archive.letters import read_letters
from underpaint.codec.archive.manifest import Manifest, read_manifest
from underpaint.codec.archive.parquet.ranges import Traffic
from underpaint.codec.archive.read_columns import layer_columns, row_columns
from underpaint.codec.archive.records import DATA, FAILED, FileEntry
from underpaint.codec.archive.row_index import Place
from underpaint.codec.archive.rows import DeadLetter, Row
from underpaint.codec.archive.salvage import Damage, OnDamage
from underpaint.codec.archive.schema import EMBEDDING, FIXED_NAMES
from underpaint.codec.archive.statistics import Statistics, statistics_of
from underpaint.codec.archive.tables import rows_of, vectors_of
from underpaint.codec.arguments import (
    as_count,
    as_names,
    as_picture_number,
    check_flags,
    check_function,
)
from underpaint.codec.counts import plural
from underpaint.codec.errors import ArchiveDamaged, NoSuchKey, UsageError
from underpaint.codec.storage.files import Storage


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
    works after a fork. `data` reads by data file, row group and row.
    """

    def __init__(self, storage: Storage, manifest: Manifest | None = None) -> None:
        """Open the archive of a storage; its manifest is read unless it is given."""
        if not isinstance(storage, Storage):
            raise UsageError(f"open an archive with Archive.open({storage!r})")
        self.storage = storage
        self.manifest = read_manifest(storage) if manifest is None else manifest
        self.files: Sequence[FileEntry] = self.manifest.units.files
        self.data = DataFiles(storage, self.manifest.units)

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], options: Mapping[str, Any] | None = None
    ) -> Archive:
        """Open a local folder or fsspec URL (`gs://…`); `options` go to the file system.

        Reads the manifest only. Raises NotAnArchive, ArchiveDamaged or UnknownArchiveVersion.
        """
        return cls(Storage(path, options))

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
            f"Archive({str(self.storage.root)!r}, {plural(len(self), 'picture')}, "
            f"{plural(layers, 'layer')}, sizes {', '.join(sizes)})"
        )

    def __iter__(self) -> Iterator[Row]:
        return self.rows()

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.data.index.find(key) is not None

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
        number = as_picture_number(which, "the key or the number of a picture")
        if not -len(self) <= number < len(self):
            raise IndexError(f"{self.storage.root}: picture {number} of {len(self)}")
        place = self.data.index.at(number % len(self))
        names = row_columns(self.manifest, None, None, labels=True, provenance=False)
        return next(rows_of(self.data.rows.row(place, names, {})))

    @property
    def paths(self) -> list[str]:
        """Paths or URLs of the data files, for other tools that read Parquet."""
        return [f"{self.storage.root}/{entry.path}" for entry in self.files]

    @property
    def traffic(self) -> Traffic:
        """Bytes fetched and wanted by all reads of this object so far."""
        return self.data.reader.counter.traffic

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the rows, with the labels of all units; empty without rows.

        The other columns are those of the first intact file.
        """
        damage: ArchiveDamaged | None = None
        for entry in self.files:
            try:
                others = [*self.data.reader.footer(entry).schema]
                others = [item for item in others if item.name not in self.label_names]
                at = len(FIXED_NAMES)
                return pa.schema([*others[:at], *self.data.reader.labels, *others[at:]])
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
        return layer_columns(self.manifest, layers, size)

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
        where: Where | None = None,
        on_damage: OnDamage | None = None,
    ) -> Iterator[RowGroup]:
        """Return row groups in the order of the archive, with `columns` and layers 1 to `layers`.

        Args:
            columns: any columns by name (None: all but layers, source and embedding).
            layers: number of layers in addition (None: none).
            size: short side in pixels of the pictures that the layers are for (None: full).
            where: a condition on small columns: a text such as "width > 640 and cls == 3", as on
                the command line, or an expression such as `pc.field("width") > 640`. Rows that do
                not match are left out, and blobs of groups without a match are not fetched.
            on_damage: called for each damaged row or file, which is then left out or cut to its
                intact layers. None: ArchiveDamaged is raised.

        Raises UsageError for columns, layers, sizes and conditions that do not fit the archive.
        """
        check_function("on_damage", on_damage)
        chosen = [*FIXED_NAMES, *self.label_names]
        names = chosen if columns is None else [*as_names("columns", columns)]
        names += self.layer_columns(layers, size) if layers is not None else []
        self._check_columns(names)
        return self._row_groups(names, self.condition(where), on_damage)

    def rows(
        self,
        layers: int | None = None,
        *,
        size: int | None = None,
        labels: bool = True,
        source: bool = False,
        where: Where | None = None,
        keys: str | Iterable[str] | None = None,
        limit: int | None = None,
        on_damage: OnDamage | None = None,
    ) -> Iterator[Row]:
        """Return images in the order of the archive, with layers 1 to `layers` (None: all).

        Args:
            layers: number of layers.
            size: only what pictures of this short side need, see `Codec.decode` (None: full).
            labels: whether rows have their labels.
            source: whether they have the original bytes, which the archive may keep.
            where: only images for which a condition holds, as in `row_groups`.
            keys: only the images of these keys, each read by itself.
            limit: only so many images, the first of those that `where` and `keys` choose.
            on_damage: as in `row_groups`.

        Raises UsageError as `row_groups`, and NoSuchKey, before the first image is read.
        """
        check_flags(labels=labels, source=source)
        check_function("on_damage", on_damage)
        names = row_columns(self.manifest, layers, size, labels=labels, source=source)
        limit = as_count("limit", limit)
        if keys is not None:
            places, condition = self.places(keys), self.condition(where)
            return islice(self._rows_of(places, names, condition, on_damage), limit)
        groups = self.row_groups(names, where=where, on_damage=on_damage)
        return islice((row for group in groups for row in rows_of(group.table)), limit)

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
        check_flags(labels=labels, source=source, provenance=provenance)
        names = row_columns(
            self.manifest, layers, size, labels=labels, source=source, provenance=provenance
        )
        place = self.place(key)
        known = {} if provenance else {"key": key}
        names = [name for name in names if name not in known]
        return next(rows_of(self.data.rows.row(place, names, known)))

    def condition(self, where: Where | None) -> Condition | None:
        """Return a condition on the small columns of the archive; None where nothing is chosen.

        Raises UsageError if it cannot be parsed, or does not fit the columns.
        """
        if where is None or not self.files:
            return None
        schema, names = self.schema, (*FIXED_NAMES, *self.label_names)
        return Condition.of(where, pa.schema([schema.field(name) for name in names]))

    def place(self, key: str) -> Place:
        """Return where the image of a key is stored; NoSuchKey, or UsageError for no text."""
        if not isinstance(key, str):
            raise UsageError(f"key: want a text, not {key!r}; archive[N] is picture number N")
        place = self.data.index.find(key)
        if place is not None:
            return place
        first = pc.min(self.manifest.units.column("first_key")).as_py()
        hint = f"; the first key is {first!r}" if first is not None else ""
        raise NoSuchKey(f"{self.storage.root}: no picture {key!r}{hint}")

    def places(self, keys: str | Iterable[str]) -> list[Place]:
        """Return where the images of some keys are stored, sorted, each once; NoSuchKey."""
        return sorted({self.place(key) for key in as_names("keys", keys)})

    def load_index(self) -> int:
        """Read the index of all data files, to find keys; return its memory in bytes.

        Otherwise the index of a data file is read when a key that it may hold is first asked for.
        """
        self.data.index.load()
        return self.data.index.nbytes

    def embedding(self, key: str) -> np.ndarray:
        """Return the embedding of an image, float16 [size]; no layer is read.

        Raises NoSuchKey, UsageError if there are no embeddings, or ArchiveDamaged.
        """
        self._check_columns([EMBEDDING])
        row = self.data.rows.row(self.place(key), [EMBEDDING], {})
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
                yield from read_letters(self.data.reader, unit.failed, group)

    def check_files(self) -> Iterator[Damage]:
        """Yield files that are missing or changed since their commit. Reads everything once."""
        for folder in (DATA, FAILED):
            for entry in self.manifest.units.entries(folder):
                if reason := self.data.reader.difference(entry):
                    yield Damage(entry.path, None, None, None, reason)

    def _row_groups(
        self, names: Sequence[str], condition: Condition | None, on_damage: OnDamage | None
    ) -> Iterator[RowGroup]:
        for file, entry in enumerate(self.files):
            for group in range(len(entry.row_groups)):
                table = self._row_group(file, group, names, condition, on_damage)
                if table is not None and table.num_rows:
                    yield RowGroup(entry.path, group, table)

    def _row_group(
        self,
        file: int,
        group: int,
        names: Sequence[str],
        condition: Condition | None,
        on_damage: OnDamage | None,
    ) -> pa.Table | None:
        """Return columns of the rows of a row group for which a condition holds; None: no row."""
        try:
            if condition is None:
                return self.data.read_group(file, group, names)
            return self.data.read_matching(file, group, names, condition)
        except ArchiveDamaged as error:
            if on_damage is None:
                raise
            tested = condition.columns if condition is not None else ()
            wanted = list(dict.fromkeys([*tested, *names]))
            found = self.data.salvage_group(file, group, wanted, error, on_damage)
            if found is None or condition is None:
                return found[0] if found else None
            return found[0].take(condition.rows(found[0])).select(names)

    def _rows_of(
        self,
        places: Sequence[Place],
        names: Sequence[str],
        condition: Condition | None,
        on_damage: OnDamage | None,
    ) -> Iterator[Row]:
        """Yield the rows of some places for which a condition holds, each read by itself."""
        for (file, group), own in groupby(places, lambda place: (place.file, place.group)):
            rows = [place.row for place in own]
            if condition is not None:
                matching = self.data.matching(file, group, condition, on_damage)
                rows = np.intersect1d(rows, matching).tolist()
            for row in rows:
                table = self._row(Place(file, group, row), names, on_damage)
                if table is not None:
                    yield from rows_of(table)

    def _row(
        self, place: Place, names: Sequence[str], on_damage: OnDamage | None
    ) -> pa.Table | None:
        """Return columns of one row, or what `on_damage` leaves of it."""
        try:
            return self.data.rows.row(place, names, {})
        except ArchiveDamaged as error:
            if on_damage is None:
                raise

            def report(damage: Damage) -> None:
                on_damage(replace(damage, rows=1))  # only this row of the group is asked for

            found = self.data.salvage_group(place.file, place.group, names, error, report)
            return found[0].filter(pa.array(found[1] == place.row)) if found else None

    def _check_columns(self, names: Sequence[str]) -> None:
        try:
            known = self.schema.names if self.files else names
        except ArchiveDamaged:  # of every file: reading them says so
            return
        unknown = [name for name in names if name not in known]
        if unknown:
            if EMBEDDING in unknown:
                raise UsageError(
                    f"{self.storage.root}: no embeddings; encode with --embedding NAME"
                )
            there = ", ".join(known)
            raise UsageError(f"{self.storage.root}: no column {unknown[0]!r}; there are: {there}")
