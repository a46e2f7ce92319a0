"""One folder, local or behind an fsspec URL, with the operations that an archive needs.

An archive needs four guarantees, which this module gives on local disks and on object stores:

* a file appears completely or not at all (locally: temporary name, fsync, rename; else one upload);
* `put_new` has one winner (locally: a hard link; Cloud Storage: a generation precondition);
* reads are exact ranges: nothing else is fetched;
* a transient error is retried, a definite answer ("no such file") is not.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from underpaint.codec.errors import RangesUnsupported, UsageError
from underpaint.codec.storage.extras import file_system
from underpaint.codec.storage.retries import T, is_transient, with_retries
from underpaint.codec.storage.web import WEB, is_final, plain_error, session_options

_MEDIA_TYPE_OPTION = {"gs": "content_type", "s3": "ContentType"}
"""Option of a file system's `pipe_file` for the media type of a file."""

TEMPORARY_PREFIX = ".tmp-"
"""Prefix of unfinished local files; readers ignore them and `sweep` removes them."""

_TEMPORARY = re.compile(re.escape(TEMPORARY_PREFIX) + r".*-([0-9]+)-[0-9a-f]{12}", re.DOTALL)
"""Whole names of unfinished local files, with the process that writes them."""

_LONGEST_BASE = 100
"""Most bytes of a file's name in the name of its unfinished file; file systems take 255 in all."""


