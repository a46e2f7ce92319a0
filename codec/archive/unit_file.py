"""Reads and writes the file that holds the columns of all units: `units/H.parquet`.

    manifest.json ── SHA-256 ─> digests, a text in the file's footer ── SHA-256 ─> each column of
                                                                       each block of units

So a reader can check the columns that it reads without reading the others. The digests are of
values and not of Parquet's bytes: two libraries that write the same units give them the same name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from underpaint.codec import limits
from underpaint.codec.archive.label_columns import Named
from underpaint.codec.archive.parquet.footer import ARROW_ERRORS, Footer, first_line, parse_footer
from underpaint.codec.archive.parquet.ranges import ChunkFile, coalesce
from underpaint.codec.archive.parquet.unpacking import check_unpacked
from underpaint.codec.archive.records import UNITS, Shared
from underpaint.codec.archive.unit_columns import SCHEMA, check_column, digest
from underpaint.codec.archive.units import BLOCK_UNITS, Units
from underpaint.codec.errors import ArchiveDamaged
from underpaint.codec.storage.files import Storage

DIGESTS = "underpaint.digests"
"""Key, among the footer's metadata, of the text with the digests of all columns and blocks."""

WHOLE_UNITS = 4096
"""A file of up to this many units (about 2 MB) is read in one request and checked at once."""

TAIL_BYTES = 1 << 16
"""Bytes at the end of a longer file that are read first: most footers fit."""

_TEXTS = ("failures", "skipped", "roots", "retries", "replaces.list.element", "labels")


class UnitFile:
    """The stored columns of `count` units, whose digests have the SHA-256 `sha256`.

    It can be pickled, with its bytes if they were read whole. Raises ArchiveDamaged, also if the
    file is missing.
    """

    def __init__(
        self, storage: Storage, count: int, sha256: str, shared: Shared, label_sets: Sequence[Named]
    ) -> None:
        self.count = count
        self.where = f"{storage.root}/{file_name(sha256)}"
        self.name = file_name(sha256)
        self._storage, self._sha256 = storage, sha256
        self._shared, self._label_sets = shared, len(label_sets)
        self._opened: tuple[Footer, int, dict[str, list[str]]] | None = None
        self._whole: bytes | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def open(self) -> None:
        """Read the digests; ArchiveDamaged if they are not those of the manifest."""
        self._open()

    def check(self) -> None:
        """Read and check everything, block by block."""
        for block in range(-(-self.count // BLOCK_UNITS)):
            self.read(block, SCHEMA.names)

    def read(self, block: int, names: Sequence[str]) -> pa.Table:
        """Return columns of a block, after their digests and values are checked."""
        footer, size, digests = self._open()
        group = footer.groups[block]
        chunks = {
            path: place for path, place in group.chunks.items() if path.partition(".")[0] in names
        }
        if self._whole is not None:
            parts = [(0, self._whole)]
        else:
            parts = [(start, self._fetch(start, stop)) for start, stop in coalesce(chunks.values())]
        file = ChunkFile(size, parts)
        try:
            for path, (start, stop) in chunks.items():
                file.seek(start)
                check_unpacked(file.read(stop - start), *group.kinds[path])
            file.seek(0)
            parquet = pq.ParquetFile(
                pa.PythonFile(file, mode="r"),
                metadata=footer.metadata,
                pre_buffer=False,
                page_checksum_verification=True,
            )
            table = parquet.read_row_group(block, columns=list(names), use_threads=False)
            table = table.select(names).cast(pa.schema([SCHEMA.field(name) for name in names]))
            table.validate(full=True)
            for name, column in zip(names, table.columns, strict=True):
                if digest(column) != digests[name][block]:
                    raise ValueError(f"column {name}: the values do not match their checksum")
                check_column(name, column, self._shared, self._label_sets)
        except (*ARROW_ERRORS, KeyError, ArchiveDamaged) as error:
            raise ArchiveDamaged(f"{self.where}: block {block}: {first_line(error)}") from None
        return table

    def _open(self) -> tuple[Footer, int, dict[str, list[str]]]:
        """Return the footer, the length of the file, and the digests of each column by block."""
        if self._opened is None:
            try:
                self._opened = self._parsed()
            except FileNotFoundError:
                raise ArchiveDamaged(
                    f"{self.where}: the file is missing; if the archive was published since it was "
                    "opened, open it again"
                ) from None
            except ArchiveDamaged as error:
                raise ArchiveDamaged(f"{self.where}: {error}") from None
        return self._opened

    def _parsed(self) -> tuple[Footer, int, dict[str, list[str]]]:
        if self.count <= WHOLE_UNITS:
            self._whole = tail = self._whole or self._storage.read(self.name)
            size = len(tail)
        else:
            size = self._storage.size(self.name)
            tail = self._storage.read_range(self.name, max(0, size - TAIL_BYTES), size)
        length = 8 + int.from_bytes(tail[-8:-4], "little")
        if not 12 <= length <= min(size, limits.MAX_FOOTER_BYTES):
            raise ArchiveDamaged("cut, or no Parquet file: it has no footer")
        if length > len(tail):
            tail = self._storage.read_range(self.name, size - length, size)
        footer = parse_footer(tail[-length:])
        rows = [group.rows for group in footer.groups]
        text = (footer.metadata.metadata or {}).get(DIGESTS.encode(), b"")
        if hashlib.sha256(text).hexdigest() != self._sha256:
            raise ArchiveDamaged("the digests of its columns are not those that the manifest names")
        names, *blocks = (line.split(" ") for line in text.decode().splitlines())
        if rows != block_lengths(self.count) or len(blocks) != len(rows):
            raise ArchiveDamaged(f"blocks of {rows} units, {self.count} units in the manifest")
        if missing := set(SCHEMA.names) - set(names):
            raise ArchiveDamaged(f"no column {min(missing)!r}")
        return (
            footer,
            size,
            {name: [block[at] for block in blocks] for at, name in enumerate(names)},
        )

    def _fetch(self, start: int, stop: int) -> bytes:
        try:
            data = self._storage.read_range(self.name, start, stop)
        except FileNotFoundError:
            data = b""
        if len(data) != stop - start:
            raise ArchiveDamaged(f"{self.where}: cut or missing")
        return data


def block_lengths(count: int) -> list[int]:
    """Return the number of units of each block."""
    return [min(BLOCK_UNITS, count - start) for start in range(0, count, BLOCK_UNITS)]


def file_name(sha256: str) -> str:
    """Return the name of the file whose digests have this SHA-256 in hex."""
    return f"{UNITS}/{sha256[:16]}.parquet"


def write_units(storage: Storage, units: Units) -> str:
    """Write the columns of some units; return the SHA-256 of their digests, which names the file.

    A sound file of that name stays as it is.
    """
    digests = [" ".join(SCHEMA.names)]
    with storage.scratch(f"{UNITS}/units") as scratch:
        with pq.ParquetWriter(
            scratch,
            SCHEMA,
            version="2.6",
            data_page_version="1.0",
            compression="zstd",
            use_dictionary=list(_TEXTS),
            write_statistics=False,
            write_page_checksum=True,
        ) as writer:
            for table in units.tables():
                digests.append(" ".join(digest(column) for column in table.columns))
                writer.write_table(table, row_group_size=BLOCK_UNITS)
            text = "".join(f"{line}\n" for line in digests)
            writer.add_key_value_metadata({DIGESTS: text})
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        try:
            UnitFile(storage, len(units), sha256, units.shared, units.label_sets).check()
        except ArchiveDamaged:
            storage.put_file(file_name(sha256), scratch)
    return sha256
