"""Where the picture of a key goes: its folder and stem, in the format asked for, never outside."""

from __future__ import annotations

import posixpath

LONGEST_PART = 240
"""Bytes of one part of a path, so that a suffix still fits into the 255 of a file system."""


class OutputNames:
    """Gives each key of an archive, in order, a file name of its own below the output folder.

    The name is the key with the new suffix. Where that is taken by another key of the same stem,
    the name keeps the key's own suffix too: `a.jpg` and `a.png` become `a.png` and `a.png.png`.
    """

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._taken: set[str] = set()

    def name(self, key: str) -> str | None:
        """Relative path with `/`; None where the key would lead out of the folder or is no path."""
        parts = key.replace("\\", "/").split("/")
        drive = ":" in parts[0] and len(parts[0].split(":", 1)[0]) == 1
        if drive or any(part in ("", ".", "..") or "\0" in part for part in parts):
            return None
        if any(len(part.encode()) > LONGEST_PART for part in parts):
            return None
        path = "/".join(parts)
        stem = posixpath.splitext(path)[0]
        name = stem + self._suffix
        if self._folded(name) in self._taken:
            name = path + self._suffix
        number = 2
        while self._folded(name) in self._taken:
            name = f"{path}-{number}{self._suffix}"
            number += 1
        self._taken.add(self._folded(name))
        return name

    @staticmethod
    def _folded(name: str) -> str:
        """Names that some file systems hold for equal are equal here."""
        return name.casefold()
