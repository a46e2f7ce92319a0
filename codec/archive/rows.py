"""Rows and dead letters: the values that an archive stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from underpaint.codec import limits
from underpaint.codec.errors import RowInvalid


@dataclass(frozen=True)
class Row:
    """One image of an archive."""

    key: str
    """Name of the image, unique in the archive (usually its path below the input folder)."""
    layers: tuple[bytes, ...]
    """Layers as bytes, coarsest first; at least one, at most as many as the archive has columns."""
    width: int
    """In pixels, after EXIF orientation."""
    height: int
    source_uri: str = ""
    source_sha256: bytes = b""
    """32 bytes, or empty if the source is unknown."""
    source_bytes: int = 0
    source_version: str | None = None
    """Marks a version of the source, as its storage gives it: a time of modification or an ETag."""
    source_format: str = ""
    """Format as Pillow names it: "JPEG", "PNG", …"""
    notes: tuple[str, ...] = ()
    """Conversions and losses of decoding the source."""
    metadata: str | None = None
    """When and with which camera the source was taken, as a JSON object, see `docs/archive.md`."""
    labels: Mapping[str, Any] = field(default_factory=dict)
    """Values of the archive's label columns; a missing one is null."""
    embedding: np.ndarray | None = None
    """Floats [embedding size of the archive], stored as float16; in all rows or in none."""
    source: bytes | None = None
    """The original bytes, in an archive that keeps them."""

    def _repr_html_(self) -> str | None:
        """Return how a notebook shows the row; None without layers, to show it as text."""
        from underpaint.codec.archive.tools.notebook import row_html

        return row_html(self) if self.layers else None

    def _repr_png_(self) -> bytes | None:
        """Return the picture as PNG, for tools that show no HTML; None without layers."""
        from underpaint.codec.archive.tools.notebook import row_png

        return row_png(self) if self.layers else None


@dataclass(frozen=True)
class DeadLetter:
    """An input that did not become a row, and the reason."""

    key: str
    source_uri: str
    stage: str
    """Step that failed: "read", "decode", "encode", …"""
    error: str
    """Class name of the error."""
    message: str = ""
    trace: str = ""


def check_key(key: str) -> None:
    """RowInvalid unless a key has 1 to MAX_KEY_BYTES bytes of UTF-8 without control characters."""
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        raise RowInvalid(f"key {key!r} is not valid Unicode") from None
    if not 1 <= length <= limits.MAX_KEY_BYTES:
        raise RowInvalid(f"a key has 1 to {limits.MAX_KEY_BYTES} bytes, not {length}")
    if any(character < " " or character == "\x7f" for character in key):
        raise RowInvalid(f"key {key!r} holds a control character")


def printable(text: str) -> str:
    """Return text that UTF-8 can represent: lone surrogates (undecodable names) are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()
