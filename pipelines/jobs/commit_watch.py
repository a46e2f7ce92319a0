"""Progress of a job whose workers share no disk with the driver: the sum of its new commits."""

from __future__ import annotations

import time

from underpaint.codec.archive.commits import read_commit
from underpaint.codec.archive.records import COMMITS
from underpaint.codec.storage.files import Storage
from underpaint.transforms.progress import Counts
from underpaint.transforms.work_unit import counts_of

SECONDS_BETWEEN_LISTINGS = 10.0
"""Seconds between two listings of the commits."""


class CommitWatch:
    """Counts a job's new commits."""

    def __init__(self, storage: Storage, known: frozenset[str]) -> None:
        self._storage = storage
        self._seen = {f"{unit}.json" for unit in known}
        self._total = Counts()
        self._listed = 0.0

    def total(self) -> Counts:
        """Return the sum of the new commits so far; lists them at most every few seconds."""
        if time.monotonic() - self._listed >= SECONDS_BETWEEN_LISTINGS:
            names = [n for n in self._storage.file_names(COMMITS) if n.endswith(".json")]
            for name in set(names) - self._seen:
                self._total += counts_of(read_commit(self._storage, name.removesuffix(".json")))
                self._seen.add(name)
            self._listed = time.monotonic()
        return self._total
