"""Input folders and the prefixes of keys that follow from them, over all runs of an archive.

A picture's key is its path below an input folder, behind that folder's prefix. The archive
remembers each input folder with its prefix. So a folder has the same keys in every run, and a
folder that is added later does not take the keys of an earlier one:

    the first folder of an archive            photos/2019        IMG_1.jpg
    several folders in the first run          cats dogs          cats/1.jpg, dogs/1.jpg
    a remembered folder                                          as before
    a folder inside a remembered one          photos/2019/may    may/IMG_1.jpg
    a folder that contains a remembered one   photos             2021/IMG_1.jpg
    any other folder                          photos/2020        2020/IMG_1.jpg

A folder that contains a remembered one gets the prefix that it would have had if it had been the
input in the first place: after `2019/` for `photos/2019`, that of `photos` is empty. It is also
empty after an empty one. Any other folder has its name as its prefix. Of several folders of one
name in one run, each has as many of its parents as distinguish them. If an earlier folder has the
same prefix, a hash of the folder's address is added to the name.

The folder of a file that is named, and the fixed part of a glob, are input folders too. Prefixes
depend on the folders of a command and on those remembered, not on the order of the command.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from underpaint.transforms.records import clean_key, short_hash
from underpaint.transforms.sources.addresses import parents


def key_prefixes(folders: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    """Return the prefix of each input folder, as the module describes.

    Args:
        folders: addresses of input folders.
        known: address -> prefix of the folders that the archive remembers.
    """
    given = sorted({_plain(folder) for folder in folders}, key=lambda text: (text.count("/"), text))
    placed = {_plain(folder): prefix for folder, prefix in known.items()}
    contained: dict[str, list[str]] = {}
    for folder in sorted(placed):
        for parent in parents(folder):
            contained.setdefault(parent, []).append(folder)
    others = []
    for folder in given:
        inside = folder in placed or any(parent in placed for parent in parents(folder))
        inner = {} if inside else {each: placed[each] for each in contained.get(folder, ())}
        around = _prefix_around(folder, inner)
        if around is not None:
            placed[folder] = around
        elif not inside:
            others.append(folder)
    distinct = set(others)
    outer = [each for each in others if distinct.isdisjoint(parents(each))]
    if len(outer) == 1 and not placed:
        placed[outer[0]] = ""
    else:
        taken = set(placed.values())
        for folder, prefix in _names(outer).items():
            if prefix in taken:
                prefix = f"{prefix.rstrip('/')}-{short_hash(folder, 8)}/"
            placed[folder] = prefix
    return {folder: _prefix_inside(folder, placed) for folder in given}


def _prefix_inside(folder: str, placed: Mapping[str, str]) -> str:
    """Return the prefix of a folder that is placed, or lies in a folder that is."""
    parent = next(each for each in (folder, *parents(folder)) if each in placed)
    below = folder[len(parent) :].strip("/")
    return placed[parent] + (clean_key(below) + "/" if below else "")


def _prefix_around(folder: str, inner: Mapping[str, str]) -> str | None:
    """Return the prefix of a folder that contains `inner` ones; None if theirs suggest none."""
    for each, prefix in inner.items():
        below = each[len(folder) :].strip("/") + "/"
        if prefix.endswith(below):
            return prefix.removesuffix(below)
    return "" if "" in inner.values() else None


def _names(folders: Iterable[str]) -> dict[str, str]:
    """Return the name of each folder, with as many of its parents as distinguish it from others."""
    parts = {each: [part for part in each.split("/") if ":" not in part] for each in folders}
    for depth in range(1, max(map(len, parts.values()), default=1) + 1):
        names = {each: clean_key("/".join(parts[each][-depth:])) + "/" for each in parts}
        if len(set(names.values())) == len(parts):
            return names
    return {each: f"{index}/" for index, each in enumerate(parts)}


def _plain(folder: str) -> str:
    return folder.rstrip("/")
