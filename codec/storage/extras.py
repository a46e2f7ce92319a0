"""Optional packages: the extra that installs each, and the message that names it."""

from __future__ import annotations

import importlib.util
from typing import Any

import fsspec

from underpaint.codec.errors import UsageError

EXTRAS = {
    "aiohttp": "http",
    "apache_beam": "pipeline",
    "gcsfs": "gcs",
    "imagecodecs": "evaluate",
    "matplotlib": "evaluate",
    "onnx": "train",
    "onnxruntime": "tasks",
    "pillow_heif": "heif",
    "psutil": "evaluate",
    "s3fs": "s3",
    "scipy": "evaluate",
    "ssimulacra2": "evaluate",
    "timm": "extractors",
    "torchvision": "extractors",
    "tqdm": "evaluate",
}
"""Name of an imported package -> extra of `underpaint` that installs it."""

SCHEMES = {"gs": "gcs", "gcs": "gcs", "s3": "s3", "s3a": "s3", "http": "http", "https": "http"}
"""Scheme of a URL -> extra of `underpaint` that installs its file system."""


def install_hint(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'underpaint[{extra}]'"


def missing_extra(error: ImportError) -> str | None:
    """Return the extra that installs the package of a failed import; None if no extra does."""
    return EXTRAS.get((error.name or "").partition(".")[0])


def require_extras(command: str, *extras: str) -> None:
    """UsageError that names those of the extras that are not completely installed, if any."""
    missing = {
        extra
        for package, extra in EXTRAS.items()
        if extra in extras and importlib.util.find_spec(package) is None
    }
    if missing:
        raise UsageError(f"{command} needs {install_hint(','.join(sorted(missing)))}")


def file_system(url: str, **options: Any) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the fsspec file system of a path or URL, and the path in that file system's terms.

    Raises UsageError for an unknown scheme, and for a scheme whose package is not installed; the
    message names the command that installs it. An empty path is a UsageError.
    """
    if not url:
        raise UsageError("a path is empty")
    try:
        return fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        extra = SCHEMES.get(url.partition("://")[0].rpartition("::")[2])
        if extra is None:
            raise UsageError(f"{url}: {error}") from None
        raise UsageError(f"{url}: reading it needs {install_hint(extra)}") from None
    except ValueError as error:
        raise UsageError(f"{url}: {error}") from None
