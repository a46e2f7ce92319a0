"""Underpaint: lossy image compression for corpora, in layers that jobs read as they need them.

    from underpaint import Archive, Codec, LayerDataset, LayerMap

Each name is imported when it is first used, and torch only with the names that need it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from underpaint.codec.archive import Archive, ArchiveWriter
    from underpaint.codec.archive.torch.augmentation import mirrored_coefficients
    from underpaint.codec.archive.torch.collate import collate
    from underpaint.codec.archive.torch.dataset import LayerDataset
    from underpaint.codec.archive.torch.map_style import LayerMap
    from underpaint.codec.codec import Codec
    from underpaint.codec.reconstruct.backend import Latents

__all__ = [
    "Archive",
    "ArchiveWriter",
    "Codec",
    "Latents",
    "LayerDataset",
    "LayerMap",
    "collate",
    "mirrored_coefficients",
]

_MODULES = {
    "Archive": "underpaint.codec.archive",
    "ArchiveWriter": "underpaint.codec.archive",
    "Codec": "underpaint.codec.codec",
    "Latents": "underpaint.codec.reconstruct.backend",
    "LayerDataset": "underpaint.codec.archive.torch.dataset",
    "LayerMap": "underpaint.codec.archive.torch.map_style",
    "collate": "underpaint.codec.archive.torch.collate",
    "mirrored_coefficients": "underpaint.codec.archive.torch.augmentation",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
