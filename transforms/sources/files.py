"""Folders, globs and single files: which pictures and shards they hold, and under what keys."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import fsspec

from underpaint.codec.errors import UsageError
from underpaint.codec.image_io.read import PICTURE_SUFFIXES
from underpaint.transforms.records import UNKNOWN, Item, clean_key
from underpaint.transforms.sources.base import (
    file_system,
    is_local,
    is_web,
    roots_to_prefixes,
    to_uri,
)


@dataclass(frozen=True)
class Found:
    """A file that an input leads to."""

    key: str
    """Its path below the input folder (below the fixed part of a glob)."""
    uri: str
    size: int
    named: bool
    """Whether the user named the file itself: then it is tried whatever its suffix is."""


@dataclass(frozen=True)
class _Input:
    fs: fsspec.AbstractFileSystem
    root: str
    kind: str
    path: str


def find(inputs: Iterable[str]) -> Iterator[Found]:
    """Every file of the inputs in order; folders are walked in order of names, dot files left out.

    UsageError where an input does not exist.
    """
    resolved = [_resolve(text) for text in inputs]
    prefixes = roots_to_prefixes(to_uri(each.fs, each.root) for each in resolved)
    for each in resolved:
        prefix = prefixes[to_uri(each.fs, each.root).rstrip("/")]
        for path, size in _files(each):
            below = posixpath.relpath(path, each.root) if each.root else path
            yield Found(clean_key(prefix + below), to_uri(each.fs, path), size, each.kind == "file")


def is_picture(name: str) -> bool:
    """Whether a file's suffix is one of a picture."""
    return posixpath.splitext(name.lower())[1] in PICTURE_SUFFIXES


def as_item(found: Found, source: int) -> Item:
    """The found file as a picture of its own."""
    return Item(key=found.key, uri=found.uri, size=found.size, source=source)


def _resolve(text: str) -> _Input:
    fs, path = file_system(text)
    if is_web(fs):
        return _Input(fs, path.rsplit("/", 1)[0], "file", path)
    if fs.isdir(path):
        return _Input(fs, path, "folder", path)
    if fs.exists(path):
        return _Input(fs, posixpath.dirname(path), "file", path)
    if any(letter in path for letter in "*?["):
        fixed = path[: min(path.find(letter) for letter in "*?[" if letter in path)]
        root = posixpath.dirname(fixed)
        if root and not fs.isdir(root):
            raise UsageError(f"no such folder: {to_uri(fs, root)}")
        return _Input(fs, root, "glob", path)
    raise UsageError(f"no such file or folder: {text}")


def _files(each: _Input) -> Iterator[tuple[str, int]]:
    if each.kind == "file":
        size = None if is_web(each.fs) else each.fs.info(each.path).get("size")
        yield each.path, UNKNOWN if size is None else int(size)
    elif each.kind == "glob":
        found = each.fs.glob(each.path, detail=True)
        for path in sorted(found):
            if found[path]["type"] == "file":
                yield path, int(found[path]["size"] or 0)
    else:
        yield from _walk(each.fs, each.path)


def _walk(fs: fsspec.AbstractFileSystem, folder: str) -> Iterator[tuple[str, int]]:
    """Files below a folder, a folder at a time, so that memory does not grow with their number."""
    if is_local(fs):
        yield from _walk_local(folder.rstrip("/") or "/")
        return
    entries = sorted(fs.ls(folder, detail=True), key=lambda entry: entry["name"])
    for entry in entries:
        path = entry["name"].rstrip("/")
        if posixpath.basename(path).startswith(".") or path == folder.rstrip("/"):
            continue
        if entry.get("islink"):  # links to files count, links to folders might lead in circles
            if fs.isfile(path):
                yield path, int(fs.size(path) or 0)
        elif entry["type"] == "directory":
            yield from _walk(fs, path)
        elif entry["type"] == "file":
            yield path, int(entry["size"] or 0)


def _walk_local(folder: str) -> Iterator[tuple[str, int]]:
    """The same on a disk; of a folder of millions, all that is held are their names."""
    for name in sorted(os.listdir(folder)):
        path = posixpath.join(folder, name)
        if name.startswith("."):
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            yield from _walk_local(path)
            continue
        with suppress(OSError):  # a link to nothing, or a file that has just gone
            state = os.stat(path)
            if stat.S_ISREG(state.st_mode):
                yield path, state.st_size
