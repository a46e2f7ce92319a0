"""The layered Pentimento codec and its archive."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codec.archive import Archive, ArchiveWriter
    from codec.archive.dataset import LayerDataset
    from codec.archive.mapstyle import LayerMap
    from codec.model import Codec, Latents

__all__ = ["Archive", "ArchiveWriter", "Codec", "Latents", "LayerDataset", "LayerMap"]

_MODULES = {
    "Archive": "codec.archive",
    "ArchiveWriter": "codec.archive",
    "Codec": "codec.model",
    "Latents": "codec.model",
    "LayerDataset": "codec.archive.dataset",
    "LayerMap": "codec.archive.mapstyle",
}


def __getattr__(name: str) -> Any:
    """Import a name (and torch with it) at its first use: much of the package needs neither."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
