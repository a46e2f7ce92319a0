"""A compact table under texts: 16 bytes a row for the hash of its text, and 4 for each column.

`HashTableBuilder` sorts rows in bounded memory: what exceeds it goes to a temporary file in sorted
runs, which are merged to one more temporary file. A table that was merged or loaded is mapped from
its file, so that the system holds as much of it in memory as there is room for.

    append ──> rows in memory ──sort──> runs in a file ──merge──> HashTable ──store──> NAME.high …
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import BinaryIO, TypeVar, cast

import numpy as np

from underpaint.codec.storage.files import Storage

HELD_ROWS = 1 << 21
"""Rows of a table that are sorted in memory: 32 MB, and 8 MB more for each column."""

BATCH = 1 << 12
"""Texts or dead letters that are hashed together."""

COPIED_BYTES = 64 << 20
"""Bytes of a file that are copied at once."""

T = TypeVar("T")

_PAIR = np.dtype([("high", "<u8"), ("low", "<u8")])


class HashTable:
    """Rows of 32-bit values, found by the 128-bit hash of a text; a text may have several rows.

    Different texts have equal hashes once in 2^128 pairs, which is taken for never.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray] | None = None) -> None:
        """Take arrays by name, each [rows], sorted by `high`; None: an empty table."""
        self.arrays = dict(arrays or _empty(()))
        """`high` and `low` uint64, columns uint32."""

    @staticmethod
    def of(texts: Iterable[str]) -> HashTable:
        """Return a table without columns: the set of these texts."""
        builder = HashTableBuilder()
        for batch in batches(texts):
            builder.append(batch)
        return builder.table()

    def __len__(self) -> int:
        return len(self.arrays["high"])

    def __contains__(self, text: str) -> bool:
        return bool(len(self._places(text)))

    def find(self, text: str) -> dict[str, np.ndarray]:
        """Return the columns, uint32 [number of rows of the text], by name."""
        places = self._places(text)
        columns = self.arrays.items()
        return {name: array[places] for name, array in columns if name not in ("high", "low")}

    def store(self, storage: Storage, name: str) -> None:
        """Write the arrays to files in NumPy's format: see `files`."""
        for column, array in self.arrays.items():
            file = f"{name}.{column}"
            with storage.scratch(file) as local:
                with open(local, "wb") as sink:
                    np.lib.format.write_array(sink, array, allow_pickle=False)
                storage.put_file(file, local)

    @staticmethod
    def load(storage: Storage, name: str, columns: Sequence[str] = ()) -> HashTable:
        """Return what `store` wrote, mapped from the files: from local copies if they are remote.

        Raises FileNotFoundError if there is none.
        """
        return HashTable({c: _mapped(storage, f"{name}.{c}") for c in _empty(columns)})

    @staticmethod
    def files(name: str, columns: Sequence[str] = ()) -> list[str]:
        """Return the names of the files that `store` writes."""
        return [f"{name}.{column}" for column in _empty(columns)]

    def _places(self, text: str) -> np.ndarray:
        pair = np.frombuffer(_digest(text), _PAIR)[0]
        high = self.arrays["high"]
        start, stop = (int(np.searchsorted(high, pair["high"], side)) for side in ("left", "right"))
        return start + np.flatnonzero(self.arrays["low"][start:stop] == pair["low"])


