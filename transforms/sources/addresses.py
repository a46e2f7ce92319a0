"""Paths and URLs: the address under which a file can be opened again, and the key derived from it.

    /data/a.jpg     gs://bucket/a.jpg     https://host/a.jpg?id=7     zip://a.jpg::gs://bucket/b.zip

The last form is an fsspec chain: a file system inside a file of another file system.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import fsspec
from fsspec.implementations.local import LocalFileSystem

from underpaint.codec.archive.rows import printable
from underpaint.codec.storage.extras import is_chain
from underpaint.codec.storage.redaction import redacted

WEB = ("http://", "https://")

ARCHIVE_SCHEMES = ("zip", "tar")
"""Schemes of chains whose first link is a shard, which is read in one pass."""

_SIGNATURE = re.compile(
    r"(?i)x-amz-\w[\w-]*|x-goog-\w[\w-]*|.*(?:signature|credential|token|secret|passw|api_?key"
    r"|access_?key|accesskeyid|auth|policy)[\w.-]*|sig|key-pair-id|googleaccessid|expires|key|pwd"
    r"|s[vertpk]|sk[eotsv]id?|spr|sip"
)
"""Parameters of signed URLs (Amazon, Google, Azure); they grant access for a limited time."""


def is_local(fs: fsspec.AbstractFileSystem) -> bool:
    """Return whether the file system is that of this machine."""
    return isinstance(fs, LocalFileSystem)


def is_web(fs: fsspec.AbstractFileSystem) -> bool:
    """Return whether the file system is the web, which has no folders and no listing."""
    return "http" in fs.protocol or "https" in fs.protocol


def to_uri(fs: fsspec.AbstractFileSystem, path: str, of: str = "") -> str:
    """Return the address under which the file can be opened again.

    Args:
        of: the address that the file was found below; if it is a chain, so is the result.
    """
    if is_local(fs) and not is_chain(of):
        return path
    head, _, rest = of.partition("::")
    if not is_chain(of):
        return str(fs.unstrip_protocol(path))
    if "://" in head:
        return f"{head.partition('://')[0]}://{path.lstrip('/')}::{rest}"
    inner = getattr(fs, "fs", fs)
    return f"{head}::{to_uri(inner, path)}"


def archive_chain(text: str) -> tuple[str, str, str] | None:
    """Return scheme, member pattern and shard of `zip://PATTERN::SHARD`; None for other
    addresses.
    """
    head, _, shard = text.partition("::")
    scheme, mark, pattern = head.partition("://")
    if not is_chain(text) or scheme not in ARCHIVE_SCHEMES or (mark and not shard):
        return None
    return scheme, pattern.strip("/"), shard


def _outermost(uri: str) -> str:
    """Return the first address of a chain, which is the file itself; others as they are."""
    return uri.partition("::")[0] if is_chain(uri) else uri


def path_of(uri: str) -> str:
    """Return an address without the query and fragment of a web address."""
    last = _outermost(uri)
    return last.split("?", 1)[0].split("#", 1)[0] if last.startswith(WEB) else last


def address_key(uri: str) -> str:
    """Return the key for a picture at an address: host, path and query.

    Signature parameters are left out: they are secret and differ each time.
    """
    head = _outermost(uri) or uri
    scheme, mark, _ = head.partition("://")
    if not mark:
        return _inside(head)
    if scheme == "file":
        return _inside(head.partition("://")[2])
    if scheme not in ("http", "https"):
        return _inside(head.partition("://")[2])
    try:
        parts = urlsplit(head)
    except ValueError:
        return _inside(head.partition("://")[2])
    host = parts.netloc.rpartition("@")[2].lower()
    kept = [p for p in parts.query.split("&") if p and not _SIGNATURE.fullmatch(p.split("=")[0])]
    key = f"{host}/{_inside(parts.path)}".rstrip("/")
    return f"{key}?{'&'.join(kept)}" if kept else key


def resolved(path: str, folder: str) -> str:
    """Return an absolute address for one that may be relative to a folder."""
    if "://" in path or "::" in path or path.startswith("/"):
        return path
    if folder.startswith(WEB):
        return folder + path
    scheme, mark, rest = folder.rpartition("://")
    return scheme + mark + posixpath.normpath(posixpath.join(rest, path))


def as_stored(uri: str) -> str:
    """Return an address as an archive stores it: without secrets, and as valid Unicode."""
    return printable(redacted(uri))


def parents(folder: str) -> Iterator[str]:
    """Yield the addresses of the folders that contain a folder, from the inmost one on."""
    while "/" in folder:
        folder = folder.rpartition("/")[0].rstrip("/")
        yield folder


def folder_of(uri: str) -> str:
    """Return the address of a file's folder, with the final slash."""
    path = path_of(uri)
    return path[: path.rfind("/") + 1]


def name_of(uri: str) -> str:
    """Return the last part of an address, with percent escapes decoded."""
    return unquote(posixpath.basename(path_of(uri)))


def _inside(path: str) -> str:
    """Return a path without parts that would lead out of a folder."""
    return "/".join(part for part in path.split("/") if part not in ("", ".", "..")) or path
