"""Pictures in files of their own: below folders, matched by globs, or named one by one."""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import repeat
from types import MappingProxyType
from typing import Any

import fsspec
import pyarrow as pa

from underpaint.codec.errors import UsageError
from underpaint.codec.storage.extras import file_system, is_chain
from underpaint.codec.storage.retries import with_retries
from underpaint.codec.storage.web import DEFAULT_LIMITS, TimeLimits
from underpaint.transforms.records import (
    LISTED_TWICE,
    UNKNOWN,
    Item,
    NotAPicture,
    Record,
    Shard,
    Skipped,
    Span,
    clean_key,
)
from underpaint.transforms.sources.addresses import (
    address_key,
    archive_chain,
    as_stored,
    is_local,
    is_web,
    parents,
    path_of,
    to_uri,
)
from underpaint.transforms.sources.base import (
    FOLDER_LABEL,
    Source,
    folder_label,
    read_bytes,
    read_head,
)
from underpaint.transforms.sources.kinds import (
    OTHER_FILES,
    has_picture_suffix,
    reserved_name,
    skip_reason,
    suffix_of,
)
from underpaint.transforms.sources.recognition import is_picture
from underpaint.transforms.sources.repeats import Repeats
from underpaint.transforms.sources.roots import key_prefixes
from underpaint.transforms.sources.spool import Spool
from underpaint.transforms.sources.walk import LINKED_TWICE, Entry, is_inside, version_of, walk

_IMPOSSIBLE = {
    errno.ELOOP: "a link that leads to itself, by way of others or at once",
    errno.ENAMETOOLONG: "the name is longer than that of a file may be",
}
"""Error of a file system -> why there is no file at a path."""


@dataclass(frozen=True)
class Found:
    """A file found in the inputs."""

    key: str
    """Its path below the input folder (below the fixed part of a glob), behind the prefix of that
    folder (see `roots`)."""
    uri: str
    size: int
    named: bool
    """Whether the user named the file itself; it is then read whatever its name is."""
    skipped: str = ""
    """The reason for skipping it whatever its content; empty if there is none."""
    remote: bool = False
    """Whether opening it requires a request to another machine."""
    version: str = ""
    """See `Entry.version`."""


@dataclass(frozen=True)
class _Input:
    text: str
    fs: fsspec.AbstractFileSystem
    root: str
    kind: str
    path: str
    chain: str = ""
    """The part of a chain before the shard's address, which selects some of its members."""
    links: tuple[tuple[str, str], ...] = ()
    """Folders below the root that the archive knows by another path, and that path."""

    @property
    def folder(self) -> str:
        """The address of the root as an archive remembers it; "" for a web address."""
        return as_stored(to_uri(self.fs, self.root, self.text).rstrip("/")) if self.root else ""

    @property
    def place(self) -> str:
        """Where the root is, whatever links lead there; for comparing folders."""
        on_disk = is_local(self.fs) and not is_chain(self.text)
        return os.path.realpath(self.root).rstrip("/") if on_disk else self.folder

    def uri_of(self, path: str) -> str:
        """Return the address of a file below the root, by the path that the archive knows."""
        known = _known_path(path, self.links)
        return self.chain + to_uri(self.fs, known, self.text)


@dataclass(frozen=True)
class FileSource(Source):
    """Loose pictures and skipped files, as `open_sources` found them."""

    kind = "files"

    found: Spool = field(default_factory=Spool, compare=False, repr=False)
    label_from_folder: bool = False
    limits_of_time: TimeLimits = DEFAULT_LIMITS

    def listing(self) -> Iterator[Item | Skipped]:
        """Yield one item for each picture."""
        for values in self.found:
            yield Skipped(**values) if "reason" in values else Item(**values)

    def add(self, each: Item | Skipped) -> None:
        """Add a found file."""
        self.found.append(asdict(each))

    def read(self, shard: Shard, span: Span) -> Iterator[Record]:
        """Yield nothing: there are no shards."""
        yield from ()

    def record(self, item: Item) -> Record:
        """Return the record of a picture; a file whose name says nothing is examined when
        fetched.
        """
        labels = folder_label(item.key) if self.label_from_folder else {}
        fetch = partial(fetched, item.uri, self.limits_of_time)
        return Record(item.key, item.uri, fetch, item.size, labels)

    def labels(self) -> pa.Schema:
        """Return the column with the folder's name, if it is requested."""
        return pa.schema([FOLDER_LABEL] if self.label_from_folder else [])


