"""Set-up of the tests that read archives with worker processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def workers_start_in_a_fresh_process() -> Iterator[None]:
    """Starts workers of data loaders from a server without threads, as Python 3.14 does.

    This process has threads of other tests (gRPC, DuckDB, polars). A fork that comes while one of
    them holds a lock waits for ever. Tests of the fork itself ask for it by name.
    """
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_forkserver_preload(["underpaint.codec.archive.torch.dataset"])
    multiprocessing.set_start_method("forkserver", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)
