"""ArchiveWriter: writes one work unit and commits it completely or not at all."""

from __future__ import annotations

import hashlib
import os
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple, replace
from types import MappingProxyType, TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from underpaint.codec.archive.commits import read_commit
from underpaint.codec.archive.label_columns import conformed, joined_schema, names_of
from underpaint.codec.archive.layer_columns import FULL, layer_column
from underpaint.codec.archive.parquet.file_writer import FileWriter
from underpaint.codec.archive.record_json import encode_commit
from underpaint.codec.archive.records import (
    COMMITS,
    DATA,
    FAILED,
    METADATA,
    Commit,
    FileEntry,
    check_unit,
)
from underpaint.codec.archive.rows import DeadLetter, Row, check_key, printable
from underpaint.codec.archive.schema import (
    BLOB_BYTES,
    DEAD_LETTER_SCHEMA,
    Columns,
    is_blob,
    stored_schema,
    with_blob_bytes,
)
from underpaint.codec.archive.tables import rows_of, table
from underpaint.codec.arguments import as_names
from underpaint.codec.errors import DuplicateKey, RowInvalid, UnitConflict, UsageError
from underpaint.codec.storage.files import Storage
from underpaint.codec.storage.redaction import redacted

ROW_GROUP_BYTES = 2 << 20
"""Default size of a row group in bytes of layer 1."""

ROW_GROUP_LIMIT = 64 << 20
"""Default limit on the bytes of all layers in one row group; it bounds the writer's memory."""

CHUNK_BYTES = 1 << 20
"""Bytes of blobs that are copied to Arrow's memory together, to wait there for their row group.

Held one by one, they would lie between the arrays of the codec that makes them and would keep the
memory of those arrays from being returned to the system.
"""


