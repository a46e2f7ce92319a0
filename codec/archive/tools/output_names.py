"""File names of exported pictures: from a key to a path that never leaves the output folder."""

from __future__ import annotations

import posixpath

LONGEST_PART = 240
"""Most bytes of one part of a path, so that a suffix still fits into a file system's 255."""


def unusable(key: str) -> str:
    """Return why a key is no path below the output folder; "" if it is one."""
    parts = _parts(key)
    if any(len(part.encode()) > LONGEST_PART for part in parts):
        return (
            f"a part of the key is longer than the {LONGEST_PART} bytes that a file name may have"
        )
    if ":" in parts[0] and len(parts[0].split(":", 1)[0]) == 1:
        return "the key begins with the letter of a drive"
    for part in parts:
        if part in ("", ".", ".."):
            named = f"the part {part!r}" if part else "an empty part"
            return f"the key has {named}, which is no name of a file or folder"
        if "\0" in part:
            return "the key has a zero byte, which no file name may have"
    return ""


def _parts(key: str) -> list[str]:
    return key.replace("\\", "/").split("/")


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
        """Return the relative path, with `/`; None if the key is `unusable`."""
        if unusable(key):
            return None
        path = "/".join(_parts(key))
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
