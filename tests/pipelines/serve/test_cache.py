"""The cache of the gallery: bounded, and each value made once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from underpaint.pipelines.serve.cache import Cache


def test_the_least_recently_used_values_are_dropped() -> None:
    cache, made = Cache(100), []

    def get(key: int) -> int:
        return cache.get(key, lambda: made.append(key) or key, lambda _: 40)

    assert [get(key) for key in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 2]
    assert made == [1, 2, 3, 2]
    assert cache.nbytes == 80


def test_a_value_over_the_limit_is_not_kept() -> None:
    cache, made = Cache(100), []
    for _ in range(2):
        cache.get("long", lambda: made.append(1), lambda _: 101)
    assert len(made) == 2
    assert cache.nbytes == 0


def test_threads_share_one_making() -> None:
    cache, made, started, go = Cache(100), [], threading.Event(), threading.Event()

    def make() -> str:
        made.append(1)
        started.set()
        assert go.wait(60)
        return "value"

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(cache.get, "key", make, len)
        assert started.wait(60)
        others = [pool.submit(cache.get, "key", make, len) for _ in range(7)]
        go.set()
        assert {future.result() for future in [first, *others]} == {"value"}
    assert made == [1]


def test_an_error_reaches_all_who_wait_and_is_not_kept() -> None:
    cache = Cache(100)

    def fail() -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.get("key", fail, len)
    assert cache.get("key", lambda: "yes", len) == "yes"
