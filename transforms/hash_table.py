"""A compact table under texts: 16 bytes a row for the hash of its text, and 4 for each column."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

_PAIR = np.dtype([("high", "<u8"), ("low", "<u8")])


class HashTable:
    """Rows of 32-bit values, found by the 128-bit hash of a text; a text may have several rows.

    Create it for a number of rows, `append` them in batches, `sort` it, then use `in` and `find`.
    Different texts have equal hashes once in 2^128 pairs, which is taken for never.
    """

    def __init__(self, rows: int, columns: Sequence[str] = ()) -> None:
        self._arrays = {name: np.zeros(rows, np.uint64) for name in ("high", "low")}
        self._arrays |= {name: np.zeros(rows, np.uint32) for name in columns}
        self._filled = 0

    @staticmethod
    def of(texts: Iterable[str]) -> HashTable:
        """Return a table without columns: the set of these texts."""
        texts = sorted(set(texts))
        table = HashTable(len(texts))
        table.append(texts)
        table.sort()
        return table

    @staticmethod
    def from_arrays(arrays: Mapping[str, np.ndarray]) -> HashTable:
        """Return the table of the arrays that `arrays` returned."""
        table = HashTable(0)
        table._arrays = dict(arrays)
        table._filled = len(arrays["high"])
        return table

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """The table as arrays by name, each [rows]: `high` and `low` uint64, columns uint32."""
        return {name: array[: self._filled] for name, array in self._arrays.items()}

    @property
    def memory(self) -> int:
        """Memory of the table in bytes."""
        return sum(array.nbytes for array in self._arrays.values())

    def __len__(self) -> int:
        return self._filled

    def append(self, texts: Sequence[str], **columns: Sequence[int] | np.ndarray) -> None:
        """Add one row for each text. ValueError for more rows than the table was made for."""
        stop = self._filled + len(texts)
        pairs = np.frombuffer(b"".join(map(_digest, texts)), _PAIR)
        for name, values in {"high": pairs["high"], "low": pairs["low"], **columns}.items():
            self._arrays[name][self._filled : stop] = values
        self._filled = stop

    def sort(self) -> None:
        """Sort the rows, column by column, so that little memory is needed besides the table."""
        order = np.argsort(self._arrays["high"][: self._filled], kind="stable")
        for array in self._arrays.values():
            array[: self._filled] = array[: self._filled][order]

    def __contains__(self, text: str) -> bool:
        return bool(len(self._places(text)))

    def find(self, text: str) -> dict[str, np.ndarray]:
        """Return the columns, uint32 [number of rows of the text], by name."""
        places = self._places(text)
        columns = self._arrays.items()
        return {name: array[places] for name, array in columns if name not in ("high", "low")}

    def _places(self, text: str) -> np.ndarray:
        pair = np.frombuffer(_digest(text), _PAIR)[0]
        high = self._arrays["high"][: self._filled]
        start, stop = (int(np.searchsorted(high, pair["high"], side)) for side in ("left", "right"))
        return start + np.flatnonzero(self._arrays["low"][start:stop] == pair["low"])


def packed_array(array: np.ndarray) -> bytes:
    """Return the bytes of a file that holds an array."""
    sink = io.BytesIO()
    np.lib.format.write_array(sink, array, allow_pickle=False)
    return sink.getvalue()


def unpacked_array(data: bytes) -> np.ndarray:
    """Return the array of a file that `packed_array` made."""
    found: np.ndarray = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    return found


def short_hashes(texts: Iterable[str]) -> np.ndarray:
    """Return 32-bit hashes of some texts, uint32 [number of texts]."""
    digests = (hashlib.blake2b(_encoded(text), digest_size=4).digest() for text in texts)
    return np.frombuffer(b"".join(digests), "<u4")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(_encoded(text), digest_size=16).digest()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
