"""The inputs that an archive holds, in tables of hashes: 44 bytes of disk a row.

A picture is known by its source URI. The row under it has a stamp of the source's size and version
and the beginning of its SHA-256, so that a changed source is noticed: with hashes of 32 bits, one
change in 4 billion is overlooked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from underpaint.codec.archive import Archive, DeadLetter
from underpaint.codec.storage.files import Storage
from underpaint.transforms.hash_table import HashTable, HashTableBuilder, batches, short_hashes
from underpaint.transforms.sources.addresses import archive_chain, as_stored

ROW_COLUMNS = ("key", "stamp", "digest")

_TABLES: dict[str, tuple[str, ...]] = {"keys": (), "rows": ROW_COLUMNS, "letters": (), "kept": ()}
"""Columns of each table."""


@dataclass(frozen=True)
class Held:
    """The inputs that an archive holds."""

    keys: HashTable = field(default_factory=HashTable)
    """Keys of rows and dead letters."""
    rows: HashTable = field(default_factory=HashTable)
    """Rows by source URI, with hashes of their key, of size and version, and of the content."""
    letters: HashTable = field(default_factory=HashTable)
    """Dead letters by URI, by key and URI, and by URI and message."""
    kept: HashTable = field(default_factory=HashTable)
    """Keys of rows whose sources are among the inputs of the run, if that was asked for."""

    @staticmethod
    def of(archive: Archive, inputs: HashTable | None = None) -> Held:
        """Read an archive, one row group at a time, in bounded memory: see `HashTableBuilder`.

        Args:
            inputs: URIs of the run's files, for `kept`; None: it stays empty.
        """
        builders = {name: HashTableBuilder(columns) for name, columns in _TABLES.items()}
        names = ["key", "source_uri", "source_bytes", "source_version", "source_sha256"]
        for group in archive.row_groups(names):
            key, uri, size, version, digest = (
                group.table.column(name).to_pylist() for name in names
            )
            builders["keys"].append(key)
            builders["rows"].append(
                uri,
                key=short_hashes(key),
                stamp=short_hashes(map(_stamp, size, version)),
                digest=np.array([_beginning(value) for value in digest], np.uint32),
            )
            if inputs is not None:
                kept = [k for k, u in zip(key, uri, strict=True) if _file_of(u) in inputs]
                builders["kept"].append(kept)
        for letters in batches(archive.dead_letters()):
            builders["keys"].append([letter.key for letter in letters])
            builders["letters"].append([text for letter in letters for text in _texts_of(letter)])
        return Held(**{name: builder.table() for name, builder in builders.items()})

    def store(self, storage: Storage, folder: str) -> None:
        """Write the tables below a folder of the archive."""
        for name in _TABLES:
            getattr(self, name).store(storage, _file(folder, name))

    @staticmethod
    def load(storage: Storage, folder: str) -> Held:
        """Read what `store` wrote."""
        tables = _TABLES.items()
        return Held(**{n: HashTable.load(storage, _file(folder, n), c) for n, c in tables})

    @staticmethod
    def files(folder: str) -> list[str]:
        """Return the names of the files that `store` writes."""
        tables = _TABLES.items()
        return [file for n, c in tables for file in HashTable.files(_file(folder, n), c)]

    def has_source(self, uri: str) -> bool:
        """Return whether a row has this source."""
        return uri in self.rows

    def has_row(self, key: str, uri: str) -> bool:
        """Return whether there is a row of this key and source."""
        return bool(np.isin(short_hashes([key]), self.rows.find(uri)["key"]).any())

    def has_stamp(self, uri: str, size: int, version: str) -> bool:
        """Return whether a row of this source was made from a file of this size and version.

        A row whose version is unknown stands for all versions.
        """
        stamps = short_hashes([_stamp(size, version or None), _stamp(size, None)])
        return bool(np.isin(stamps, self.rows.find(uri)["stamp"]).any())

    def has_content(self, uri: str, sha256: bytes) -> bool:
        """Return whether a row of this source was made from a file of this SHA-256."""
        return bool((self.rows.find(uri)["digest"] == _beginning(sha256)).any())


def keys_of_sources(archive: Archive, uris: Sequence[str]) -> dict[str, str]:
    """Return the key of the first row of each of these sources; no layer is read."""
    found: dict[str, str] = {}
    wanted = pa.array(sorted(set(uris)), pa.string())
    for group in archive.row_groups(["key", "source_uri"]) if len(wanted) else ():
        hit = group.table.filter(pc.is_in(group.table.column("source_uri"), value_set=wanted))
        for key, uri in zip(*(column.to_pylist() for column in hit.columns), strict=True):
            found.setdefault(uri, key)
    return found


def inputs_table(uris: Iterable[str]) -> HashTable:
    """Return the set of the files of a run, for `Held.of`."""
    return HashTable.of(_file_of(as_stored(uri)) for uri in uris)


def joined(*parts: str) -> str:
    """Return several texts as one."""
    return "\n".join(parts)


def _file_of(uri: str) -> str:
    """Return the file that holds a record: the shard of a member, else the URI itself."""
    chain = archive_chain(uri)
    return chain[2] if chain else uri.rpartition("#")[0] or uri


def _stamp(size: int, version: str | None) -> str:
    return f"{size}\n{version or ''}"


def _beginning(sha256: bytes | None) -> int:
    return int.from_bytes((sha256 or b"")[:4], "little")


def _texts_of(letter: DeadLetter) -> tuple[str, str, str]:
    """Return the texts by which a dead letter is found."""
    uri = letter.source_uri
    return uri, joined(letter.key, uri), joined(uri, letter.message)


def _file(folder: str, table: str) -> str:
    return f"{folder}/held.{table}"
