"""The files of the pages: HTML, style, scripts, and the decoder for browsers."""

from __future__ import annotations

from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".safetensors": "application/octet-stream",
}

_SUFFIXES = (".html", ".css", ".js", ".svg")


@cache
def static_files() -> dict[str, bytes]:
    """Return the files by their paths below the page, such as `decoder/index.js`."""
    return dict(_below(resources.files("underpaint.pipelines.serve") / "static", ""))


def media_type(name: str) -> str:
    """Return the media type of a file of a page by the end of its name."""
    return MEDIA_TYPES["." + name.rpartition(".")[2]]


def _below(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.is_dir():
            found += _below(item, f"{prefix}{item.name}/")
        elif item.name.endswith(_SUFFIXES):
            found.append((prefix + item.name, item.read_bytes()))
    return found