class ArchiveWriter:
    """Writes one work unit: a data file, a file of dead letters and the commit record.

        with ArchiveWriter(root, "photos-00017", layers=codec.layer_names,
                           weights_id=codec.weights_id) as writer:
            writer.add(Row(...))            # RowInvalid / DuplicateKey: this row is not written
            writer.fail(DeadLetter(...))
        writer.commit                        # the Commit that counts
        publish(root)                        # once, after all units

    `root` is a local path or an fsspec URL. Nothing counts before the end of the `with` block. An
    exception inside leaves no file (on object stores and after SIGKILL possibly orphans, see
    `sweep`). The commit record is written last, and only if the unit has none yet: committing the
    same content again changes nothing; other content raises UnitConflict, whose `commit` is the one
    that stands.

    Keys are unique in a unit (DuplicateKey). Where two units hold rows of one key, `publish` makes
    the keys unique.

    Args:
        unit: name derived from the inputs, 1 to 160 of `A-Z a-z 0-9 . _ = + @ -`.
        layers: names of the layers, coarsest first.
        sizes: short sides in pixels that layers were cut for, smallest first, and FULL; each has
            columns of its own. (FULL,): one column a layer, however it was cut.
        label_schema: Arrow fields of the label columns; `widen_labels` adds more.
        embedding_size: length of each row's embedding; None: no such column.
        extractor: identity of the extractor (`Extractor.identity`).
        keep_source: whether rows hold the source bytes.
        row_group_bytes: a row group is closed when its layer 1 has this many bytes …
        row_group_limit: … or all its blobs do. The writer's memory is about this, plus two rows.
        retries: unit that this unit retries; its dead letters and skipped inputs no longer count.
        replaces: units whose rows this unit holds instead; their rows no longer count.
        generation: number of the run, greater than those of the units that the run found.
        supersedes: whether rows replace those of the same key in units of a lower generation.
        metadata: what rows hold about how a picture was taken: "basic", "exif" or "none".
        roots: input folders to remember, by address, with the prefixes of the keys of their files.
        options: options of the fsspec file system.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        unit: str,
        *,
        layers: Sequence[str],
        weights_id: str,
        sizes: Sequence[int] = (FULL,),
        label_schema: pa.Schema | None = None,
        embedding_size: int | None = None,
        extractor: str | None = None,
        keep_source: bool = False,
        row_group_bytes: int = ROW_GROUP_BYTES,
        row_group_limit: int = ROW_GROUP_LIMIT,
        retries: str | None = None,
        replaces: Sequence[str] = (),
        generation: int = 0,
        supersedes: bool = False,
        metadata: str = "none",
        roots: Mapping[str, str] = MappingProxyType({}),
        options: Mapping[str, Any] | None = None,
    ) -> None:
        labels = label_schema if label_schema is not None else pa.schema([])
        self.unit = check_unit(unit)
        columns = Columns(
            as_names("layers", layers), labels, embedding_size, keep_source, tuple(sizes)
        )
        self.weights_id = weights_id
        self._extractor = extractor
        self.commit: Commit | None = None
        self._retries = check_unit(retries) if retries is not None else None
        self._replaces = tuple(map(check_unit, as_names("replaces", replaces)))
        self._generation, self._supersedes = generation, supersedes
        if metadata not in METADATA:
            raise UsageError(f"metadata {metadata!r}: choose {', '.join(METADATA)}")
        self._metadata = metadata
        self._roots = dict(sorted(roots.items()))
        self._set_columns(columns)
        self._row_group_bytes, self._row_group_limit = row_group_bytes, row_group_limit
        self._storage = Storage(root, options)
        self._content = hashlib.sha256()
        self._seen: set[bytes] = set()
        self._rows: list[tuple[Any, ...]] = []
        self._chunks: list[pa.Table] = []
        self._letters: list[DeadLetter] = []
        self._skipped: Counter[str] = Counter()
        self._coarse = self._total = self._loose = 0
        self._column_bytes = dict.fromkeys(self.columns.layer_columns, 0)
        self._pixels = self._source_bytes = 0
        self._first_key: str | None = None
        self._last_key: str | None = None
        self._exit = ExitStack()
        self._data: FileWriter | None = None

    @classmethod
    def like(
        cls,
        root: str | os.PathLike[str],
        commit: Commit,
        labels: pa.Schema,
        *,
        layers: int | None = None,
        sizes: Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> ArchiveWriter:
        """Return the writer of a copy of a unit with its coarsest `layers` layers (None: all).

        `sizes` are those of its sizes that are copied (None: all). `labels` are the Arrow fields of
        its label columns.
        """
        return cls(
            root,
            commit.unit,
            layers=commit.layer_names[:layers],
            weights_id=commit.weights_id,
            sizes=commit.sizes if sizes is None else sizes,
            label_schema=labels,
            embedding_size=commit.embedding_size,
            extractor=commit.extractor,
            keep_source=commit.keeps_source,
            retries=commit.retries,
            replaces=commit.replaces,
            generation=commit.generation,
            supersedes=commit.supersedes,
            metadata=commit.metadata,
            roots=commit.roots,
            options=options,
        )

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._exit:
            if kind is None:
                self._finish()
            elif self._data:
                self._data.abandon()

    def widen_labels(self, labels: pa.Schema) -> None:
        """Add label columns, and give those that exist the type of `joined_type`.

        Rows that were added before have nulls in new columns. Raises UsageError for the name of
        another column.
        """
        joined = joined_schema([self.columns.labels, labels])
        if joined == self.columns.labels:
            return
        if self._rows:
            self._gather()
        self._set_columns(replace(self.columns, labels=joined))
        if self._chunks:
            self._chunks = [conformed(pa.concat_tables(self._chunks), self._schema)]
        if self._data:
            scratch = self._exit.enter_context(self._storage.scratch(f"{DATA}/{self.unit}"))
            self._data = self._data.continued(scratch, stored_schema(self._schema))

    def _set_columns(self, columns: Columns) -> None:
        self.columns = columns
        self._schema = columns.schema()
        self._blobs = [index for index, name in enumerate(self._schema.names) if is_blob(name)]
        names = columns.layer_columns
        self._layers_at = {self._schema.get_field_index(name): name for name in names}
        self._first_layer = min(self._layers_at)

    def add(self, row: Row) -> None:
        """Add one image. Raises RowInvalid or DuplicateKey; the writer continues without the
        row.
        """
        if row.metadata is not None and self._metadata == "none":
            raise RowInvalid(f"{row.key}: this archive holds no metadata")
        values = self.columns.values(row, self.weights_id)
        self._take_key(row.key)
        self._count(row)
        for index, name in self._layers_at.items():
            self._column_bytes[name] += len(values[index] or b"")
        self._rows.append(values)
        self._coarse += len(values[self._first_layer])
        size = sum(len(values[index] or b"") for index in self._blobs)
        self._total += size
        self._loose += size
        if self._coarse >= self._row_group_bytes or self._total >= self._row_group_limit:
            self._flush()
        elif self._loose >= CHUNK_BYTES:
            self._gather()

    def _count(self, row: Row) -> None:
        self._content.update(_row_content(row))
        self._pixels += row.width * row.height
        self._source_bytes += row.source_bytes
        self._first_key = min(self._first_key or row.key, row.key)
        self._last_key = max(self._last_key or row.key, row.key)

    def add_group(self, group: pa.Table) -> None:
        """Add the rows of another archive's row group as one row group, whatever its size.

        The columns must be those of this writer, in order, with or without `blob_bytes`. Types are
        not converted, so labels of any Arrow type stay unchanged. Raises RowInvalid or DuplicateKey
        before anything is added.
        """
        self._flush()
        if BLOB_BYTES in group.column_names:  # computed anew
            group = group.drop_columns(BLOB_BYTES)
        if not group.schema.equals(self._schema):
            raise RowInvalid(f"unit {self.unit!r}: a row group of other columns")
        keys = group.column("key").to_pylist()
        if len(set(keys)) != len(keys):
            raise DuplicateKey(f"unit {self.unit!r}: a key stands twice in one row group")
        for row in rows_of(group):
            self._take_key(row.key)
            self._count(row)
        for name in self._column_bytes:
            self._column_bytes[name] += pc.sum(pc.binary_length(group.column(name))).as_py() or 0
        self._write(group)

    def fail(self, letter: DeadLetter) -> None:
        """Add one input that did not become a row. Raises RowInvalid or DuplicateKey."""
        key, *texts = map(printable, astuple(letter))
        letter = DeadLetter(key, *map(redacted, texts))
        check_key(letter.key)
        self._take_key(letter.key)
        self._content.update(
            b"failed" + _packed(letter.key.encode(), letter.stage.encode(), letter.error.encode())
        )
        self._letters.append(letter)

    def skip(self, reason: str, count: int = 1) -> None:
        """Count inputs that are not pictures; `reason` is short: ".txt", "dot file"."""
        self._skipped[redacted(printable(reason))] += count

    def _take_key(self, key: str) -> None:
        digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
        if digest in self._seen:
            raise DuplicateKey(f"{key}: the key is already in unit {self.unit!r}")
        self._seen.add(digest)

    def _gather(self) -> None:
        self._chunks.append(table(self._schema, self._rows))
        self._rows, self._loose = [], 0

    def _flush(self) -> None:
        if self._rows:
            self._gather()
        if self._chunks:
            self._write(pa.concat_tables(self._chunks))
        self._chunks, self._coarse, self._total = [], 0, 0

    def _write(self, group: pa.Table) -> None:
        if self._data is None:
            scratch = self._exit.enter_context(self._storage.scratch(f"{DATA}/{self.unit}"))
            self._data = FileWriter(scratch, stored_schema(self._schema))
        self._data.write(with_blob_bytes(group))

    def _finish(self) -> None:
        self._flush()
        data = self._data.store(self._storage, f"{DATA}/{self.unit}") if self._data else None
        for reason, count in sorted(self._skipped.items()):
            self._content.update(b"skipped" + _packed(reason.encode(), str(count).encode()))
        for folder, prefix in self._roots.items():
            self._content.update(b"root" + _packed(folder.encode(), prefix.encode()))
        by_size = self._bytes_by_size()
        commit = Commit(
            unit=self.unit,
            weights_id=self.weights_id,
            layer_names=self.columns.layer_names,
            labels=names_of(self.columns.labels),
            embedding_size=self.columns.embedding_size,
            keeps_source=self.columns.keeps_source,
            content=self._content.hexdigest(),
            data=data,
            failed=self._store_letters(),
            pixels=self._pixels,
            source_bytes=self._source_bytes,
            layer_bytes=tuple(map(sum, zip(*by_size, strict=True))),
            sizes=self.columns.sizes,
            size_bytes=by_size if len(by_size) > 1 else (),
            failures=dict(Counter(f"{item.stage}: {item.error}" for item in self._letters)),
            skipped=dict(self._skipped),
            roots=self._roots,
            first_key=self._first_key,
            last_key=self._last_key,
            retries=self._retries,
            replaces=self._replaces,
            extractor=self._extractor,
            generation=self._generation,
            supersedes=self._supersedes,
            metadata=self._metadata,
        )
        self.commit = commit_once(self._storage, commit)

    def _bytes_by_size(self) -> tuple[tuple[int, ...], ...]:
        layers = range(len(self.columns.layer_names))
        return tuple(
            tuple(self._column_bytes[layer_column(layer, size)] for layer in layers)
            for size in self.columns.sizes
        )

    def _store_letters(self) -> FileEntry | None:
        if not self._letters:
            return None
        with self._storage.scratch(f"{FAILED}/{self.unit}") as scratch:
            file = FileWriter(scratch, DEAD_LETTER_SCHEMA)
            rows = [astuple(letter) for letter in self._letters]
            file.write(table(DEAD_LETTER_SCHEMA, rows))
            return file.store(self._storage, f"{FAILED}/{self.unit}")


def commit_once(storage: Storage, commit: Commit) -> Commit:
    """Write a commit record unless the unit has one; return the commit that counts.

    If the unit is already committed with equal content, its files count and the new ones are
    deleted. If its content differs, the new files are deleted and UnitConflict (`commit`: the one
    that stands) is raised.
    """
    if storage.put_new(f"{COMMITS}/{commit.unit}.json", encode_commit(commit)):
        return commit
    standing = read_commit(storage, commit.unit)
    kept = {entry.path for entry in (standing.data, standing.failed) if entry}
    for entry in (commit.data, commit.failed):
        if entry and entry.path not in kept:
            storage.delete(entry.path)
    if (standing.content, standing.shared) != (commit.content, commit.shared):
        raise UnitConflict(commit.unit, standing)
    return standing


def _packed(*parts: bytes) -> bytes:
    return b"".join(struct.pack("<Q", len(part)) + part for part in parts)


def _row_content(row: Row) -> bytes:
    """Return the part of a row that makes two commits equal: its key, its source and its layers."""
    return b"row" + _packed(row.key.encode(), bytes(row.source_sha256), *row.layers)
