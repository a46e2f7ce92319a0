"""File names of exported pictures: from a key to a path that never leaves the output folder."""

from __future__ import annotations

import posixpath

LONGEST_PART = 240
"""Most bytes of one part of a path, so that a suffix still fits into a file system's 255."""


def unusable(key: str) -> str:
    """Return why `OutputNames.name` finds no name for a key."""
    if any(len(part.encode()) > LONGEST_PART for part in key.replace("\\", "/").split("/")):
        return (
            f"a part of the key is longer than the {LONGEST_PART} bytes that a file name may have"
        )
    return "no path below the output folder"


class OutputNames:
    """Assigns each key of an archive, in order, its own file name below the output folder.

    The name is the key with the new suffix. If another key of the same stem has that name already,
    the name keeps the key's own suffix too: `a.jpg` and `a.png` become `a.png` and `a.png.png`.
    With `suffix` None, names keep the suffixes of their keys.
    """

    def __init__(self, suffix: str | None) -> None:
        self._suffix = suffix
        self._taken: set[str] = set()

    def name(self, key: str) -> str | None:
        """Return the relative path, with `/`; None if the key is no path or leads out of the
        folder.
        """
        parts = key.replace("\\", "/").split("/")
        drive = ":" in parts[0] and len(parts[0].split(":", 1)[0]) == 1
        if drive or any(part in ("", ".", "..") or "\0" in part for part in parts):
            return None
        if any(len(part.encode()) > LONGEST_PART for part in parts):
            return None
        path = "/".join(parts)
        stem, own = posixpath.splitext(path)
        suffix = own if self._suffix is None else self._suffix
        base = stem if self._suffix is None else path
        name = stem + suffix
        if self._folded(name) in self._taken:
            name = base + suffix
        number = 2
        while self._folded(name) in self._taken:
            name = f"{base}-{number}{suffix}"
            number += 1
        self._taken.add(self._folded(name))
        return name

    @staticmethod
    def _folded(name: str) -> str:
        """Return the form in which names are equal that some file systems treat as equal."""
        return name.casefold()
