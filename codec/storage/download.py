"""Reads files by path or URL, verifies their SHA-256 if one is given, and caches downloads.

    gs://models/photos.safetensors#sha256=<64 hex digits>

The digest is part of the address, so it travels wherever the address goes (a job's options, a
worker on another machine). A remote file with a digest is stored in the cache folder under that
digest; other processes of the machine wait for the first download and read its copy. A file without
a digest is not cached, because nothing could tell whether the copy is still current.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from underpaint.codec.errors import ChecksumMismatch, UsageError
from underpaint.codec.limits import MAX_FETCHED_BYTES
from underpaint.codec.storage.extras import file_system
from underpaint.codec.storage.locks import in_turn
from underpaint.codec.storage.retries import with_retries
from underpaint.codec.storage.web import session_options

CACHE = "UNDERPAINT_CACHE"
"""Environment variable that names the cache folder."""

_MARK = "#sha256="


@dataclass(frozen=True)
class Address:
    """The location of a file and its expected digest."""

    url: str
    sha256: str | None = None
    """64 lowercase hex digits; None: not checked."""

    @staticmethod
    def parse(text: str) -> Address:
        """Parse `URL` or `URL#sha256=DIGEST`; UsageError for a malformed digest."""
        url, mark, digest = text.partition(_MARK)
        return Address(url, _checked(digest) if mark else None)

    def __str__(self) -> str:
        return f"{self.url}{_MARK}{self.sha256}" if self.sha256 else self.url


def with_digest(location: str | None, sha256: str | None) -> str | None:
    """Return a location with a digest that was given separately; UsageError if the two disagree."""
    if sha256 is None:
        return location
    if location is None:
        raise UsageError("a SHA-256 is given, and no weights that should have it")
    address = Address.parse(location)
    if address.sha256 not in (None, _checked(sha256)):
        raise UsageError(f"{location}: another SHA-256 is given beside it: {sha256}")
    return str(Address(address.url, _checked(sha256)))


def fetch(location: str) -> bytes:
    """Return all bytes of a file, at most `limits.MAX_FETCHED_BYTES`.

    Raises ChecksumMismatch if they do not match the digest, OSError if there is no such file,
    UsageError for an address that no file system accepts.
    """
    address = Address.parse(location)
    fs, path = file_system(address.url, **session_options(address.url))
    local = isinstance(fs, LocalFileSystem)
    if address.sha256 is None or local:
        return _matching(_read(fs, path, address.url, local), address)
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / address.sha256
    with in_turn(folder / f"{address.sha256}.lock"):
        with suppress(FileNotFoundError):
            data = kept.read_bytes()
            if _digest(data) == address.sha256:
                return data
        data = _matching(_read(fs, path, address.url, local), address)
        _put(kept, data)
    return data


def cache_folder() -> Path:
    """Return the cache folder: $UNDERPAINT_CACHE, $XDG_CACHE_HOME/underpaint or
    ~/.cache/underpaint; without a writable home, a folder for temporary files.
    """
    named = os.environ.get(CACHE)
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(base, "underpaint")
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    owner = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    return Path(tempfile.gettempdir(), f"underpaint-cache-{owner}")


def _checked(digest: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        raise UsageError(f"{digest!r} is no SHA-256: 64 hex digits")
    return digest.lower()


def _read(fs: fsspec.AbstractFileSystem, path: str, url: str, local: bool) -> bytes:
    def read() -> bytes:
        with fs.open(path, "rb") as file:
            data: bytes = file.read(MAX_FETCHED_BYTES + 1)
        return data

    data = read() if local else with_retries(read, url)
    if len(data) > MAX_FETCHED_BYTES:
        raise UsageError(f"{path}: more than {MAX_FETCHED_BYTES} bytes")
    return data


def _matching(data: bytes, address: Address) -> bytes:
    if address.sha256 is not None and _digest(data) != address.sha256:
        raise ChecksumMismatch(
            f"{address.url}: its SHA-256 is {_digest(data)}, not {address.sha256}"
        )
    return data


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _put(path: Path, data: bytes) -> None:
    """Write a file of the cache completely or not at all, for readers that do not take the lock."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