class Storage:
    """A folder `root` (path or fsspec URL); file names are relative and use `/`.

    It can be pickled and used after a fork: each process opens the fsspec file system anew. Calls
    may come from several threads. UsageError for an address that no file system accepts.
    """

    def __init__(
        self, root: str | os.PathLike[str], options: Mapping[str, Any] | None = None
    ) -> None:
        if not isinstance(root, str | os.PathLike):
            raise UsageError(f"want a path or a URL as a text, not {root!r}")
        self.root = os.fspath(root)
        self.root = self.root.rstrip("/") or self.root[:1]
        self.options = {**session_options(self.root, total=True), **(options or {})}
        self._fs: fsspec.AbstractFileSystem | None = None
        self._pid = -1
        _, self._base = file_system(self.root, **self.options)
        self._base = self._base.rstrip("/")
        self.is_local = isinstance(self.fs, LocalFileSystem)
        self._is_web = self.root.startswith(WEB)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_fs": None, "_pid": -1}

    def __repr__(self) -> str:
        return f"Storage({self.root!r})"

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        """The fsspec file system of this process (asynchronous ones do not survive a fork)."""
        if self._pid != os.getpid():
            self._fs, _ = file_system(self.root, **self.options)
            self._pid = os.getpid()
        assert self._fs is not None
        return self._fs

    def path(self, name: str) -> str:
        """Return the full path of `name` in the file system's terms."""
        return f"{self._base}/{name}"

    def read(self, name: str) -> bytes:
        """Return all bytes of a file; FileNotFoundError if there is none."""
        if self.is_local:
            return Path(self.path(name)).read_bytes()
        return self._retried(lambda: self.fs.cat_file(self.path(name)))

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Return bytes [start, stop) of a file, fewer if it ends earlier, in one request."""
        if self.is_local:
            with open(self.path(name), "rb", buffering=0) as file:
                parts = []
                while start < stop:  # one read returns at most 2 GiB
                    part = os.pread(file.fileno(), stop - start, start)
                    if not part:
                        break
                    parts.append(part)
                    start += len(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)
        data: bytes = self._retried(
            lambda: self.fs.cat_file(self.path(name), start=start, end=stop)
        )
        if len(data) > stop - start:
            raise RangesUnsupported.of(str(self.root), "archive")
        return data

    def size(self, name: str) -> int:
        """Return the size of a file in bytes; FileNotFoundError if there is none."""
        if self.is_local:
            return os.stat(self.path(name)).st_size

        def ask() -> int:
            self.fs.invalidate_cache()
            return int(self.fs.info(self.path(name))["size"])

        return self._retried(ask)

    def names(self, folder: str) -> dict[str, int]:
        """Return names (without the folder) and sizes of the files directly in `folder`, sorted."""

        def ask() -> dict[str, int]:
            self.fs.invalidate_cache()
            try:
                entries = self.fs.ls(self.path(folder) if folder else self._base, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return {}
            files = (entry for entry in entries if entry["type"] == "file")
            return {
                str(entry["name"]).rsplit("/", 1)[-1]: int(entry["size"] or 0) for entry in files
            }

        return dict(sorted(self._retried(ask).items()))

    def file_names(self, folder: str) -> list[str]:
        """Return the names (without the folder) of the files directly in `folder`, in any order.

        Cheaper than `names` on a local disk, where sizes cost a request for each file.
        """
        if not self.is_local:
            return list(self.names(folder))
        try:
            with os.scandir(self.path(folder)) as entries:
                return [entry.name for entry in entries if entry.is_file()]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def all_file_names(self) -> list[str]:
        """Return the names of the files in the root folder and all folders below, sorted."""

        def ask() -> list[str]:
            self.fs.invalidate_cache()
            try:
                found = self.fs.find(self._base or "/")
            except (FileNotFoundError, NotADirectoryError):
                return []
            return sorted(str(path).removeprefix(self.path("")) for path in found)

        return self._retried(ask)

    def holds_anything(self) -> bool:
        """Return whether the root folder exists and holds a file or a folder."""

        def ask() -> bool:
            self.fs.invalidate_cache()
            try:
                return bool(self.fs.ls(self._base or "/", detail=False))
            except (FileNotFoundError, NotADirectoryError):
                return False

        return self._retried(ask)

    def modified(self, name: str) -> float:
        """Return the time of the last change in seconds since 1970."""
        if self.is_local:
            return os.stat(self.path(name)).st_mtime
        return float(self._retried(lambda: self.fs.modified(self.path(name))).timestamp())

    def put(self, name: str, data: bytes, media_type: str | None = None) -> None:
        """Write a small file; readers see the old bytes or the new ones, never a mixture.

        `media_type` is what object stores tell browsers that the file is.
        """
        if self.is_local:
            with self._temporary(name) as temporary:
                _write_durably(temporary, data)
                os.replace(temporary, self.path(name))
                _sync_folder(os.path.dirname(self.path(name)))
            return
        option = next(filter(None, map(_MEDIA_TYPE_OPTION.get, _protocols(self.fs))), None)
        told = {option: media_type} if option and media_type else {}
        self._retried(lambda: self.fs.pipe_file(self.path(name), data, **told))

    def put_new(self, name: str, data: bytes) -> bool:
        """Write a small file unless it exists; return whether the file now holds `data`.

        One of several concurrent callers wins. The result is also True if the file held the same
        bytes before, because the answer to an earlier attempt may have been lost.
        """
        if self.is_local:
            return self._link_new(name, data)
        with suppress(FileNotFoundError):  # stores without preconditions: check first
            return self.read(name) == data
        with suppress(FileExistsError):
            self._retried(lambda: self.fs.pipe_file(self.path(name), data, mode="create"))
        return self.read(name) == data

    def put_file(self, name: str, local: str) -> None:
        """Move a finished local file (see `scratch`) to `name`, completely or not at all."""
        if self.is_local:
            with open(local, "rb+") as file:
                os.fsync(file.fileno())
            os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
            os.replace(local, self.path(name))
            _sync_folder(os.path.dirname(self.path(name)))
            return
        self._retried(lambda: self.fs.put_file(local, self.path(name)))
        want, have = os.path.getsize(local), self.size(name)
        if have != want:
            raise OSError(f"{self.path(name)}: {have} bytes arrived of {want}")
        os.unlink(local)

    def delete(self, name: str) -> None:
        """Remove a file; no error if there is none."""
        with suppress(FileNotFoundError):
            self._retried(lambda: self.fs.rm_file(self.path(name)))

    def _retried(self, call: Callable[[], T]) -> T:
        """Return `call()`, retried; web servers that refuse or keep silent are not asked again."""
        if not self._is_web:
            return with_retries(call, self.root)
        return with_retries(
            call,
            self.root,
            transient=lambda error: is_transient(error) and not is_final(error),
            named=plain_error,
        )

    @contextmanager
    def scratch(self, name: str) -> Iterator[str]:
        """Yield the path of a local file to fill before `put_file(name, …)`; removed at the end if
        left.

        For a local archive the file lies in the folder of `name`, so that moving it is a rename.
        """
        if self.is_local:
            with self._temporary(name) as temporary:
                yield temporary
            return
        folder = tempfile.mkdtemp(prefix="underpaint-")
        try:
            yield os.path.join(folder, "file")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def clear_unfinished(self) -> None:
        """Remove the unfinished files that killed writers left here and in folders below.

        Those of processes that run on this machine stay. Object stores have no such files.
        """
        for folder, _, names in os.walk(self._base or "/") if self.is_local else ():
            for named in filter(None, map(_TEMPORARY.fullmatch, names)):
                if not _is_running(int(named[1])):
                    os.unlink(os.path.join(folder, named[0]))

    @contextmanager
    def _temporary(self, name: str) -> Iterator[str]:
        folder, base = os.path.split(self.path(name))
        os.makedirs(folder, exist_ok=True)
        base = os.fsencode(base)[:_LONGEST_BASE].decode(errors="ignore")
        suffix = f"{os.getpid()}-{random.SystemRandom().getrandbits(48):012x}"
        temporary = os.path.join(folder, f"{TEMPORARY_PREFIX}{base}-{suffix}")
        try:
            yield temporary
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)

    def _link_new(self, name: str, data: bytes) -> bool:
        with self._temporary(name) as temporary:
            _write_durably(temporary, data)
            try:
                os.link(temporary, self.path(name))
            except FileExistsError:
                return self.read(name) == data
            except (
                OSError
            ):  # a file system without hard links: of two concurrent writers the last one wins
                if os.path.exists(self.path(name)):
                    return self.read(name) == data
                os.replace(temporary, self.path(name))
            _sync_folder(os.path.dirname(self.path(name)))
        return True


def _is_running(process: int) -> bool:
    """Return whether a process of this id runs on this machine."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        return True
    return True


def _protocols(fs: fsspec.AbstractFileSystem) -> tuple[str, ...]:
    """Return the names of a file system in addresses."""
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _write_durably(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: str) -> None:
    """Make a rename survive a power failure, if the system can (not on Windows)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