class HashTableBuilder:
    """Collects rows for a HashTable; at most `held_rows` of them are in memory at a time."""

    def __init__(self, columns: Sequence[str] = (), held_rows: int = HELD_ROWS) -> None:
        self._columns = tuple(columns)
        self._most = held_rows
        self._held: list[dict[str, np.ndarray]] = []
        self._count = 0
        self._file: BinaryIO | None = None
        self._runs: list[tuple[int, int]] = []
        """Offset in the file, and number of rows, of each sorted run: array after array."""

    def append(self, texts: Sequence[str], **columns: Sequence[int] | np.ndarray) -> None:
        """Add one row for each text. ValueError for a column of another length."""
        pairs = np.frombuffer(b"".join(map(_digest, texts)), _PAIR)
        rows = {"high": pairs["high"], "low": pairs["low"]}
        for name in self._columns:
            rows[name] = np.asarray(columns[name], np.uint32)
            if len(rows[name]) != len(texts):
                raise ValueError(f"{name}: {len(rows[name])} values for {len(texts)} texts")
        for start in range(0, len(texts), self._most):
            part = {name: array[start : start + self._most] for name, array in rows.items()}
            if self._count + len(part["high"]) > self._most:
                self._spill()
            self._held.append(part)
            self._count += len(part["high"])

    def table(self) -> HashTable:
        """Return the table of all rows; the builder is empty then."""
        if not self._runs:
            return HashTable(self._sorted())
        self._spill()
        merged = self._merged()
        self._file, self._runs = None, []
        return HashTable(merged)

    def _sorted(self) -> dict[str, np.ndarray]:
        """Return the rows in memory, sorted, and forget them."""
        held, self._held, self._count = self._held, [], 0
        return _sorted(held, self._columns)

    def _spill(self) -> None:
        """Move the rows in memory to the file, as one more run."""
        if self._count:
            if self._file is None:
                self._file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115
            start = self._file.seek(0, 2)
            rows = self._sorted()
            self._runs.append((start, len(rows["high"])))
            for array in rows.values():
                self._file.write(array.tobytes())

    def _merged(self) -> dict[str, np.ndarray]:
        """Merge the runs, one range of hashes after another, to arrays in a file."""
        assert self._file
        self._file.flush()
        runs = [self._run(self._file, *run) for run in self._runs]
        total = sum(count for _, count in self._runs)
        parts = 1 << (2 * total // self._most).bit_length()  # at most half full on average
        edges = [part * (1 << 64) // parts for part in range(1, parts)]
        cuts = [
            [
                0,
                *np.searchsorted(run["high"], np.array(edges, np.uint64)).tolist(),
                len(run["high"]),
            ]
            for run in runs
        ]
        merged = _file_arrays(total, self._columns)
        done = 0
        for part in range(parts):
            rows = [
                {name: array[cut[part] : cut[part + 1]] for name, array in run.items()}
                for run, cut in zip(runs, cuts, strict=True)
            ]
            found = _sorted(rows, self._columns)
            stop = done + len(found["high"])
            for name, array in found.items():
                merged[name][done:stop] = array
            done = stop
        return merged

    def _run(self, file: BinaryIO, start: int, count: int) -> dict[str, np.ndarray]:
        """Map the arrays of a run."""
        arrays = {}
        for name, empty in _empty(self._columns).items():
            arrays[name] = np.asarray(np.memmap(file, empty.dtype, "r", start, (count,)))
            start += count * empty.itemsize
        return arrays


def batches(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """Yield items in lists of `size`; the last one may be shorter."""
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch


def short_hashes(texts: Iterable[str]) -> np.ndarray:
    """Return 32-bit hashes of some texts, uint32 [number of texts]."""
    digests = (hashlib.blake2b(_encoded(text), digest_size=4).digest() for text in texts)
    return np.frombuffer(b"".join(digests), "<u4")


def _empty(columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the arrays of a table without rows."""
    pair = {name: np.zeros(0, np.uint64) for name in ("high", "low")}
    return pair | {name: np.zeros(0, np.uint32) for name in columns}


def _sorted(
    parts: Sequence[Mapping[str, np.ndarray]], columns: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the rows of several parts, sorted; column by column, which takes little memory."""
    joined = {
        name: np.concatenate([empty, *(part[name] for part in parts)])
        for name, empty in _empty(columns).items()
    }
    order = np.argsort(joined["high"], kind="stable")
    for name, array in joined.items():
        joined[name] = array[order]
    return joined


def _file_arrays(rows: int, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Return arrays to be filled, in a temporary file that lasts as long as they do."""
    arrays: dict[str, np.ndarray] = {}
    start = 0
    with tempfile.TemporaryFile() as file:
        for name, empty in _empty(columns).items():
            arrays[name] = np.memmap(file, empty.dtype, "r+", start, (rows,))
            start += rows * empty.itemsize
    return arrays


def _mapped(storage: Storage, name: str) -> np.ndarray:
    """Return the array of a file, mapped."""
    with _opened(storage, name) as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if not shape[0]:
            return np.zeros(0, dtype)
        return np.asarray(np.memmap(file, dtype, "r", file.tell(), shape))


def _opened(storage: Storage, name: str) -> BinaryIO:
    """Return a file of the archive, or a local copy of it."""
    if storage.is_local:
        return open(storage.path(name), "rb")
    copy = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115
    size = storage.size(name)
    for start in range(0, size, COPIED_BYTES):
        copy.write(storage.read_range(name, start, min(start + COPIED_BYTES, size)))
    copy.seek(0)
    return copy


def _digest(text: str) -> bytes:
    return hashlib.blake2b(_encoded(text), digest_size=16).digest()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
