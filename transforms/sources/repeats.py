"""Tells which files the inputs of a run list more than once: by name, by a glob, in a folder.

The first of them is read; each other one is counted as `LISTED_TWICE`. A file that is named is the
one that is read, wherever it stands among the inputs, because a name makes any file an input. A
file that one input skips and another one reads is read: ask `before` about skipped ones last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from underpaint.transforms.records import short_hash
from underpaint.transforms.sources.addresses import parents


class Repeats:
    """The files listed so far, of inputs that can have some in common: 8 bytes of hash for each."""

    def __init__(
        self, folders: Iterable[str], left_out: Iterable[tuple[str, str]], named: Iterable[str]
    ) -> None:
        """Compare inputs.

        Args:
            folders: address of the folder of each input that is listed.
            left_out: folders that are not listed, because another one holds them: the address of
                that one, and their own.
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

    def possible(self, folder: str) -> bool:
        """Return whether another input can list files of the input of this folder."""
        return folder in self._shared

    def before(self, folder: str, uri: str, *, named: bool) -> bool:
        """Return whether a file of the input of this folder was listed before, or will be by name;
        without a folder, whatever the input is.
        """
        if not named and uri in self._named:
            return True
        if not named and folder and not self.possible(folder):
            return False
        mark = int(short_hash(uri, 16), 16)
        if mark in self._seen:
            return True
        self._seen.add(mark)
        return False

    def again(self, folder: str, uri: str) -> int:
        """Return how many of the folders that are left out for this one hold this file."""
        if not self._left_out:
            return 0
        return sum(self._left_out[folder, parent] for parent in parents(uri))
