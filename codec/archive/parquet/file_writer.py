"""Writes a Parquet file of an archive, hashing it on the way."""

from __future__ import annotations

import hashlib
import os
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from underpaint.codec.archive.label_columns import conformed
from underpaint.codec.archive.records import FileEntry
from underpaint.codec.archive.schema import parquet_settings
from underpaint.codec.errors import ArchiveError
from underpaint.codec.storage.files import Storage


class FileWriter:
    """A Parquet file that is being written to a local scratch file and hashed at the same time."""

    def __init__(self, scratch: str, schema: pa.Schema) -> None:
        self._path = scratch
        self._sink = _HashingSink(scratch)
        self._parquet = pq.ParquetWriter(self._sink, schema, **parquet_settings(schema))
        self._row_groups: list[int] = []

    def write(self, rows: pa.Table) -> None:
        """Append one row group."""
        self._parquet.write_table(rows, row_group_size=max(1, rows.num_rows))
        self._row_groups.append(rows.num_rows)

    def store(self, storage: Storage, stem: str) -> FileEntry:
        """Finish the file and store it under a name derived from its content."""
        self._parquet.close()
        self._sink.close()
        size = os.path.getsize(self._path)
        if size != self._sink.length:
            raise ArchiveError(f"{self._path}: {size} bytes on disk of {self._sink.length} written")
        with open(self._path, "rb") as file:
            file.seek(-8, os.SEEK_END)
            footer_bytes = int.from_bytes(file.read(4), "little") + 8
            file.seek(-footer_bytes, os.SEEK_END)
            footer_sha256 = hashlib.sha256(file.read()).hexdigest()
        digest = self._sink.digest.hexdigest()
        name = f"{stem}-{digest[:16]}.parquet"
        storage.put_file(name, self._path)
        return FileEntry(name, size, digest, footer_bytes, footer_sha256, tuple(self._row_groups))

    def continued(self, scratch: str, schema: pa.Schema) -> FileWriter:
        """Return a writer of another file that holds the row groups so far, with other labels.

        This writer is closed. `schema` differs from its schema in label columns only.
        """
        self.abandon()
        other = FileWriter(scratch, schema)
        with pq.ParquetFile(self._path, page_checksum_verification=True) as written:
            for group in range(written.num_row_groups):
                other.write(conformed(written.read_row_group(group, use_threads=False), schema))
        os.unlink(self._path)
        return other

    def abandon(self) -> None:
        """Close without storing."""
        self._parquet.close()
        self._sink.close()


class _HashingSink:
    """A write-only file object that hashes and counts the bytes."""

    def __init__(self, path: str) -> None:
        self._file: IO[bytes] = open(path, "wb")  # noqa: SIM115
        self.digest = hashlib.sha256()
        self.length = 0

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self.digest.update(view)
        self.length += view.nbytes
        self._file.write(view)
        return view.nbytes

    def tell(self) -> int:
        return self.length

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False
