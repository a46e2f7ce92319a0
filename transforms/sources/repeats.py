"""Tells which files the inputs of a run list more than once: by name, by a glob, in a folder.

The first of them is read; each other one is counted as `LISTED_TWICE`. A file that is named is the
one that is read, wherever it stands among the inputs, because a name makes any file an input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from underpaint.transforms.records import short_hash
from underpaint.transforms.sources.addresses import parents


class Repeats:
    """The files listed so far, of inputs that can have some in common: 8 bytes of hash for each."""

    def __init__(
        self, folders: Iterable[str], left_out: Iterable[str], named: Iterable[str]
    ) -> None:
        """Compare inputs.

        Args:
            folders: address of the folder of each input that is listed.
            left_out: addresses of folders that are not listed, because another one holds them.
            named: addresses of the files that are named.
        """
        counts = Counter(folders)
        above = {parent for folder in counts for parent in parents(folder)}
        self._shared = {
            folder
            for folder, count in counts.items()
            if count > 1 or folder in above or any(parent in counts for parent in parents(folder))
        }
        self._left_out = Counter(left_out)
        self._named = frozenset(named)
        self._seen: set[int] = set()

    def before(self, folder: str, uri: str, skipped: str, *, named: bool) -> bool:
        """Return whether a file of the input of this folder was listed before, or will be by name.

        A file that one input skips for a reason of its own is another file to the others.
        """
        if not named and not skipped and uri in self._named:
            return True
        if not named and folder not in self._shared:
            return False
        mark = int(short_hash(f"{uri}\n{skipped}", 16), 16)
        if mark in self._seen:
            return True
        self._seen.add(mark)
        return False

    def again(self, uri: str) -> int:
        """Return how many of the folders that were left out hold this file."""
        return sum(self._left_out[parent] for parent in parents(uri)) if self._left_out else 0