def fetched(uri: str, limits_of_time: TimeLimits = DEFAULT_LIMITS) -> bytes:
    """The bytes of a picture.

    NotAPicture for a file of a remote store whose name says nothing, and whose content is not that
    of a picture. A local file was looked into when it was listed, and a web address was named.
    """
    if not has_picture_suffix(uri):
        fs, _ = file_system(uri)
        if not is_local(fs) and not is_web(fs) and not is_picture(read_head(uri)):
            raise NotAPicture(skip_reason(uri))
    return read_bytes(uri, limits_of_time)


class Inputs:
    """The inputs of a run, each of which was looked up once."""

    def __init__(
        self, texts: Iterable[str], known: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Look up inputs; UsageError if one does not exist.

        `known` are the folders that the archive remembers, with the prefixes of their keys.
        """
        self.texts = tuple(texts)
        self._resolved = _resolved(self.texts, known)
        self.folders = _prefixes(self._resolved, known)
        """Address -> prefix of keys of the folders of the inputs; see `roots`."""

    def find(self) -> Iterator[Found]:
        """Yield every file of the inputs in order, skipped ones included.

        A file that several inputs list is yielded for each of them, all but once as skipped.
        """
        outer, left_out = _divided(self._resolved)
        repeats = Repeats(
            (each.folder for each in outer if each.root),
            left_out,
            (each.uri_of(each.path) for each in outer if each.kind in ("file", "web")),
        )
        later = Spool()
        """Files that an input skips for a reason of its own, and that another one may read."""
        places = [each.place for each in outer if each.kind == "folder" and is_local(each.fs)]
        for each in outer:
            prefix = self.folders[each.folder] if each.root else ""
            named = each.kind in ("file", "web") or bool(each.chain)
            for entry in _entries(each, places):
                below = posixpath.relpath(entry.path, each.root) if each.root else entry.path
                if each.kind == "web":
                    below = address_key(entry.path)
                uri = each.uri_of(entry.path)
                remote = not is_local(each.fs)
                key = clean_key(prefix + below)
                found = Found(key, uri, entry.size, named, entry.skipped, remote, entry.version)
                again = replace(found, skipped=LISTED_TWICE)
                if entry.skipped and repeats.possible(each.folder):
                    later.append(asdict(found))
                else:
                    yield again if repeats.before(each.folder, uri, named=named) else found
                if each.kind == "folder":
                    yield from repeat(again, repeats.again(each.folder, as_stored(uri)))
        for values in later:
            found = Found(**values)
            twice = repeats.before("", found.uri, named=found.named)
            yield replace(found, skipped=LISTED_TWICE) if twice else found


def loose(found: Found) -> Item | Skipped:
    """Return a found file that is no shard as an item, or as skipped.

    A local file is examined if its name is not that of a picture. On a remote store, a name of
    `OTHER_FILES` is trusted, and a file whose name says nothing is examined when it is read.
    """
    if found.skipped:
        return Skipped(found.uri, found.skipped)
    item = Item(key=found.key, uri=found.uri, size=found.size, version=found.version)
    if found.named or has_picture_suffix(found.uri):
        return item
    if found.remote:
        plain = suffix_of(found.uri) in OTHER_FILES
        return Skipped(found.uri, skip_reason(found.uri)) if plain else item
    try:
        head = read_head(found.uri)
    except OSError:
        return item  # reading it reports the reason
    return item if is_picture(head) else Skipped(found.uri, skip_reason(found.uri))


def _resolve(text: str) -> _Input:
    chain = archive_chain(text)
    if chain:
        below = _resolve(chain[2])
        return replace(below, chain=text[: len(text) - len(chain[2])] + below.chain)
    fs, path = file_system(text)
    if is_local(fs) and not is_chain(text):
        path = _normal(path)
    if is_web(fs):
        if "*" in path_of(path):
            raise UsageError(
                f"{text}: a web server cannot be listed, so a pattern finds nothing there; name "
                "the pictures, or list their addresses in a table (a `*` of the address itself is "
                "%2A)"
            )
        return _Input(text, fs, "", "web", path if is_chain(text) else text)
    kind = with_retries(lambda: _kind(fs, path), text)
    if kind == "directory":
        return _Input(text, fs, path.rstrip("/") or "/", "folder", path)
    if kind:
        return _Input(text, fs, posixpath.dirname(path), "file", path)
    if any(letter in path for letter in "*?["):
        fixed = path[: min(path.find(letter) for letter in "*?[" if letter in path)]
        root = posixpath.dirname(fixed)
        if root and not fs.isdir(root):
            raise UsageError(f"no such folder: {to_uri(fs, root, text)}")
        return _Input(text, fs, root, "glob", path)
    raise UsageError(f"no such file or folder: {text}")


def _kind(fs: fsspec.AbstractFileSystem, path: str) -> str:
    """Return "directory", "file" or another kind of what is at a path; "" if nothing is there.

    Raises the errors of a store that does not answer, which `fs.exists` takes for "nothing there",
    and UsageError for a path that no file can have.
    """
    try:
        return str(fs.info(path)["type"])
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        if error.errno not in _IMPOSSIBLE:
            raise
        raise UsageError(f"{path}: {_IMPOSSIBLE[error.errno]}") from None


def _normal(path: str) -> str:
    """Return a local path without `.`, `..` and double slashes; `..` behind a link is resolved."""
    plain = posixpath.normpath(path)
    if ".." not in path.split("/"):
        return plain
    real = os.path.realpath(path)
    return plain if os.path.realpath(plain) == real else real


def _resolved(inputs: Iterable[str], known: Mapping[str, str]) -> list[_Input]:
    """Return the inputs; local folders that the archive knows by another path (because of a link)
    have that path, so that the addresses of their files stay the same.
    """
    resolved = [_resolve(text) for text in inputs]
    real = {os.path.realpath(folder): folder for folder in sorted(known) if folder.startswith("/")}
    return [_with_known_paths(each, known, real) if real else each for each in resolved]


def _with_known_paths(each: _Input, known: Mapping[str, str], real: Mapping[str, str]) -> _Input:
    """Return an input by known paths; `real` are paths without links -> known paths."""
    lexical = (each.root, *parents(each.root))
    if not is_local(each.fs) or is_chain(each.text) or any(folder in known for folder in lexical):
        return each
    path = os.path.realpath(each.root)
    for parent in (path, *parents(path)):
        if parent in real:
            root = real[parent] + path[len(parent) :]
            return replace(each, root=root, path=root + each.path[len(each.root) :])
    if each.kind == "file":
        return each
    links = (
        (each.root + inner[len(path) :], folder)
        for inner, folder in real.items()
        if inner.startswith(path + "/")
    )
    return replace(each, links=tuple(link for link in links if link[0] != link[1]))


def _prefixes(inputs: Sequence[_Input], known: Mapping[str, str]) -> dict[str, str]:
    """Return address -> prefix of keys of the folders of the inputs."""
    linked = {path: known[folder] for each in inputs for path, folder in each.links}
    folders = (each.folder for each in inputs if each.root)
    return key_prefixes(folders, {**linked, **known})


def _known_path(path: str, links: Iterable[tuple[str, str]]) -> str:
    """Return the path by which the archive knows a file; the path itself for other files."""
    for folder, known in links:
        if path.startswith(folder + "/"):
            return known + path[len(folder) :]
    return path


def _divided(inputs: Sequence[_Input]) -> tuple[list[_Input], list[tuple[str, str]]]:
    """Return the inputs to list, and the folders that are named twice or lie in another input,
    as they are or by way of links: for each, the folder of the input that lists its files, and its
    own address below that one.
    """
    folders: dict[str, _Input] = {}
    for each in inputs:
        if each.kind == "folder" and not each.chain:
            place = each.place
            if place not in folders or each.root == place:  # a path without links has priority
                folders[place] = each
    outer: list[_Input] = []
    left_out: list[tuple[str, str]] = []
    for each in inputs:
        if each.kind != "folder" or each.chain:
            outer.append(each)
            continue
        place = each.place
        around = [parent for parent in (place, *parents(place)) if parent in folders]
        holder = [o for o in around if not reserved_name(place[len(o) + 1 :])][-1]
        if folders[holder] is each:
            outer.append(each)
        else:
            left_out.append((folders[holder].folder, _below(folders[holder], place, holder)))
    return outer, left_out


def _below(outer: _Input, place: str, around: str) -> str:
    """Return the address that a listing of `outer`, which is at `around`, has for a folder."""
    if not is_local(outer.fs) or is_chain(outer.text):
        return place
    path = outer.root.rstrip("/") + place[len(around) :]
    return as_stored(posixpath.dirname(outer.uri_of(f"{path}/file")))


def _entries(each: _Input, listed: Sequence[str]) -> Iterator[Entry]:
    """Yield what an input lists; `listed` are all folders of this machine that are inputs."""
    if each.kind == "web":
        yield Entry(each.path)
    elif each.kind == "file":
        yield _entry(each, each.path, with_retries(lambda: each.fs.info(each.path), each.text))
    elif each.kind == "folder":
        yield from walk(each.fs, each.path, listed=listed)
    else:
        yield from _globbed(each, listed)


def _globbed(each: _Input, listed: Sequence[str]) -> Iterator[Entry]:
    """Yield the matches of a pattern; a folder among them is walked.

    As in a folder that is an input, what is hidden below the fixed part of the pattern is skipped.
    """
    found = with_retries(lambda: each.fs.glob(each.path, detail=True), each.text)
    walked: set[str] = set()
    on_disk = is_local(each.fs)

    def reserved(path: str) -> str:
        return reserved_name(posixpath.relpath(path, each.root) if each.root else path)

    plain = (path for path in found if on_disk and os.path.isdir(path) and not os.path.islink(path))
    places = [*listed, *(os.path.realpath(path) for path in plain if not reserved(path))]
    for path in sorted(found):
        if any(parent in walked for parent in parents(path)):
            continue
        info = found[path]
        reason = reserved(path)
        kind = info["type"]
        if kind not in ("file", "directory"):  # a link or the like
            kind = "directory" if each.fs.isdir(path) else "file"
        if kind == "directory":
            walked.add(path)
            link = os.path.realpath(path) if on_disk and os.path.islink(path) else ""
            if link and is_inside(link, places):
                yield Entry(path, skipped=LINKED_TWICE)
                continue
            yield from walk(each.fs, path, hidden=bool(reason), listed=places)
            if link and not reason:
                places.append(link)
            continue
        yield _entry(each, path, info, reason)


def _entry(each: _Input, path: str, info: Mapping[str, Any], skipped: str = "") -> Entry:
    if is_local(each.fs):
        with suppress(OSError):
            state = os.stat(path)
            return Entry(path, state.st_size, skipped, f"mtime {state.st_mtime_ns}")
    size = info.get("size")
    return Entry(path, UNKNOWN if size is None else int(size), skipped, version_of(info))
