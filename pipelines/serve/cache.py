"""A cache bounded in bytes that makes each value once, however many threads ask for it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar

Value = TypeVar("Value")


class Cache:
    """Keeps the most recently used values, of at most `most_bytes` together."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._made: dict[Hashable, Future[Any]] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of the values that are kept."""
        return self._bytes

    def get(
        self, key: Hashable, make: Callable[[], Value], nbytes: Callable[[Value], int]
    ) -> Value:
        """Return the value of a key, made by `make` unless it is kept; raises what `make` raises.

        Threads that ask for a value that is being made wait for it. A value of more than
        `most_bytes` is not kept.
        """
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                kept: Value = self._values[key][0]
                return kept
            waiting = self._made.get(key)
            if waiting is None:
                mine: Future[Any] = Future()
                self._made[key] = mine
        if waiting is not None:
            others: Value = waiting.result()
            return others
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._made[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._made[key]
            self._keep(key, value, nbytes(value))
        mine.set_result(value)
        return value

    def _keep(self, key: Hashable, value: Any, size: int) -> None:
        if size > self._most_bytes:
            return
        self._values[key] = value, size
        self._bytes += size
        while self._bytes > self._most_bytes:
            _, (_, freed) = self._values.popitem(last=False)
            self._bytes -= freed
