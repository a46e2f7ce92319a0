"""A compact sorted set of keys: 16 bytes a key, so 100 million keys take 1.6 GB."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

_PAIR = np.dtype([("high", ">u8"), ("low", ">u8")])


class KeySet:
    """A set of keys, stored as 128-bit hashes. Build it with `KeySet.of`, store it with `data`."""

    def __init__(self, data: bytes = b"") -> None:
        pairs = np.frombuffer(data, _PAIR)
        self._high = pairs["high"].astype(np.uint64)
        self._low = pairs["low"].astype(np.uint64)

    @staticmethod
    def of(keys: Iterable[str]) -> KeySet:
        """Return the set of these keys."""
        pairs = np.frombuffer(b"".join(map(_digest, keys)), _PAIR)
        return KeySet(np.unique(pairs).tobytes())

    @property
    def data(self) -> bytes:
        """Return the set as bytes, which `KeySet(data)` reads."""
        pairs = np.empty(len(self), _PAIR)
        pairs["high"], pairs["low"] = self._high, self._low
        return pairs.tobytes()

    def __len__(self) -> int:
        return len(self._high)

    def __contains__(self, key: str) -> bool:
        high, low = np.frombuffer(_digest(key), _PAIR)[0]
        start = int(np.searchsorted(self._high, np.uint64(high)))
        while start < len(self._high) and self._high[start] == high:
            if self._low[start] == low:
                return True
            start += 1
        return False


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=16).digest()
