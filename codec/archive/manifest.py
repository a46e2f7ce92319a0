"""The manifest: a small pointer to the columns of all units, which readers read as they need them.

manifest.json ─> units/H.parquet     what all units share; the SHA-256 of their columns
                    │                one row a unit, see `unit_columns`
                    └─> data/….parquet   failed/….parquet
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from underpaint.codec.archive.label_columns import Named, joined_names
from underpaint.codec.archive.record_json import Pointer, decode_pointer, encode_pointer
from underpaint.codec.archive.records import COMMITS, DATA, JOB, MANIFEST, Commit
from underpaint.codec.archive.unit_columns import check_table, digest
from underpaint.codec.archive.unit_file import WHOLE_UNITS, UnitFile, write_units
from underpaint.codec.archive.units import Units
from underpaint.codec.errors import ArchiveDamaged, NotAnArchive
from underpaint.codec.storage.files import Storage


@dataclass(frozen=True)
class Manifest:
    """All commits of an archive."""

    units: Units
    """Commits, in the order of their names; those that others replace are without rows."""
    rows: int
    """Number of images of the archive."""

    @staticmethod
    def of(commits: Iterable[Commit]) -> Manifest:
        """Return the manifest of some commits, in their order; ArchiveError if they do not fit."""
        units = commits if isinstance(commits, Units) else Units.of(commits)
        return Manifest(units, _rows_of(units))

    @property
    def file(self) -> str:
        """Name of the file with the columns of the units; "" if they are not stored."""
        return self.units.blocks.name if isinstance(self.units.blocks, UnitFile) else ""

    @property
    def weights_id(self) -> str:
        """Id of the weights that made every stream; "" for an archive without commits."""
        return self.units.shared.weights_id

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers, coarsest first."""
        return self.units.shared.layer_names

    @property
    def sizes(self) -> tuple[int, ...]:
        """Short sides in pixels that have columns of their own, then FULL if the full size has."""
        return self.units.shared.sizes

    @property
    def embedding_size(self) -> int | None:
        """Length of the embeddings; None if there are none."""
        return self.units.shared.embedding_size

    @property
    def extractor(self) -> str | None:
        """Identity of the extractor; None if it is unknown or there are no embeddings."""
        return self.units.shared.extractor

    @property
    def metadata(self) -> str:
        """What rows hold about how a picture was taken: "basic", "exif" or "none"."""
        return self.units.shared.metadata

    @property
    def keeps_source(self) -> bool:
        """Whether rows hold the bytes of their sources."""
        return self.units.shared.keeps_source

    @property
    def labels(self) -> Named:
        """Name and Arrow type of each label column of any unit (see `label_columns`)."""
        return joined_names(self.units.label_sets)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the label columns."""
        return tuple(name for name, _ in self.labels)

    @cached_property
    def identity(self) -> str:
        """16 hex digits that change with the rows of the archive and their order."""
        names = (f"{DATA}_sha256", f"{DATA}_row_groups")
        digests = [digest(self.units.column(name).drop_null()) for name in names]
        return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]

    def check(self) -> None:
        """Read and check the columns of all units, block by block; ArchiveDamaged."""
        units, rows, last = self.units, 0, ""
        for table in units.tables():
            names = table.column("unit")
            if names[0].as_py() <= last:
                raise ArchiveDamaged(
                    f"{units.blocks.where}: a unit is named twice, or out of order"
                )
            last = names[-1].as_py()
            rows += _rows_in(table)
            try:
                check_table(table)
            except (ValueError, TypeError, AttributeError) as error:
                raise ArchiveDamaged(f"{units.blocks.where}: {error}") from None
        if rows != self.rows:
            raise ArchiveDamaged(f"{units.blocks.where}: {rows} rows, {self.rows} in {MANIFEST}")


def read_manifest(storage: Storage) -> Manifest:
    """Read the manifest; NotAnArchive if there is none, else raises as `decode_pointer` does.

    The columns of up to WHOLE_UNITS units are read and checked at once, others as they are used.
    """
    try:
        data = storage.read(MANIFEST)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        if storage.is_local and not os.path.lexists(storage.path("").rstrip("/") or "/"):
            raise NotAnArchive(f"{storage.root}: no such folder") from None
        if storage.is_local and os.path.isfile(storage.path("").rstrip("/")):
            raise NotAnArchive(f"{storage.root}: a file; give the folder of an archive") from None
        if storage.is_local and storage.file_names(COMMITS):
            if JOB in storage.file_names(""):
                raise NotAnArchive(
                    f"{storage.root}: its {MANIFEST} is lost; the command that encoded it writes "
                    "it again from the commit records and encodes nothing anew; `underpaint verify "
                    "--repair --output NEW` writes it in a copy"
                ) from None
            raise NotAnArchive(
                f"{storage.root}: not published yet: an encode is running, or was stopped and "
                "continues when its command is given again; `underpaint verify --repair --output "
                "NEW` copies what it has written so far"
            ) from None
        raise NotAnArchive(f"{storage.root}: no archive there (no {MANIFEST})") from None
    pointer = decode_pointer(data, f"{storage.root}/{MANIFEST}")
    shared, label_sets = pointer.shared, pointer.label_sets
    blocks = UnitFile(storage, pointer.units, pointer.sha256, shared, label_sets)
    blocks.open()
    manifest = Manifest(Units(blocks, shared, label_sets), pointer.rows)
    if pointer.units <= WHOLE_UNITS:
        manifest.check()
    return manifest


def write_manifest(storage: Storage, units: Units) -> bytes:
    """Write the columns of some units, then the pointer if it changes; return its bytes."""
    sha256 = write_units(storage, units)
    pointer = Pointer(len(units), _rows_of(units), sha256, units.shared, units.label_sets)
    data = encode_pointer(pointer)
    if stored_pointer(storage) != data:
        storage.put(MANIFEST, data)
    return data


def stored_pointer(storage: Storage) -> bytes | None:
    """Return the bytes of `manifest.json`; None if there is none."""
    try:
        return storage.read(MANIFEST)
    except FileNotFoundError:
        return None


def _rows_of(units: Units) -> int:
    return sum(map(_rows_in, units.tables([f"{DATA}_row_groups"])))


def _rows_in(table: pa.Table) -> int:
    return int(pc.sum(pc.list_flatten(table.column(f"{DATA}_row_groups"))).as_py() or 0)
